//! Roles that wait for another person's approval.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::error::Result;
use super::{User, UserId};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;

/// Roles that somebody is to be given, once another person has approved it. They give nothing until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRequest {
    /// The roles.
    pub roles: BTreeSet<String>,
    /// Who asked, as the audit log names them; or the first person who approved what a system account asked for.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
}

/// Roles that wait. They are asked for by [`change_user`](super::Users::change_user).
#[async_trait]
pub trait RoleRequests: Send + Sync {
    /// What waits for a user.
    async fn role_request(&self, tenant: &TenantId, user: &UserId) -> Result<Option<RoleRequest>>;
    /// What waits for anybody, the oldest first, with the user's name. A row that does not verify is left out.
    async fn role_requests(&self, tenant: &TenantId) -> Result<Vec<(String, RoleRequest)>>;
    /// Gives a user the roles that wait, beside those that the user has; `false` where the user or the request is no longer as it was
    /// seen.
    async fn approve_roles(&self, seen: &User, request: &RoleRequest, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Has somebody else stand as the one who asked; `false` where the request is no longer as it was seen.
    async fn take_over_role_request(
        &self,
        seen: &User,
        request: &RoleRequest,
        by: &str,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
}
