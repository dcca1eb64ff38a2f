//! The contract of logins at HSM tokens. See [`contract`](super::contract) for what holds of all contracts.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use signet_core::audit::AuditEvent;
use signet_core::keys::{HsmName, LoginRecord, TokenIdentity};
use signet_jose::clock::Timestamp;

/// What is kept of the logins at one HSM token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLogins {
    /// The token.
    pub token: TokenIdentity,
    /// What the node calls it that logged in there last.
    pub hsm: HsmName,
    /// Rises with each change.
    pub version: i64,
    /// What all nodes know.
    pub record: LoginRecord,
}

/// A change of what is kept.
#[derive(Debug, Clone)]
pub struct LoginChange {
    /// The token, and the record that it has from now on. The version is the one that was read; 0 where there was no record.
    pub logins: StoredLogins,
    /// How long the login may take that is under way from now on; `None` where none begins: then one that is under way keeps
    /// its time.
    pub lasts: Option<Duration>,
}

/// Who may present a PIN to which HSM token. Locks the token's row alone.
#[async_trait]
pub trait Logins: Send + Sync {
    /// What is kept of every HSM token. Whether the lease of a login has run out is told by the database server's clock;
    /// where there is no server, it is `at`.
    async fn logins(&self, at: Timestamp) -> Result<Vec<StoredLogins>>;

    /// What is kept of one.
    async fn logins_of(&self, token: &TokenIdentity, at: Timestamp) -> Result<Option<StoredLogins>>;

    /// Changes what is kept of one, where it still has the version that was read. `false`, and nothing written or recorded,
    /// where somebody else was faster.
    async fn change_logins(&self, change: LoginChange, at: Timestamp, audit: Vec<AuditEvent>) -> Result<bool>;
}
