//! What the admin API asks of the process that answers it: its configuration, and what it runs.

use async_trait::async_trait;
use signet_core::keys::HsmName;

/// The process on the node that answers: a server, or a command that is the node where none runs.
#[async_trait]
pub trait Host: Send + Sync {
    /// The HSM tokens that the configuration names now.
    /// Errors: it can't be read, in words.
    async fn configured_hsms(&self) -> Result<Vec<HsmName>, String>;

    /// Takes in an HSM token that the configuration names by now, as after SIGHUP, and waits a little for it.
    /// Errors: the HSM tokens stay as they are, and why.
    async fn take_in(&self, hsm: &HsmName) -> Result<(), String>;

    /// Adds the public halves of audit keys that were made just now to the file that this node judges the audit log by; gives its path.
    /// Errors: why it can't be written.
    async fn keep_audit_keys(&self, made: &[String]) -> Result<String, String>;
}
