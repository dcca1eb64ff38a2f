//! The engine that keeps the store in a PostgreSQL database, which many nodes share.
//!
//! It decides how a node connects (TLS, which of several hosts, the role), what a server and whatever stands before it must
//! keep for a commit to be durable, and what PostgreSQL's failures mean. What is written, and when, it leaves to
//! [`signet_store_sql`].

#![forbid(unsafe_code)]

use std::sync::Arc;

use signet_core::audit::NodeId;
use signet_jose::clock::{Clock, Timestamp};
use signet_store::StoreError;
use signet_store::anchor::Anchor;
use signet_store_sql::SqlStore;
use signet_store_sql::engine::Engine;
use signet_store_sql::schema::Migration;

use self::engine::PostgresEngine;

mod connect;
mod engine;
mod fault;
mod migrate;
mod options;
mod roles;
mod session;

pub use options::{PostgresOptions, UnusableUrl};

/// Opens the store in a database that has the schema, or, where `options.create` says so, makes it and brings it up to
/// date, which takes a role that may.
/// Errors: [`Unavailable`](signet_store::StoreFailure::Unavailable) where no host takes writes;
/// [`Refused`](signet_store::StoreFailure::Refused) where the database has no schema of Signet's, or one of another
/// version, or where the server, or what stands before it, does not keep what it commits;
/// [`RolledBack`](signet_store::StoreFailure::RolledBack) where the anchor holds a checkpoint beyond the end of the audit
/// chain.
pub async fn open(options: PostgresOptions, node: NodeId, clock: Arc<dyn Clock>) -> Result<Arc<SqlStore>, StoreError> {
    let anchor = options.anchor.clone().map(Anchor::new);
    let engine = PostgresEngine::new(options);
    engine.check_schema(clock.now()).await.map_err(|failure| failure.during("open"))?;
    SqlStore::open(Arc::new(engine), node, anchor, clock).await
}

/// Opens a store that is behind what was written to it, for whoever decides about that.
/// Errors: as for [`open`], but for the anchor.
pub async fn open_to_decide(
    options: PostgresOptions,
    node: NodeId,
    clock: Arc<dyn Clock>,
) -> Result<Arc<SqlStore>, StoreError> {
    let engine = PostgresEngine::new(options);
    engine.check_schema(clock.now()).await.map_err(|failure| failure.during("open"))?;
    SqlStore::open_to_copy(Arc::new(engine), node, None, clock).await
}

/// A database with its schema up to date, to be filled by a copy.
/// Errors: as for [`open`].
pub async fn prepare(mut options: PostgresOptions, at: Timestamp) -> Result<Arc<dyn Engine>, StoreError> {
    options.create = true;
    let engine = PostgresEngine::new(options);
    engine.check_schema(at).await.map_err(|failure| failure.during("open"))?;
    Ok(Arc::new(engine))
}

/// Applies the migrations that the database lacks, under a lock of their own, and returns them; then grants `serving` what a
/// role needs to serve, and nothing else. All of it or none. Takes a role that owns the schema.
/// Errors: as for [`open`]; [`Refused`](signet_store::StoreFailure::Refused) where there is no role `serving`, or it could do
/// more than serve.
pub async fn migrate(
    options: &PostgresOptions,
    serving: Option<&str>,
    at: Timestamp,
) -> Result<Vec<&'static Migration>, StoreError> {
    migrate::run(options, serving, at).await.map_err(|failure| failure.during("migrate"))
}
