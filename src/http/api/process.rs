//! What the process that answers knows beyond its deployment.

use std::sync::Arc;

use super::Refused;
use signet_service::custody::balance::Others;

/// The process: a server, or a command that is the node until it ends.
#[derive(Clone)]
pub struct Process {
    /// Whether a TLS key authenticates the server, which no HSM holds.
    pub has_tls_key: bool,
    /// The marks of other processes that sign; none where nothing is signed here.
    pub others: Option<Arc<dyn Others>>,
}

impl Process {
    /// Errors: the process was begun without its HSM tokens.
    pub(super) fn others(&self) -> Result<&dyn Others, Refused> {
        self.others.as_deref().ok_or_else(|| Refused::unavailable("this process has no HSM token at hand"))
    }
}
