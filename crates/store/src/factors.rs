//! The contract of factors, and of the conditional writes that spend a one-time code. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::{AuditOnOutcome, Result};
use super::{Factor, FactorId, FactorState, UserId};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;

/// Factors.
#[async_trait]
pub trait Factors: Send + Sync {
    /// Adds a factor; `false` where its public id is taken, by a factor or a key of no user's, or the user is gone.
    async fn add_factor(&self, factor: &Factor, audit: Vec<AuditEvent>) -> Result<bool>;
    /// A user's factors, the oldest first.
    async fn factors(&self, tenant: &TenantId, user: &UserId) -> Result<Vec<Factor>>;
    /// The factor of this id.
    async fn factor(&self, tenant: &TenantId, id: &FactorId) -> Result<Option<Factor>>;
    /// Removes a factor; `false` where it is gone. Its user's credentials' version rises and every grant of the user
    /// ends in the same commit: who holds a lost factor may have signed in with it.
    async fn remove_factor(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Spends a TOTP step: true for the one caller that raised the factor's last step to `step`. Keeps `drift`.
    async fn spend_totp_step(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        step: i64,
        drift: i32,
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<bool>;
    /// Spends a Yubico counter: true for the one caller that raised the factor's last counter to `counter`.
    async fn spend_yubico_counter(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        counter: i64,
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<bool>;
    /// Spends the counter of a factor that wants two codes in a row, and moves it to another stage: true for the one caller that found
    /// the factor as it was read.
    async fn spend_unsure_counter(
        &self,
        factor: &Factor,
        counter: i64,
        to: &FactorState,
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<bool>;
    /// Spends the nonce that a PIV factor's key signed: true for the one caller that spent it, while the factor is there.
    /// Spent nonces are kept for two days, far longer than one lasts, whatever a clock does meanwhile.
    async fn spend_piv_nonce(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        nonce: &[u8; 32],
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<bool>;
    /// Raises a HOTP's next counter or a WebAuthn signature counter: true for the one caller that raised it to
    /// `counter`.
    async fn raise_counter(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        counter: i64,
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<bool>;
}
