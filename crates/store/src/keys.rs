//! Contracts: the keys that the deployment depends on, the leases under which one process at a time makes, moves and
//! seals, and the secrets that those keys seal. See [`contract`](super::contract) for what holds of all contracts.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use super::{SealCount, SecretAtRest, SecretCursor};
use signet_core::audit::AuditEvent;
use signet_core::keys::{AnnouncedKey, HandOver, HsmKey, HsmName, KeyState, SealMode, SealedCopies, TenantId};
use signet_core::row_keys::RowKeys;
use signet_jose::KeyId;
use signet_jose::clock::Timestamp;

/// How the addition of a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum KeyAddition {
    /// It is in the store.
    Added,
    /// Its place has a key [beside](Beside) which it may not stand: another process made one at the same time.
    PlaceTaken,
    /// It signs tokens, and its HSM token is not bound, or was retired meanwhile.
    NotAMember,
}

/// Beside what other keys of its place a key may be made: of the same tenant, HSM token, purpose and algorithm. Never beside an
/// active one as an active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Beside any: somebody asked for a further key.
    Any,
    /// Beside an active one, and no next one: it is to be that one's successor.
    Active,
    /// Beside neither: it fills a gap.
    Nobody,
}

/// Keys that the deployment depends on.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Adds a key, and forgets that it was announced. An active key has its place alone: one for each tenant, HSM token,
    /// purpose and algorithm. A key that signs tokens is in an HSM token that belongs to the deployment. Nothing is written
    /// or recorded where it is not [added](KeyAddition::Added).
    async fn add_key(&self, key: &HsmKey, beside: Beside, audit: Vec<AuditEvent>) -> Result<KeyAddition>;
    /// Every key, of all tenants and purposes, the oldest first. In one piece: it is read for the key ring, which must be of one
    /// moment, and keys come with rotation and not with use: a few for each HSM token and year.
    async fn keys(&self) -> Result<Vec<HsmKey>>;
    /// Moves a key from one stage to another; `false` where it is not in stage `from`.
    async fn move_key(&self, key: &KeyId, from: &KeyState, to: &KeyState, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Makes the successor active and the predecessor retiring, in one commit; `false`, and nothing changed or recorded,
    /// where either is not in its stage any more, its place has another active key, or its HSM token is no member.
    ///
    /// The predecessor retires until the last token has expired that any process issued by it, as far as
    /// [`raise_token_lifetime`](Self::raise_token_lifetime) noted, and the margin beyond.
    async fn hand_over(&self, change: &HandOver, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Notes that tokens signed by the active keys of a tenant may last that long. Never lowers what was noted; each
    /// process says it before it issues.
    async fn raise_token_lifetime(&self, tenant: &TenantId, lifetime: Duration) -> Result<()>;
    /// The longest that tokens by this key last, as far as was noted.
    async fn token_lifetime(&self, key: &KeyId) -> Result<Duration>;
    /// Writes down that a pair is about to be generated. `false`, and nothing written, where its place has a key beside which it
    /// may not stand, or, but [beside any](Beside::Any), where another pair was announced for it after `since` and not given up.
    async fn announce_key(&self, key: &AnnouncedKey, beside: Beside, since: Timestamp) -> Result<bool>;
    /// The pairs that were announced and neither added nor given up, the oldest first.
    async fn announced_keys(&self) -> Result<Vec<AnnouncedKey>>;
    /// Notes that whoever announced a pair is done with it and does not know whether the HSM token has it.
    async fn give_up_announced(&self, cka_id: &[u8]) -> Result<()>;
    /// Forgets a pair that was announced, when the HSM token does not have it.
    async fn forget_announced(&self, cka_id: &[u8], audit: Vec<AuditEvent>) -> Result<()>;
}

/// Leases: what one process of the deployment does at a time.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes or renews a lease for so long: true for the holder it has now. Another holder's lease is taken only after it ran
    /// out. Now is what the database server's clock says, so that nodes whose clocks differ agree; where there is no server
    /// it is `at`.
    async fn take_lease(&self, name: &str, holder: &str, at: Timestamp, lasts: Duration) -> Result<bool>;
    /// Gives a lease back, where this holder has it.
    async fn end_lease(&self, name: &str, holder: &str) -> Result<()>;
}

/// How many secrets at rest are kept alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecrets {
    /// What they are, e.g. `users.password`.
    pub kind: String,
    /// The HSM token that opens them.
    pub hsm: HsmName,
    /// How, by the first byte of each; `None` for one that is no seal.
    pub mode: Option<SealMode>,
    /// How many.
    pub count: u64,
}

/// A row that does not verify: it grants nothing, and somebody wrote it past Signet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedRow {
    /// Its table.
    pub table: &'static str,
    /// What names it: nothing secret.
    pub id: String,
}

/// Secrets at rest, of whatever they are: each is sealed once for each HSM token that can open it.
#[async_trait]
pub trait SecretsAtRest: Send + Sync {
    /// The deployment's secret, by generation: one, or two while rows are written under the newer one.
    async fn deployment_secrets(&self) -> Result<BTreeMap<u8, SealedCopies>>;
    /// Keeps a generation of it: the first one, or the one after the newest; `false` where it is neither.
    async fn keep_deployment_secret(&self, generation: u8, seals: &SealedCopies) -> Result<bool>;
    /// From now on rows that could get somebody a yes are written with a MAC by these keys, and checked wherever they are
    /// read. Without keys none is written ([`StoreFailure::NoRowKeys`](crate::StoreFailure::NoRowKeys)).
    fn use_row_keys(&self, keys: RowKeys);
    /// Rows that this process refused since it has keys, because they do not verify, and that still are there so: the first thousand.
    async fn refused_rows(&self) -> Result<Vec<RefusedRow>>;
    /// Secrets that this HSM token can't open, after `after`, at most `limit`, and where to go on.
    async fn lacking(
        &self,
        hsm: &HsmName,
        after: Option<&SecretCursor>,
        limit: u32,
    ) -> Result<(Vec<SecretAtRest>, Option<SecretCursor>)>;
    /// Adds seals to a secret; `false`, and nothing written, where it was replaced or removed since it was read.
    async fn extend_seals(&self, secret: &SecretAtRest, added: &SealedCopies) -> Result<bool>;
    /// How many secrets an HSM token can open.
    async fn count_seals(&self, hsm: &HsmName) -> Result<SealCount>;
    /// Removes seals of this HSM token, at most `limit`, and none of a secret that no other token can open. Returns the
    /// number.
    async fn remove_seals(&self, hsm: &HsmName, limit: u32) -> Result<u64>;
}
