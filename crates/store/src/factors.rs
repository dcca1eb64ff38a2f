//! The contract of factors, and of the conditional writes that spend a one-time code. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::{AuditOnOutcome, Result};
use super::{Factor, FactorId, FactorState, UserId};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::mfa::Spending;
use signet_jose::clock::Timestamp;

/// What a factor proved itself by, as it is spent.
#[derive(Debug, Clone)]
pub struct ProofSpending {
    /// The tenant.
    pub tenant: TenantId,
    /// The factor.
    pub factor: FactorId,
    /// What is spent.
    pub by: Spending,
    /// The factor as it was read and the stage that this moves it to, where it wants two codes in a row.
    pub unsure: Option<(Box<Factor>, FactorState)>,
    /// Now.
    pub at: Timestamp,
}

impl ProofSpending {
    /// Spends this of a factor.
    pub fn of(factor: &Factor, by: &Spending, at: Timestamp) -> Self {
        Self::by_id(&factor.tenant, &factor.id, by.clone(), at)
    }

    /// Spends this of the factor of this id.
    pub fn by_id(tenant: &TenantId, factor: &FactorId, by: Spending, at: Timestamp) -> Self {
        Self { tenant: tenant.clone(), factor: factor.clone(), by, unsure: None, at }
    }

    /// Moves the factor from the stage in which it was read to another one.
    pub fn moving(self, factor: &Factor, to: FactorState) -> Self {
        Self { unsure: Some((Box::new(factor.clone()), to)), ..self }
    }
}

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
    /// Spends what a factor proved itself by: true for the one caller whose write it was, by the condition that its kind has. A
    /// step or counter rises, or stays 0 where a security key has none; a nonce, a challenge and a recovery code are used once, while
    /// the factor is there; a factor that wants two codes in a row is as it was read. Spent nonces are kept for two days, far longer
    /// than one lasts, whatever a clock does meanwhile.
    async fn spend_proof(&self, spending: &ProofSpending, audit: AuditOnOutcome) -> Result<bool>;
}
