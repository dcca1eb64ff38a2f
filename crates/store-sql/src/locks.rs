//! What a change locks, by name: so that what bears on one another is ordered on every node, and so that no transaction ever
//! waits for another one while it holds something.
//!
//! A name stands for a row, or for a value that is about to be inserted once. A change names all that it rests on (shared) and
//! all that it alters (alone); the names of a whole group are locked before its first job, by one statement that waits for
//! nobody. A job that finds a name taken goes to the next group. On SQLite the one writer gives the same for nothing.

use sha2::{Digest as _, Sha256};
use signet_core::keys::TenantId;
use signet_store::{ClientId, FactorId, GrantId, SessionId, UserId};

use super::engine::Lock;

/// Of what a generation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Noun {
    Keys,
    Clients,
    Secrets,
    Members,
    Settings,
}

impl Noun {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Clients => "clients",
            Self::Secrets => "secrets",
            Self::Members => "members",
            Self::Settings => "settings",
        }
    }
}

/// The tenant that the deployment's own rows are counted under.
const DEPLOYMENT: &str = "";

/// What a change locks, and which generations rise where it changed something that others may remember.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) locks: Vec<Lock>,
    pub(super) raises: Vec<(String, Noun)>,
    /// Whether it may take its time: nobody else needs the store meanwhile.
    pub(super) is_slow: bool,
}

impl Scope {
    /// A change that nothing else bears on, or that its statement orders by itself.
    pub(super) const fn free() -> Self {
        Self { locks: Vec::new(), raises: Vec::new(), is_slow: false }
    }

    /// One that nothing else bears on, and that may take its time: nobody else needs the store meanwhile.
    pub(super) const fn slow() -> Self {
        Self { locks: Vec::new(), raises: Vec::new(), is_slow: true }
    }

    /// One that holds a name alone.
    pub(super) fn alone(name: Name<'_>) -> Self {
        Self::free().and_alone(name)
    }

    /// One that rests on a name, beside others that do.
    pub(super) fn shared(name: Name<'_>) -> Self {
        Self::free().and_shared(name)
    }

    pub(super) fn and_alone(mut self, name: Name<'_>) -> Self {
        self.locks.push(Lock { name: name.number(), alone: true });
        self
    }

    pub(super) fn and_shared(mut self, name: Name<'_>) -> Self {
        self.locks.push(Lock { name: name.number(), alone: false });
        self
    }

    /// The generation of a noun rises with this change: a tenant's, or that of the deployment where all tenants share it.
    pub(super) fn raising(mut self, tenant: &TenantId, noun: Noun) -> Self {
        let owner = match noun {
            Noun::Keys | Noun::Clients | Noun::Settings => tenant.as_str(),
            Noun::Secrets | Noun::Members => DEPLOYMENT,
        };
        self = self.and_alone(Name::Generation(owner, noun));
        self.raises.push((owner.to_owned(), noun));
        self
    }
}

/// What can be locked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name<'a> {
    /// A user, with what they sign in by.
    User(&'a TenantId, &'a UserId),
    /// A client.
    Client(&'a TenantId, &'a ClientId),
    /// A grant, with its refresh tokens.
    Grant(&'a TenantId, &'a GrantId),
    /// A session.
    Session(&'a TenantId, &'a SessionId),
    /// A factor, with its counter and codes.
    Factor(&'a TenantId, &'a FactorId),
    /// A value that is inserted once, or that one row has at a time: what it is, and the value.
    Once(&'a TenantId, &'static str, &'a [u8]),
    /// Whatever names or numbers a token: one row inserts it beside others that insert other ones (shared), and a whole
    /// list at once (alone).
    Stock(&'a TenantId),
    /// Grants of many users or clients, as they end together.
    ManyGrants(&'a TenantId),
    /// The keys of the deployment and the HSM tokens that it has them in.
    KeyRing,
    /// What has expired, as it is deleted.
    Pruning,
    /// A generation, as it rises.
    Generation(&'a str, Noun),
}

impl Name<'_> {
    /// The number that it is locked by, on whatever node: the beginning of a hash of all of it. Two names of one number wait for
    /// each other without need, and that is all.
    fn number(self) -> i64 {
        let parts: [&[u8]; 3] = match self {
            Self::User(tenant, id) => [b"user", tenant.as_str().as_bytes(), id.as_str().as_bytes()],
            Self::Client(tenant, id) => [b"client", tenant.as_str().as_bytes(), id.as_str().as_bytes()],
            Self::Grant(tenant, id) => [b"grant", tenant.as_str().as_bytes(), id.as_str().as_bytes()],
            Self::Session(tenant, id) => [b"session", tenant.as_str().as_bytes(), id.as_str().as_bytes()],
            Self::Factor(tenant, id) => [b"factor", tenant.as_str().as_bytes(), id.as_str().as_bytes()],
            Self::Once(tenant, what, value) => [what.as_bytes(), tenant.as_str().as_bytes(), value],
            Self::Stock(tenant) => [b"stock", tenant.as_str().as_bytes(), b""],
            Self::ManyGrants(tenant) => [b"many grants", tenant.as_str().as_bytes(), b""],
            Self::KeyRing => [b"key ring", b"", b""],
            Self::Pruning => [b"pruning", b"", b""],
            Self::Generation(tenant, noun) => [b"generation", tenant.as_bytes(), noun.name().as_bytes()],
        };
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
        i64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of two versions lock alike, or not at all: what a name becomes is never changed.
    #[test]
    fn a_name_is_the_same_number_for_ever() {
        let tenant = TenantId::new("default");
        let user = UserId::new("u1");
        assert_eq!(Name::User(&tenant, &user).number(), NUMBER_OF_USER);
        let parts = [("ab", "c"), ("a", "bc")].map(|(tenant, id)| {
            let (tenant, id) = (TenantId::new(tenant), ClientId::new(id));
            Name::Client(&tenant, &id).number()
        });
        assert_ne!(parts[0], parts[1], "where one part ends and the next begins counts");
    }

    const NUMBER_OF_USER: i64 = -6_718_393_006_159_600_598;
}
