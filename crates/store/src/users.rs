//! The contract of users. See [`contract`](super::contract) for what holds of all contracts.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::error::Result;
use super::{RoleRequest, User, UserId};
use signet_core::audit::AuditEvent;
use signet_core::keys::{SealedCopies, TenantId};
use signet_jose::clock::Timestamp;

/// What is to change of a user; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserEdit {
    /// All roles from now on.
    pub roles: Option<BTreeSet<String>>,
    /// Whether the user may sign in from now on.
    pub enabled: Option<bool>,
    /// What waits for another person's approval from now on, in the place of what did.
    pub waiting: Option<Option<RoleRequest>>,
}

/// Users.
#[async_trait]
pub trait Users: Send + Sync {
    /// Adds a user; `false` where the name is taken, in whatever spelling: names are compared by
    /// [`compared_name`](signet_core::user_name::compared_name).
    async fn add_user(&self, user: &User, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Adds a user whom a file states, and that it does; `false` where the name is taken.
    async fn declare_user(&self, user: &User, audit: Vec<AuditEvent>) -> Result<bool>;
    /// The user of this name, however it is spelt.
    async fn user_by_name(&self, tenant: &TenantId, name: &str) -> Result<Option<User>>;
    /// The user of this id.
    async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<User>>;
    /// All users by name, as names are compared, after `after`, at most `limit`.
    async fn users(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<User>>;
    /// Lets the user sign in, or no more; `false` where the user is gone. The credentials' version rises, and where the
    /// user is disabled every grant of theirs ends, in the same commit.
    ///
    /// This and the next two change that one thing and nothing beside it: what another operator changed since the
    /// caller looked stays as it is.
    async fn set_user_enabled(
        &self,
        tenant: &TenantId,
        id: &UserId,
        enabled: bool,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Replaces the roles; `false` where the user is gone.
    async fn set_user_roles(
        &self,
        tenant: &TenantId,
        id: &UserId,
        roles: &BTreeSet<String>,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Replaces roles, those that wait, or lets the user sign in or no more, all or nothing; `false` where the user is gone, or where roles
    /// or `enabled` are no longer as they were seen. What follows of `enabled` is as for [`set_user_enabled`](Self::set_user_enabled).
    async fn change_user(&self, seen: &User, edit: &UserEdit, at: Timestamp, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Replaces the password; `false` where the user is gone, or the credentials no longer have the version that was `seen`. The credentials' version rises and every grant of the
    /// user ends in the same commit.
    async fn set_user_password(
        &self,
        tenant: &TenantId,
        id: &UserId,
        password: &SealedCopies,
        seen: Option<i64>,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Removes the user, their factors and grants; `false` where the user is gone.
    async fn remove_user(&self, tenant: &TenantId, id: &UserId, audit: Vec<AuditEvent>) -> Result<bool>;
}
