//! One server at a time on a database that other machines reach too: what each machine counts for itself (signatures, tries
//! of a PIN) is compared with the records of the whole deployment, and a second server's would look like somebody else's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use signet_jose::clock::{Clock as _, SystemClock};
use signet_state_file::{Access, LockedFile};
use signet_store::Leases as _;
use signet_store_sql::SqlStore;

use super::runtime::Runtime;
use crate::config::StoreConfig;

/// The lease that the server of a database holds.
const LEASE: &str = "server";
const LASTS: Duration = Duration::from_secs(15);
const RENEWED_EVERY: Duration = Duration::from_secs(5);
/// The file in the state folder that names this machine's node: a restarted server takes its own lease over at once.
const NODE_FILE: &str = "node-id";

/// This server's right to serve.
pub(super) struct SoleServer {
    store: Arc<SqlStore>,
    node: String,
}

impl SoleServer {
    /// Takes the right; `None` where the store is a file, which no other machine reaches.
    /// Errors: another server has it.
    pub(super) async fn claim(runtime: &Runtime) -> anyhow::Result<Option<Arc<Self>>> {
        let StoreConfig::Postgres(database) = &runtime.config.store else { return Ok(None) };
        let file = database.state_folder.join(NODE_FILE);
        let node = node_id(&file, runtime.signet.issuer().ids.next())
            .with_context(|| format!("{} can't be used", file.display()))?;
        let claimed = Self { store: runtime.store.clone(), node };
        anyhow::ensure!(
            claimed.take().await?,
            "another server serves this database, or did until less than 15 s ago: one serves at a time. If it is on another \
             machine, stop it first"
        );
        Ok(Some(Arc::new(claimed)))
    }

    async fn take(&self) -> anyhow::Result<bool> {
        Ok(self.store.take_lease(LEASE, &self.node, SystemClock.now(), LASTS).await?)
    }

    /// Renews the right, and ends once it is another server's. While the store does not answer nobody issues anyway.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut times = tokio::time::interval(RENEWED_EVERY);
        times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            match self.take().await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::error!("another server serves this database by now: this one stops");
                    return;
                }
                Err(error) => tracing::warn!(%error, "the lease of the server could not be renewed"),
            }
        }
    }

    /// Gives the right back.
    pub(super) async fn end(&self) {
        if let Err(error) = self.store.end_lease(LEASE, &self.node).await {
            tracing::warn!(%error, "the lease of the server was not given back; it runs out by itself");
        }
    }
}

/// The node's id; at the first start this fresh one becomes it.
fn node_id(file: &Path, fresh: String) -> std::io::Result<String> {
    let locked = LockedFile::open(file, Access::InPlace)?;
    let known = std::fs::read_to_string(file)?;
    if !known.trim().is_empty() {
        return Ok(known.trim().to_owned());
    }
    locked.replace(fresh.as_bytes())?;
    Ok(fresh)
}
