//! The contract of WebAuthn ceremonies: see [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::FactorId;
use super::error::{AuditOnOutcome, Result};
use signet_core::keys::TenantId;
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;

/// An assertion of a security key that is being spent.
#[derive(Debug, Clone)]
pub struct AssertionSpending {
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub factor: FactorId,
    /// The challenge that it answers.
    pub challenge: SecretHash,
    /// When the challenge is refused for its age anyway.
    pub challenge_until: Timestamp,
    /// The key's counter; 0 for ever where it has none.
    pub counter: i64,
    /// Now.
    pub at: Timestamp,
}

/// Challenges, each of which is answered once.
#[async_trait]
pub trait Ceremonies: Send + Sync {
    /// Spends a challenge: true for the one caller whose write it was.
    async fn spend_challenge(&self, tenant: &TenantId, challenge: &SecretHash, until: Timestamp) -> Result<bool>;
    /// Spends an assertion in one commit: its challenge, and its counter, which rises, or stays 0 where the key has none.
    /// True for the one caller whose write it was.
    async fn spend_assertion(&self, spending: &AssertionSpending, audit: AuditOnOutcome) -> Result<bool>;
}
