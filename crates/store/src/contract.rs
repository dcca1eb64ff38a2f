//! The contracts. Each conditional write is one write: of N racing callers, on any number of nodes, one wins.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{
    Client, ClientId, EndReason, Factor, FactorId, Grant, GrantId, HsmMember, Keys, Leases, OtpValidation,
    RefreshLookup, RotateOutcome, SealedSecrets, SecretsAtRest, Sessions, Throttles, User, UserId,
};
use signet_core::audit::{Checkpoint, Draft, Head, Record};
use signet_core::keys::{HsmName, Seals, TenantId, TokenInfo};
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;

/// The store could not say: the caller denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store {operation}: {failure}")]
pub struct StoreError {
    /// What was tried, e.g. `rotate refresh token`.
    pub operation: &'static str,
    /// What went wrong.
    pub failure: StoreFailure,
}

/// What went wrong in the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// It did not answer in time, is locked, full or gone. A commit whose answer was lost is here too: it is unknown.
    #[error("not available: {0}")]
    Unavailable(String),
    /// What was read is not what Signet writes.
    #[error("the stored {0} can't be understood")]
    Corrupt(&'static str),
    /// The audit chain in the store is behind what was already written: an old copy was put in its place.
    #[error(
        "the audit chain ends before a record that was already written: an old copy of the store is in its place; put the newest copy back"
    )]
    RolledBack,
    /// Another process was faster: what the change makes is there already.
    #[error("there is {0} already: another process made one at the same time")]
    Taken(&'static str),
    /// The HSM token was retired meanwhile, or was never a member.
    #[error("the HSM token `{0}` is not part of this deployment, or was retired: no key is made in it")]
    NotAMember(HsmName),
    /// The database is not one that this program can use; the text says what to do.
    #[error("{0}")]
    Refused(String),
}

/// What to tell of a conditional write, whichever way it went.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Told where the write took place.
    pub done: Vec<Draft>,
    /// Told where it did not.
    pub lost: Vec<Draft>,
}

impl Told {
    /// The same is told either way.
    pub fn only_done(draft: Draft) -> Self {
        Self { done: vec![draft], lost: Vec::new() }
    }
}

/// How many audit records say the same of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMention {
    /// The record's `event`.
    pub event: String,
    /// Its `key`; empty where it names none.
    pub key: String,
    /// Its `signed`.
    pub signed: Option<String>,
    /// Its `reason`.
    pub reason: Option<String>,
    /// How many records.
    pub records: u64,
    /// The sum of their `signatures`.
    pub signatures: i64,
}

pub(super) type Result<T> = std::result::Result<T, StoreError>;

/// The deployment as a whole.
#[async_trait]
pub trait Deployment: Send + Sync {
    /// A number that rises with every change of a user, factor, client or key, by any process. What was read before
    /// still holds where it has not risen.
    async fn generation(&self) -> Result<i64>;

    /// The HSM tokens that `init` has bound the deployment to.
    async fn hsm_tokens(&self) -> Result<Vec<(HsmName, TokenInfo)>>;

    /// The same with when they came and went.
    async fn hsm_members(&self) -> Result<Vec<HsmMember>>;

    /// Takes an HSM token out: in one commit it is marked as retired, and its keys that sign, seal or will sign are
    /// retiring until `until`. `false`, and nothing written or told, where it is not a member, or where no other member
    /// has an active key that signs tokens.
    async fn retire_hsm_token(&self, name: &HsmName, at: Timestamp, until: Timestamp, told: Vec<Draft>)
    -> Result<bool>;

    /// Binds the deployment to an HSM token; one that was retired is a member again. Nothing changes where the name is
    /// bound already.
    async fn bind_hsm_token(&self, name: &HsmName, token: &TokenInfo, at: Timestamp, told: Vec<Draft>) -> Result<()>;

    /// What is sealed, counted by what it is, by which HSM token and how.
    async fn sealed_secrets(&self) -> Result<Vec<SealedSecrets>>;

    /// Whether the store can be written: a real, durable write, for readiness.
    async fn probe(&self, at: Timestamp) -> Result<()>;
}

