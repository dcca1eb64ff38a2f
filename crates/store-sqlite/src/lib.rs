//! The engine that keeps the store in an SQLite file, for one node: one connection writes, a small pool reads.
//!
//! It decides how the file is opened and its log moved, how a transaction is alone (`BEGIN IMMEDIATE`, so that what it reads
//! still holds when it writes), and what SQLite's failures mean. What is written, and when, it leaves to
//! [`signet_store_sql`].

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use signet_core::audit::NodeId;
use signet_jose::clock::{Clock, Timestamp};
use signet_store::anchor::Anchor;
use signet_store::{StoreError, StoreFailure};
use signet_store_sql::SqlStore;
use signet_store_sql::engine::Engine;
use signet_store_sql::schema::Migration;
use sqlx::Connection as _;

use self::engine::SqliteEngine;

mod engine;
mod fault;
mod open;
mod session;
mod wal;

/// How to open the store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The database file.
    pub path: PathBuf,
    /// Whether to make it where there is none. Its schema is brought up to date either way.
    pub create: bool,
    /// How many connections read at once; at least 1.
    pub readers: u32,
    /// How long to wait for another process's lock.
    pub busy_timeout: Duration,
    /// The file to which checkpoints are appended too, outside of the database.
    pub anchor: Option<PathBuf>,
}

/// Opens the store in an SQLite file and brings its schema up to date. The file is made with mode 0600.
/// Errors: [`Unavailable`](signet_store::StoreFailure::Unavailable) where there is no file or it can't be used;
/// [`Refused`](signet_store::StoreFailure::Refused) where it is not a database of Signet's, is empty, or is of a newer
/// version; [`RolledBack`](signet_store::StoreFailure::RolledBack) where the anchor holds a checkpoint beyond the end of
/// the audit chain.
pub async fn open(options: SqliteOptions, node: NodeId, clock: Arc<dyn Clock>) -> Result<Arc<SqlStore>, StoreError> {
    let anchor = options.anchor.clone().map(Anchor::new);
    let engine = SqliteEngine::find(options, clock.now()).map_err(|failure| failure.during("open"))?;
    SqlStore::open(Arc::new(engine), node, anchor, clock).await
}

/// Opens a store that is to be copied to another one, or whose copy was interrupted. No file is made.
/// Errors: as for [`open`].
pub async fn open_to_copy(
    options: SqliteOptions,
    node: NodeId,
    clock: Arc<dyn Clock>,
) -> Result<Arc<SqlStore>, StoreError> {
    let anchor = options.anchor.clone().map(Anchor::new);
    let engine = SqliteEngine::find(options, clock.now()).map_err(|failure| failure.during("open"))?;
    SqlStore::open_to_copy(Arc::new(engine), node, anchor, clock).await
}

/// A file with its schema up to date, to be filled; made where there is none.
/// Errors: as for [`open`].
pub async fn prepare(mut options: SqliteOptions, at: Timestamp) -> Result<Arc<dyn Engine>, StoreError> {
    options.create = true;
    let prepared = async {
        let engine = SqliteEngine::find(options, at)?;
        engine.connect().await?.close().await;
        Ok(engine)
    };
    let engine = prepared.await.map_err(|failure: StoreFailure| failure.during("open"))?;
    Ok(Arc::new(engine))
}

/// Applies the migrations that the file lacks, under its write lock, and returns them. No file is made.
/// Errors: as for [`open`].
pub async fn migrate(options: &SqliteOptions, at: Timestamp) -> Result<Vec<&'static Migration>, StoreError> {
    let migrating = async {
        open::find_file(options)?;
        let (connection, done) = open::connect_and_migrate(options, &open::connect_options(options), at).await?;
        // The last one to close folds the log back, and nothing is lost where that fails.
        let _ = connection.close().await;
        Ok(done)
    };
    migrating.await.map_err(|failure: StoreFailure| failure.during("migrate"))
}
