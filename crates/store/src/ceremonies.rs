//! The contract of WebAuthn ceremonies: see [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use signet_core::keys::TenantId;
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;

/// Challenges, each of which is answered once.
#[async_trait]
pub trait Ceremonies: Send + Sync {
    /// Spends a challenge: true for the one caller whose write it was.
    async fn spend_challenge(&self, tenant: &TenantId, challenge: &SecretHash, until: Timestamp) -> Result<bool>;
}
