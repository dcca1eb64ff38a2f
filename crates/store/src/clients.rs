//! The contract of clients. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use super::{Client, ClientId};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;

/// Clients.
#[async_trait]
pub trait Clients: Send + Sync {
    /// Adds a client; `false` where its name or id is taken.
    async fn add_client(&self, client: &Client, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Adds a client that a file states, and that it does; `false` where the name is taken.
    async fn declare_client(&self, client: &Client, audit: Vec<AuditEvent>) -> Result<bool>;
    /// The client of this id.
    async fn client(&self, tenant: &TenantId, id: &ClientId) -> Result<Option<Client>>;
    /// All clients by name, after `after`, at most `limit`.
    async fn clients(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<Client>>;
    /// Lets the client ask for tokens, or no more, and changes nothing else; `false` where it is gone. Where not, no grant of the
    /// client is good for anything from that commit on, and each has ended before this answers, or before the client may ask
    /// again: they can be very many.
    async fn set_client_enabled(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        enabled: bool,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Replaces grant types, scopes, audiences and whether the client may ask for tokens, all or nothing, and nothing else; `false` where
    /// it is gone, or where one of them is no longer as it was seen. Of grants it is as for
    /// [`set_client_enabled`](Self::set_client_enabled).
    async fn change_client(
        &self,
        seen: &Client,
        client: &Client,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Replaces the secret and nothing else; `false` where the client is gone.
    async fn set_client_secret(
        &self,
        tenant: &TenantId,
        id: &ClientId,
        secret: &SecretHash,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Removes a client and its grants; `false` where it is gone.
    async fn remove_client(&self, tenant: &TenantId, id: &ClientId, audit: Vec<AuditEvent>) -> Result<bool>;
}
