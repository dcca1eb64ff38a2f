//! What the process that answers knows beyond its deployment.

use std::path::PathBuf;
use std::sync::Arc;

use signet_store::HsmRate;
use signet_store_sql::SqlStore;

/// The process: a server, or a command that is the node until it ends.
#[derive(Clone)]
pub struct Process {
    /// Whether a TLS key authenticates the server, which no HSM holds.
    pub has_tls_key: bool,
    /// The store as a whole, for what goes through all of its rows.
    pub store: Arc<SqlStore>,
    /// The file with the audit keys' public halves.
    pub audit_keys: PathBuf,
    /// The file outside of the store that says how far it reaches.
    pub anchor: PathBuf,
    /// What this node may ask its HSM tokens for, where it is no server: that of a server stands in the store.
    pub own_rates: Option<Vec<HsmRate>>,
}
