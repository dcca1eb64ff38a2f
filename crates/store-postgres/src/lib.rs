//! The engine that keeps the store in a PostgreSQL database, which many nodes share.
//!
//! It decides how a node connects (TLS, which of several hosts, the role), what a server and whatever stands before it must
//! keep for a commit to be durable, and what PostgreSQL's failures mean. What is written, and when, it leaves to
//! [`signet_store_sql`].

#![forbid(unsafe_code)]

use std::sync::Arc;

use signet_jose::clock::Clock;
use signet_store::StoreError;
use signet_store::anchor::Anchor;
use signet_store_sql::SqlStore;

use self::engine::PostgresEngine;

mod connect;
mod engine;
mod fault;
mod migrate;
mod options;

pub use options::{PostgresOptions, UnusableUrl};

/// Opens the store in a database that has the schema, or, where `options.create` says so, makes it and brings it up to
/// date, which takes a role that may.
/// Errors: [`Unavailable`](signet_store::StoreFailure::Unavailable) where no host takes writes;
/// [`Refused`](signet_store::StoreFailure::Refused) where the database has no schema of Signet's, or one of another
/// version, or where the server, or what stands before it, does not keep what it commits;
/// [`RolledBack`](signet_store::StoreFailure::RolledBack) where the anchor holds a checkpoint beyond the end of the audit
/// chain.
pub async fn open(options: PostgresOptions, clock: Arc<dyn Clock>) -> Result<Arc<SqlStore>, StoreError> {
    let anchor = options.anchor.clone().map(Anchor::new);
    let engine = PostgresEngine::new(options);
    engine.check_schema().await.map_err(|failure| failure.during("open"))?;
    SqlStore::open(Arc::new(engine), anchor, clock).await
}
