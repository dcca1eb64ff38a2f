//! The node that a server is: its id lies in the state folder, and one process at a time holds it, by a lease of the store.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use signet_core::keys::hexadecimal;
use signet_core::random::{OsRandom, bytes};
use signet_jose::clock::{Clock as _, SystemClock};
use signet_state_file::{Access, LockedFile};
use signet_store::{NodeHolder, NodeLease, Nodes as _, StoreFailure};
use signet_store_sql::SqlStore;
use signet_store_sql::restore::Standstill;
use tokio::time::Instant;

use super::node_file::NODE_FILE;
use super::runtime::Runtime;

const LASTS: Duration = Duration::from_secs(15);
const RENEWED_EVERY: Duration = Duration::from_secs(5);
/// How often it is asked for again while another process has it.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// Whose lock a server holds until it ends.
const LOCK_FILE: &str = "server.lock";
/// Which start of the machine this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The process that held the node's right last, as its file says in a second line.
fn last_process(folder: &Path) -> std::io::Result<Option<String>> {
    let text = std::fs::read_to_string(folder.join(NODE_FILE))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).nth(1).map(str::to_owned))
}

/// Keeps every server of this state folder from running.
/// Errors: one runs.
pub(super) fn lock(folder: &Path) -> anyhow::Result<LockedFile> {
    let lock = LockedFile::try_open(&folder.join(LOCK_FILE), Access::InPlace)?;
    lock.with_context(|| format!("another server runs on {}: one does at a time", folder.display()))
}

/// Takes the node's lock for a command; `None` while a server or another command has it.
/// Errors: the state folder can't be written.
pub(crate) fn try_lock(folder: &Path) -> anyhow::Result<Option<LockedFile>> {
    let file = folder.join(LOCK_FILE);
    let lock = LockedFile::try_open(&file, Access::InPlace);
    lock.with_context(|| format!("{} can't be locked", file.display()))
}

/// Which lock of which start of which machine this is: a folder that was copied has another one.
fn place_of(lock: &LockedFile) -> std::io::Result<String> {
    let (boot, file) = (std::fs::read_to_string(BOOT)?, lock.file().metadata()?);
    Ok(format!("{}/{}/{} ", boot.trim(), file.dev(), file.ino()))
}

/// A server's right to be its node. While it holds, nothing is committed as this node but under its lease.
pub(super) struct NodeRight {
    store: Arc<SqlStore>,
    holder: NodeHolder,
    _lock: LockedFile,
}

impl NodeRight {
    /// Takes the right. What the process before left, which ended in this folder since the machine was started, is taken over at
    /// once; anybody else's is waited for until it runs out.
    /// Errors: another server is this node, or it was retired.
    pub(super) async fn claim(runtime: &Runtime) -> anyhow::Result<Arc<Self>> {
        let folder = runtime.config.store.folder();
        let lock = lock(folder)?;
        let place = place_of(&lock).context("this start of the machine has no name")?;
        // Whoever held this very lock before has ended. Of another start of the machine, or another copy of the folder, nothing
        // says that.
        let ended = last_process(folder)?.filter(|process| process.starts_with(&place));
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let process = format!("{place}{}", hexadecimal(&bytes::<16>(&OsRandom)));
        let holder = NodeHolder { process, ended, name };
        let right = Self { store: runtime.store.clone(), holder, _lock: lock };
        right.take_when_free().await?;
        if right.store.standstill().await? == Some(Standstill::Restored) {
            return Err(StoreFailure::Unanswered.into());
        }
        let text = format!("{}\n{}\n", right.store.node(), right.holder.process);
        LockedFile::open(&folder.join(NODE_FILE), Access::InPlace)?.replace(text.as_bytes())?;
        right.store.keep_rates(&runtime.config.hsm_rates).await?;
        Ok(Arc::new(right))
    }

    async fn take_when_free(&self) -> anyhow::Result<()> {
        let until = Instant::now() + LASTS + ASKED_EVERY;
        loop {
            match self.take().await? {
                NodeLease::Held => return Ok(()),
                NodeLease::Retired => anyhow::bail!("{}", RETIRED),
                NodeLease::Taken => {}
            }
            anyhow::ensure!(
                Instant::now() < until,
                "another server is this node: is the state folder a copy? Then remove `{NODE_FILE}` from it, and this one becomes \
                 a node of its own"
            );
            tracing::info!("the process that was this node before may still run: waiting until its lease is over");
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    async fn take(&self) -> anyhow::Result<NodeLease> {
        Ok(self.store.lease_node(&self.holder, SystemClock.now(), LASTS).await?)
    }

    /// Renews the right, and ends once it is gone. While the store does not answer nobody issues anyway.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut times = tokio::time::interval(RENEWED_EVERY);
        times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            match self.take().await {
                Ok(NodeLease::Held) => {}
                Ok(NodeLease::Taken) => {
                    tracing::error!("another process is this node by now: this one stops");
                    return;
                }
                Ok(NodeLease::Retired) => {
                    tracing::error!("{RETIRED}");
                    return;
                }
                Err(error) => tracing::warn!(%error, "the lease of the node could not be renewed"),
            }
        }
    }

    /// Gives the right back.
    pub(super) async fn end(&self) {
        if let Err(error) = self.store.give_back_node(&self.holder.process).await {
            tracing::warn!(%error, "the lease of the node was not given back; it runs out by itself");
        }
    }
}

const RETIRED: &str = "this node was retired: it serves no more. Remove `node-id` from the state folder, and this machine becomes \
    another node";
