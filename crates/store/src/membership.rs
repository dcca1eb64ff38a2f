//! The contract of the deployment as a whole. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use super::{HsmMember, SealedSecrets};
use signet_core::audit::AuditEvent;
use signet_core::keys::{HsmName, TenantId, TokenInfo};
use signet_jose::clock::Timestamp;

/// Numbers that rise with each change of a tenant's rows of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generations {
    /// Of keys.
    pub keys: i64,
    /// Of clients.
    pub clients: i64,
    /// Of what has a secret at rest, whichever tenant's: users, factors, tokens in stock, keys and clients of the OTP
    /// validation.
    pub secrets: i64,
    /// Of the deployment's HSM tokens.
    pub members: i64,
    /// Of what is set of the tenant.
    pub settings: i64,
}

/// The deployment as a whole: its HSM tokens, and whether it can be written.
#[async_trait]
pub trait Membership: Send + Sync {
    /// How often what can be remembered of a tenant was changed, by any process. What was read before still holds where the
    /// number of its noun has not risen since.
    async fn generations(&self, tenant: &TenantId) -> Result<Generations>;
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
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;

    /// Binds the deployment to an HSM token; one that was retired is a member again. Nothing changes where the name is
    /// bound already.
    async fn bind_hsm_token(
        &self,
        name: &HsmName,
        token: &TokenInfo,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<()>;

    /// What is sealed, counted by what it is, by which HSM token and how.
    async fn sealed_secrets(&self) -> Result<Vec<SealedSecrets>>;

    /// Sees that the store can be written, by a real, durable write, for readiness; gives the clock that leases go by: the
    /// database server's, or `at` where there is no server.
    async fn probe(&self, at: Timestamp) -> Result<Timestamp>;
}
