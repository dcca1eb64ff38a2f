//! Who may do what of a deployment: the scopes of the admin API, a noun each, and what follows from having some of them.
//!
//! They are the deployment's, a closed list, and begin with `admin:`. Roles grant them to people like other scopes; only tokens for
//! [`AUDIENCE`] carry them, which no client but those of operators may ask for. Nobody gives or touches more than they have.

use std::collections::BTreeSet;

use crate::oauth::{GrantType, Scopes};
use crate::words::words;

/// The audience of tokens for the admin API.
pub const AUDIENCE: &str = "urn:signet:admin";
/// What every scope of the deployment begins with.
const PREFIX: &str = "admin:";
/// What the scope to read alone ends in.
const READ: &str = ":read";

words! {
    /// What an operation of the admin API is about: its tag in the document, and the scope that it takes.
    pub enum Noun {
        /// People, their sessions and grants.
        Users = "users",
        /// What they sign in with beside the password.
        Factors = "factors",
        /// The software that asks for tokens.
        Clients = "clients",
        /// Hardware tokens that nobody has yet.
        Stock = "stock",
        /// The Yubico validation protocol.
        OtpValidation = "otp-validation",
        /// Signing keys.
        Keys = "keys",
        /// HSM tokens.
        Hsm = "hsm",
        /// The machines that serve.
        Nodes = "nodes",
        /// The audit log.
        Audit = "audit",
        /// Where every key lies.
        Custody = "custody",
        /// Copies of the store.
        Backups = "backups",
        /// Whether all is well.
        Health = "health",
        /// What is configured of the deployment and its tenants.
        Settings = "settings",
    }
}

/// A scope of the deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdminScope {
    /// About what.
    pub noun: Noun,
    /// Whether it is for changes too, and not for reading alone.
    pub changes: bool,
}

impl AdminScope {
    /// Every one, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        Noun::ALL.into_iter().flat_map(|noun| [false, true].map(|changes| Self { noun, changes }))
    }

    /// The scope of this name: `admin:users`, or `admin:users:read`.
    pub fn named(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (noun, changes) = rest.strip_suffix(READ).map_or((rest, true), |noun| (noun, false));
        Noun::named(noun).map(|noun| Self { noun, changes })
    }
}

impl std::fmt::Display for AdminScope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{PREFIX}{}{}", self.noun, if self.changes { "" } else { READ })
    }
}

/// Whether a scope is the deployment's, or looks like one of its: no other client and no other resource server has it.
pub fn is_reserved(scope: &str) -> bool {
    scope.starts_with(PREFIX)
}

/// The scopes of the deployment that somebody has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminScopes(BTreeSet<AdminScope>);

impl AdminScopes {
    /// All there are.
    pub fn all() -> Self {
        Self(AdminScope::all().collect())
    }

    /// Those among other scopes.
    pub fn among<'s>(scopes: impl IntoIterator<Item = &'s String>) -> Self {
        Self(scopes.into_iter().filter_map(|scope| AdminScope::named(scope)).collect())
    }

    /// Whether it is among them; who may change a thing may read it.
    pub fn includes(&self, scope: AdminScope) -> bool {
        self.0.contains(&scope) || self.0.contains(&AdminScope { changes: true, ..scope })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.0.extend(others.0.iter().copied());
        self
    }

    /// Those of others that are not among these.
    pub fn lacks(&self, others: &Self) -> Self {
        Self(others.0.iter().copied().filter(|scope| !self.includes(*scope)).collect())
    }
}

impl std::fmt::Display for AdminScopes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&names.join(" "))
    }
}

/// What kind of operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorKind {
    /// An account of the machine, as the kernel names it.
    Account,
    /// A person by a token, who showed a second factor; the user's id.
    Person(String),
    /// Software by a token of its own.
    Software,
}

/// By what right a request is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Authority {
    /// The deployment itself, or a person about what is the person's own. Whoever asks at the admin API never has it.
    #[default]
    Own,
    /// An operator with these scopes.
    Operator {
        /// Of which kind.
        kind: OperatorKind,
        /// With which scopes.
        scopes: AdminScopes,
    },
}

impl Authority {
    /// Judges an operation that gives these scopes, or touches somebody who has them.
    /// Errors: those that the operator lacks.
    pub fn reaches(&self, scopes: &AdminScopes) -> Result<(), AdminScopes> {
        let Self::Operator { scopes: own, .. } = self else { return Ok(()) };
        let lacking = own.lacks(scopes);
        if lacking.is_empty() { Ok(()) } else { Err(lacking) }
    }

    /// Whether an operation on a noun is allowed.
    pub fn permits(&self, scope: AdminScope) -> bool {
        matches!(self, Self::Operator { scopes, .. } if scopes.includes(scope))
    }
}

/// How a record names a person who asks by a token, each by name and id.
pub fn person_in_words(person: (&str, &str), client: (&str, &str)) -> String {
    format!("{} by {} (user {}, client {})", person.0, client.0, person.1, client.1)
}

/// The id of the person whom a record names so; `None` where it names an account or software.
pub fn person_of(operator: &str) -> Option<&str> {
    // Names may hold anything, ids neither blanks nor brackets.
    let is_id = |text: &str| !text.is_empty() && !text.contains([' ', '(', ')']);
    let (_, ids) = operator.strip_suffix(')')?.rsplit_once(" (user ")?;
    let (person, client) = ids.split_once(", client ")?;
    (is_id(person) && is_id(client)).then_some(person)
}