/// Users.
#[async_trait]
pub trait Users: Send + Sync {
    /// Adds a user; `false` where the name is taken.
    async fn add_user(&self, user: &User, told: Vec<Draft>) -> Result<bool>;
    /// The user of this name.
    async fn user_by_name(&self, tenant: &TenantId, name: &str) -> Result<Option<User>>;
    /// The user of this id.
    async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<User>>;
    /// All users by name, after `after`, at most `limit`.
    async fn users(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<User>>;
    /// Writes `told` if the user is enabled and their [`credentials_version`](User::credentials_version) is still this
    /// one; `false`, and nothing told, where not. For a token without a grant.
    async fn confirm_user(
        &self,
        tenant: &TenantId,
        id: &UserId,
        credentials_version: i64,
        told: Vec<Draft>,
    ) -> Result<bool>;
    /// Lets the user sign in, or no more; `false` where the user is gone. The credentials' version rises, and where the
    /// user is disabled every grant of theirs ends, in the same commit.
    ///
    /// This and the next two change that one thing and nothing beside it: what another operator changed since the
    /// caller looked stays as it is.
    async fn set_user_enabled(
        &self,
        tenant: &TenantId,
        id: &UserId,
        enabled: bool,
        at: Timestamp,
        told: Vec<Draft>,
    ) -> Result<bool>;
    /// Replaces the roles; `false` where the user is gone.
    async fn set_user_roles(
        &self,
        tenant: &TenantId,
        id: &UserId,
        roles: &BTreeSet<String>,
        told: Vec<Draft>,
    ) -> Result<bool>;
    /// Replaces the password; `false` where the user is gone. The credentials' version rises and every grant of the
    /// user ends in the same commit.
    async fn set_user_password(
        &self,
        tenant: &TenantId,
        id: &UserId,
        password: &Seals,
        at: Timestamp,
        told: Vec<Draft>,
    ) -> Result<bool>;
    /// Removes the user, their factors and grants; `false` where the user is gone.
    async fn remove_user(&self, tenant: &TenantId, id: &UserId, told: Vec<Draft>) -> Result<bool>;
}

/// Factors.
#[async_trait]
pub trait Factors: Send + Sync {
    /// Adds a factor; `false` where its public id is taken, by a factor or a key of no user's, or the user is gone.
    async fn add_factor(&self, factor: &Factor, told: Vec<Draft>) -> Result<bool>;
    /// A user's factors, the oldest first.
    async fn factors(&self, tenant: &TenantId, user: &UserId) -> Result<Vec<Factor>>;
    /// The factor of this id.
    async fn factor(&self, tenant: &TenantId, id: &FactorId) -> Result<Option<Factor>>;
    /// Removes a factor; `false` where it is gone. Its user's credentials' version rises and every grant of the user
    /// ends in the same commit: who holds a lost factor may have signed in with it.
    async fn remove_factor(&self, tenant: &TenantId, id: &FactorId, at: Timestamp, told: Vec<Draft>) -> Result<bool>;
    /// Spends a TOTP step: true for the one caller that raised the factor's last step to `step`. Keeps `drift`.
    async fn spend_totp_step(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        step: i64,
        drift: i32,
        at: Timestamp,
        told: Told,
    ) -> Result<bool>;
    /// Spends a Yubico counter: true for the one caller that raised the factor's last counter to `counter`.
    async fn spend_yubico_counter(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        counter: i64,
        at: Timestamp,
        told: Told,
    ) -> Result<bool>;
    /// Spends the nonce that a PIV factor's key signed: true for the one caller that spent it, while the factor is there.
    /// Spent nonces are kept for two days, far longer than one lasts, whatever a clock does meanwhile.
    async fn spend_piv_nonce(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        nonce: &[u8; 32],
        at: Timestamp,
        told: Told,
    ) -> Result<bool>;
    /// Raises a HOTP's next counter or a WebAuthn signature counter: true for the one caller that raised it to
    /// `counter`.
    async fn raise_counter(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        counter: i64,
        at: Timestamp,
        told: Told,
    ) -> Result<bool>;
}

/// Clients.
#[async_trait]
pub trait Clients: Send + Sync {
    /// Adds a client; `false` where its name or id is taken.
    async fn add_client(&self, client: &Client, told: Vec<Draft>) -> Result<bool>;
    /// The client of this id.
    async fn client(&self, tenant: &TenantId, id: &ClientId) -> Result<Option<Client>>;
    /// All clients by name.
    async fn clients(&self, tenant: &TenantId) -> Result<Vec<Client>>;
    /// Lets the client ask for tokens, or no more, and changes nothing else; `false` where it is gone. Where not, every
    /// grant of the client ends in the same commit.
    async fn set_client_enabled(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        enabled: bool,
        at: Timestamp,
        told: Vec<Draft>,
    ) -> Result<bool>;
    /// Replaces the secret and nothing else; `false` where the client is gone.
    async fn set_client_secret(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        secret: &SecretHash,
        told: Vec<Draft>,
    ) -> Result<bool>;
    /// Removes a client and its grants; `false` where it is gone.
    async fn remove_client(&self, tenant: &TenantId, id: &ClientId, told: Vec<Draft>) -> Result<bool>;
}

/// Grants and their refresh families.
#[async_trait]
pub trait Grants: Send + Sync {
    /// Adds a grant with its first refresh token (generation 0). `false`, and nothing written or told, where the user
    /// or the client is gone or disabled by now, or the user's [`credentials_version`](User::credentials_version) is
    /// no longer the one that the sign-in was judged by.
    async fn add_grant(
        &self,
        grant: &Grant,
        first: &SecretHash,
        credentials_version: i64,
        told: Vec<Draft>,
    ) -> Result<bool>;
    /// The grant of this id.
    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>>;
    /// The refresh token of this hash, with its family.
    async fn refresh_token(&self, tenant: &TenantId, hash: &SecretHash) -> Result<Option<RefreshLookup>>;
    /// Spends the live token `spent` and makes `successor` the live one, if `spent` is the live token of an active,
    /// unexpired family at `at` whose user and client are enabled. `told.done` is written with the rotation. `derived_by`
    /// names the HSM token that derived the successor, where it was not derived by the deployment's secret.
    async fn rotate(
        &self,
        tenant: &TenantId,
        spent: &SecretHash,
        successor: &SecretHash,
        derived_by: Option<&HsmName>,
        at: Timestamp,
        told: Told,
    ) -> Result<RotateOutcome>;
    /// Writes `told` if the family is active and unexpired at `at` and its user and client are enabled; `false`, and
    /// nothing told, where not. For a retry, which issues a token without rotating.
    async fn confirm_grant(&self, tenant: &TenantId, id: &GrantId, at: Timestamp, told: Vec<Draft>) -> Result<bool>;
    /// Ends a family; `false` where it had ended or never was (then `told.lost` is written).
    async fn end_grant(
        &self,
        tenant: &TenantId,
        id: &GrantId,
        reason: EndReason,
        at: Timestamp,
        told: Told,
    ) -> Result<bool>;
    /// Deletes families that expired long before `now`, ended or not, and revocations of tokens that did. Gives the
    /// number of both. Until then an ended family stays ended, and a revoked token revoked.
    ///
    /// Long before is two days: the longest lifetime of an access token, which names its family, and another day for
    /// clocks that differ. A clock that is wrong must not revive what a right one still holds revoked, so `now` is
    /// believed no further than the audit chain's last record, as it was when the store was opened, plus a day and the
    /// time that has passed since; and where it is behind the chain's last record nothing is deleted at all.
    async fn prune(&self, now: Timestamp) -> Result<u64>;
}

/// Access tokens that were revoked before they expired.
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Revokes a token by its `jti`. Revoking twice is no error.
    async fn revoke_token(
        &self,
        tenant: &TenantId,
        jti: &str,
        expires_at: Timestamp,
        at: Timestamp,
        told: Vec<Draft>,
    ) -> Result<()>;
    /// Whether a token was revoked.
    async fn is_revoked(&self, tenant: &TenantId, jti: &str) -> Result<bool>;
}

