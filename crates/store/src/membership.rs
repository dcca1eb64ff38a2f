//! The contract of the deployment as a whole. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use super::{HsmMember, SealedSecrets};
use signet_core::audit::Draft;
use signet_core::keys::{HsmName, TokenInfo};
use signet_jose::clock::Timestamp;

/// The deployment as a whole: its HSM tokens, and whether it can be written.
#[async_trait]
pub trait Membership: Send + Sync {
    /// A number that rises with every change of a user, factor, client or key, by any process. What was read before
    /// still holds where it has not risen.
    async fn generation(&self) -> Result<i64>;

    /// The HSM tokens that `init` has bound the deployment to.
    async fn hsm_tokens(&self) -> Result<Vec<(HsmName, TokenInfo)>>;

    /// Every HSM token that the deployment is or was bound to, with when it came and went.
    async fn hsm_members(&self) -> Result<Vec<HsmMember>>;

    /// Takes an HSM token out: in one commit it is marked as retired, and its keys that sign, seal or will sign are
    /// retiring until `until`. `false`, and nothing written or recorded, where it is not a member, or where no other member
    /// has an active key that signs tokens.
    async fn retire_hsm_token(
        &self,
        name: &HsmName,
        at: Timestamp,
        until: Timestamp,
        audit: Vec<Draft>,
    ) -> Result<bool>;

    /// Binds the deployment to an HSM token; one that was retired is a member again. Nothing changes where the name is
    /// bound already.
    async fn bind_hsm_token(&self, name: &HsmName, token: &TokenInfo, at: Timestamp, audit: Vec<Draft>) -> Result<()>;

    /// What is sealed, counted by what it is, by which HSM token and how.
    async fn sealed_secrets(&self) -> Result<Vec<SealedSecrets>>;

    /// Sees that the store can be written, by a real, durable write, for readiness; gives the clock that leases go by: the
    /// database server's, or `at` where there is no server.
    async fn probe(&self, at: Timestamp) -> Result<Timestamp>;
}
