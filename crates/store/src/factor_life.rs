//! Contracts of a factor's life after its enrolment, and of recovery codes.

use async_trait::async_trait;

use super::error::{AuditOnOutcome, Result};
use super::{Factor, FactorId, ListedFactor, Session};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;

/// What is to change of a factor; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactorEdit {
    /// What the user calls it from now on.
    pub label: Option<String>,
    /// Whether it proves its user from now on.
    pub enabled: Option<bool>,
    /// Where it is enabled and waits for another person first: who asked.
    pub requested_by: Option<String>,
}

/// What becomes of factors.
#[async_trait]
pub trait FactorLife: Send + Sync {
    /// Factors of all users by id, after `after`, at most `limit`, without their secrets.
    async fn all_factors(&self, tenant: &TenantId, after: Option<&FactorId>, limit: u32) -> Result<Vec<ListedFactor>>;
    /// Lets a factor prove its user again, or no more; `false` where it is gone, pending, or so already. Disabling raises
    /// the user's credentials' version and ends every grant of the user in the same commit, as removing does.
    async fn set_factor_enabled(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        enabled: bool,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Adds a factor as [`add_factor`](super::Factors::add_factor) does, while the session of its user holds: none that ended
    /// or was overtaken by other credentials since it was read adds any. `false` then, too.
    async fn add_own_factor(&self, session: &Session, factor: &Factor, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Removes a factor of the session's user as [`remove_factor`](super::Factors::remove_factor) does, while the session
    /// holds. Each removal ends every session: of several at once, each begun while there was another factor, one wins.
    async fn remove_own_factor(
        &self,
        session: &Session,
        id: &FactorId,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Makes a pending factor usable; `false` where it is not pending, or `approver` is who asked for it.
    async fn approve_factor(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        approver: &str,
        audit: AuditOnOutcome,
    ) -> Result<bool>;
    /// Has somebody else stand as the one who asked for a pending factor; `false` where it is not pending, or another asked than
    /// `asked_by`.
    async fn take_over_request(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        asked_by: &str,
        by: &str,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Replaces what the user calls it, or lets it prove its user again or no more, or both, all or nothing; `false` where it is gone,
    /// where one of both is no longer as it was seen, or its state does not allow that. What follows of `enabled` is as for
    /// [`set_factor_enabled`](Self::set_factor_enabled).
    async fn change_factor(
        &self,
        seen: &Factor,
        edit: &FactorEdit,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
}

/// Recovery codes: each is kept as an HMAC, and spent by one conditional write.
#[async_trait]
pub trait RecoveryCodes: Send + Sync {
    /// Adds a recovery factor with its codes, in one commit; `false` where the user is gone, or where a session is given
    /// that does not hold any more, as in [`add_own_factor`](FactorLife::add_own_factor).
    async fn add_recovery(
        &self,
        session: Option<&Session>,
        factor: &Factor,
        kept: &[SecretHash],
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Whether a code of this factor is unspent; `None` where it is none of its codes.
    async fn recovery_code(&self, tenant: &TenantId, id: &FactorId, kept: &SecretHash) -> Result<Option<bool>>;
    /// How many codes of a factor are unspent.
    async fn recovery_codes_left(&self, tenant: &TenantId, id: &FactorId) -> Result<u32>;
}
