//! What is set of a tenant: the settings that hold, and those that wait for another person.

use async_trait::async_trait;

use crate::error::StoreError;
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;

/// Settings as they were stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingStatement {
    /// The document, as JSON.
    pub document: String,
    /// Who stated them; none for the deployment itself.
    pub stated_by: Option<String>,
    /// When.
    pub stated_at: Timestamp,
}

/// What a file can state beside settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredNoun {
    /// Users.
    Users,
    /// Clients.
    Clients,
}

impl DeclaredNoun {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Clients => "clients",
        }
    }
}

/// The settings of tenants.
#[async_trait]
pub trait SettingStatements: Send + Sync {
    /// The settings that hold; none where none were ever stated.
    async fn settings(&self, tenant: &TenantId) -> Result<Option<SettingStatement>, StoreError>;
    /// The settings that wait for another person.
    async fn proposed_settings(&self, tenant: &TenantId) -> Result<Option<SettingStatement>, StoreError>;
    /// States settings, while those that were seen still hold; `false` where they do not. What waited for another person is gone.
    async fn state_settings(
        &self,
        tenant: &TenantId,
        seen: Option<&SettingStatement>,
        stated: &SettingStatement,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError>;
    /// The ids of what a file stated and is still there, in order, after `after`, at most `limit`.
    async fn declared(
        &self,
        tenant: &TenantId,
        noun: DeclaredNoun,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError>;
    /// Has settings wait for another person, or none from now on, while what was seen to wait still does; `false` where it does not.
    async fn propose_settings(
        &self,
        tenant: &TenantId,
        seen: Option<&SettingStatement>,
        proposed: Option<&SettingStatement>,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError>;
}
