//! The contracts of grants with their refresh families, and of access tokens that were revoked. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::{AuditOnOutcome, Result};
use super::{EndReason, Grant, GrantId, ListedGrant, RefreshLookup, RotateOutcome, UserId};
use signet_core::audit::AuditEvent;
use signet_core::keys::{HsmName, TenantId};
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;

/// Grants and their refresh families. Every access token of a person has a grant, and ends with it.
#[async_trait]
pub trait Grants: Send + Sync {
    /// Adds a grant with its first refresh token (generation 0). `false`, and nothing written or recorded, where the user
    /// or the client is gone or disabled by now, or the user's [`credentials_version`](super::User::credentials_version) is
    /// no longer the one that the sign-in was judged by.
    async fn add_grant(
        &self,
        grant: &Grant,
        first: &SecretHash,
        credentials_version: i64,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Adds a grant that has no refresh token, for the access tokens that come of it alone; `false` as for
    /// [`add_grant`](Self::add_grant).
    async fn add_grant_without_refresh(
        &self,
        grant: &Grant,
        credentials_version: i64,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// The grant of this id.
    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>>;
    /// The grants of a user that hold at `now`, by id, after `after`, at most `limit`. One whose row does not verify is left out.
    async fn grants_of_user(
        &self,
        tenant: &TenantId,
        user: &UserId,
        after: Option<&GrantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ListedGrant>>;
    /// The refresh token of this hash, with its family.
    async fn refresh_token(&self, tenant: &TenantId, hash: &SecretHash) -> Result<Option<RefreshLookup>>;
    /// Spends the live token `spent` of a grant and makes `successor` the live one, if `spent` is the live token of an active,
    /// unexpired family at `at` whose user and client are enabled. `audit.applied` is written with the rotation. `derived_by`
    /// names the HSM token that derived the successor, where it was not derived by the deployment's secret.
    async fn rotate(
        &self,
        grant: &Grant,
        spent: &SecretHash,
        successor: &SecretHash,
        derived_by: Option<&HsmName>,
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<RotateOutcome>;
    /// Records `audit` if the family is active and unexpired at `at` and its user and client are enabled; `false`, and
    /// nothing recorded, where not. For a retry, which issues a token without rotating.
    async fn confirm_grant(&self, grant: &Grant, at: Timestamp, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Ends a family; `false` where it had ended or never was (then `audit.rejected` is written).
    async fn end_grant(
        &self,
        tenant: &TenantId,
        id: &GrantId,
        reason: EndReason,
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<bool>;
    /// Deletes families that expired long before `now`, ended or not, and revocations of tokens that did. Returns the
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
        audit: Vec<AuditEvent>,
    ) -> Result<()>;
    /// Whether a token was revoked.
    async fn is_revoked(&self, tenant: &TenantId, jti: &str) -> Result<bool>;
}
