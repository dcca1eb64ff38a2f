//! The contract of counted tries: see [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::UserId;
use super::error::Result;
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::mfa::lockout::{Counter, LockedAccount};
use signet_jose::clock::Timestamp;

/// Tries at an account, kept by a name that is derived in the HSM and can't be turned back.
#[async_trait]
pub trait Throttles: Send + Sync {
    /// Counts a try before it is judged, durably: `Ok(None)` where it may be judged, or the moment from which the next
    /// try is allowed. At most `most` tries are counted between two pauses of `pause_seconds`.
    ///
    /// A store keeps a bounded number of accounts. Where made-up names fill it, those with the fewest tries are
    /// forgotten, and never one whose tries are exhausted: where only such are left, a new name is
    /// [`Unavailable`](super::StoreFailure::Unavailable), and those that are known are counted on.
    async fn count_try(
        &self,
        tenant: &TenantId,
        counter: &Counter,
        at: Timestamp,
        most: u32,
        pause_seconds: u32,
    ) -> Result<Option<Timestamp>>;
    /// Takes back one try that was counted at `counted_at` and ended without a verdict, because something did not
    /// work. Where the tries were forgotten or begun anew since, that try is no longer among them, and nothing changes.
    async fn give_back_try(&self, tenant: &TenantId, account: &[u8; 32], counted_at: Timestamp) -> Result<()>;
    /// Forgets the tries of a count after a success, and takes as many from the count of the account as a `whole`.
    async fn forget_tries(&self, tenant: &TenantId, account: &[u8; 32], whole: Option<&[u8; 32]>) -> Result<()>;
    /// The users with at least `most` tries at `at`, by what they guess at; the names that are no user's are one entry
    /// for each.
    async fn locked_accounts(&self, tenant: &TenantId, at: Timestamp, most: u32) -> Result<Vec<LockedAccount>>;
    /// Forgets all tries at a user's account; returns how many counts that were.
    async fn forget_tries_of(&self, tenant: &TenantId, user: &UserId, audit: Vec<AuditEvent>) -> Result<u64>;
}