/// The audit log: a chain of records, and the checkpoints over it.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Appends drafts; durable when it returns. Gives the [generation](Deployment::generation) as of the same commit.
    async fn append(&self, told: Vec<Draft>) -> Result<i64>;
    /// Records from `first` on, at most `limit`, in order.
    async fn records(&self, first: i64, limit: u32) -> Result<Vec<Record>>;
    /// The end of the chain as the store keeps it beside the records.
    async fn head(&self) -> Result<Head>;
    /// Keeps a signed checkpoint, in the store and in its anchor, or in neither as far as the next one can tell: after a
    /// failure [`last_checkpoint`](Self::last_checkpoint) is an older one, and what was not covered is still to be signed.
    /// `false` where another checkpoint over the same record was kept first; then this one is dropped.
    async fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<bool>;
    /// Of the records after one place up to another, those that name a key or tell that counting began, counted by what
    /// they say.
    async fn key_mentions(&self, after: i64, up_to: i64) -> Result<Vec<KeyMention>>;
    /// The checkpoints after one place up to another, counted by their encoded JWS header.
    async fn checkpoint_headers(&self, after: i64, up_to: i64) -> Result<Vec<(String, u64)>>;
    /// Every checkpoint with a sequence of at least `first`, in order, at most `limit`.
    async fn checkpoints(&self, first: i64, limit: u32) -> Result<Vec<Checkpoint>>;
    /// The newest checkpoint.
    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>>;
}

/// All of the store.
pub trait Store:
    Deployment
    + Users
    + Factors
    + Sessions
    + super::Ceremonies
    + super::FactorLife
    + super::RecoveryCodes
    + super::Stock
    + OtpValidation
    + Clients
    + Grants
    + Keys
    + Leases
    + SecretsAtRest
    + Throttles
    + Revocations
    + AuditLog
    + 'static
{
}

impl<T> Store for T where
    T: Deployment
        + Users
        + Factors
        + Sessions
        + super::Ceremonies
        + super::FactorLife
        + super::RecoveryCodes
        + super::Stock
        + OtpValidation
        + Clients
        + Grants
        + Keys
        + Leases
        + SecretsAtRest
        + Throttles
        + Revocations
        + AuditLog
        + 'static
{
}