/// A client would have rights at the admin API that no client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitClient {
    /// Another audience beside that of the admin API.
    #[error("a client of the admin API has the audience urn:signet:admin and no other")]
    OtherAudience,
    /// Other scopes beside those of the deployment.
    #[error("a client of the admin API has scopes of the deployment and no others")]
    OtherScope,
    /// A scope of the deployment for other audiences.
    #[error(
        "scopes that begin with admin: are for clients of the admin API alone: give it the audience urn:signet:admin"
    )]
    OtherClient,
    /// A scope that is not there.
    #[error("there is no such scope of the deployment: it is admin: and a noun, and :read to read alone")]
    UnknownScope,
    /// A client's own rights and a person's together.
    #[error(
        "a client of the admin API is a person's (password, refresh_token) or software (client_credentials), not both"
    )]
    BothGrants,
}

/// Judges what a client may ask for: only clients of the admin API have its scopes, and they have nothing else.
/// Errors: what does not fit.
pub fn judge_client(
    grants: &BTreeSet<GrantType>,
    scopes: &Scopes,
    audiences: &BTreeSet<String>,
) -> Result<(), UnfitClient> {
    if scopes.iter().any(|scope| is_reserved(scope) && AdminScope::named(scope).is_none()) {
        return Err(UnfitClient::UnknownScope);
    }
    if !audiences.contains(AUDIENCE) {
        let has_some = scopes.iter().any(|scope| is_reserved(scope));
        return if has_some { Err(UnfitClient::OtherClient) } else { Ok(()) };
    }
    if audiences.len() > 1 {
        return Err(UnfitClient::OtherAudience);
    }
    if !scopes.iter().all(|scope| is_reserved(scope)) {
        return Err(UnfitClient::OtherScope);
    }
    let is_software = grants.contains(&GrantType::ClientCredentials);
    if is_software && grants.len() > 1 { Err(UnfitClient::BothGrants) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn admin(text: &str) -> AdminScopes {
        AdminScopes::among(&scopes(text))
    }

    #[test]
    fn each_noun_has_a_scope_to_read_and_one_to_change() {
        for scope in AdminScope::all() {
            assert_eq!(AdminScope::named(&scope.to_string()), Some(scope));
        }
        for unknown in ["admin:", "admin:user", "admin:users:write", "users", "admin:users:read:read", "Admin:users"] {
            assert_eq!(AdminScope::named(unknown), None, "{unknown}");
        }
        assert!(is_reserved("admin:whatever") && !is_reserved("admin"));
    }

    #[test]
    fn nobody_gives_or_touches_more_than_they_have() {
        for (own, other, lacking) in [
            ("admin:users", "", ""),
            ("admin:users", "read write", ""),
            ("admin:users", "admin:users admin:users:read", ""),
            ("admin:users:read", "admin:users:read", ""),
            ("admin:users:read", "admin:users", "admin:users"),
            ("admin:users", "admin:users admin:keys", "admin:keys"),
            ("admin:users admin:keys:read", "admin:keys", "admin:keys"),
            ("", "admin:stock:read", "admin:stock:read"),
        ] {
            let operator = Authority::Operator { kind: OperatorKind::Account, scopes: admin(own) };
            let judged = operator.reaches(&admin(other)).err().unwrap_or_default();
            assert_eq!(judged.to_string(), lacking, "{own} and {other}");
        }
        assert_eq!(Authority::Own.reaches(&AdminScopes::all()), Ok(()));
        assert!(!Authority::Own.permits(AdminScope { noun: Noun::Users, changes: false }), "it never comes to the API");
    }

    #[test]
    fn a_record_says_which_person_asked_whatever_the_names_are() {
        for name in ["ann", "ann (uid 0)", "x (user 1, client 2)"] {
            assert_eq!(person_of(&person_in_words((name, "u-1"), ("laptop (user 3)", "c-1"))), Some("u-1"), "{name}");
        }
        for other in ["root (uid 0)", "x (user 1, client 2) by root (uid 0)", "x (user 1, client 2) (client c-1)", ""] {
            assert_eq!(person_of(other), None, "{other}");
        }
    }

    #[test]
    fn clients_of_the_admin_api_are_nothing_else() {
        let urls = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
        let grants = |text: &str| text.split_whitespace().map(|name| name.parse().unwrap()).collect::<BTreeSet<_>>();
        for (granted, asked, audiences, judged) in [
            ("password", "read", "https://a.example", Ok(())),
            ("password", "admin:users", AUDIENCE, Ok(())),
            ("password refresh_token", "admin:users admin:keys:read", AUDIENCE, Ok(())),
            ("client_credentials", "admin:stock", AUDIENCE, Ok(())),
            ("password", "admin:users", "https://a.example", Err(UnfitClient::OtherClient)),
            ("password", "admin:users", "", Err(UnfitClient::OtherClient)),
            ("password", "admin:nothing", AUDIENCE, Err(UnfitClient::UnknownScope)),
            ("password", "admin:users read", AUDIENCE, Err(UnfitClient::OtherScope)),
            ("password", "admin:users", "urn:signet:admin https://a.example", Err(UnfitClient::OtherAudience)),
            ("password client_credentials", "admin:users", AUDIENCE, Err(UnfitClient::BothGrants)),
        ] {
            let told = judge_client(&grants(granted), &scopes(asked), &urls(audiences));
            assert_eq!(told, judged, "{granted}; {asked}; {audiences}");
        }
    }
}
