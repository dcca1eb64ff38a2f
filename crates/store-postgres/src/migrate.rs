//! The schema: made and brought up to date by a role that owns it, under a lock of its own.

use signet_jose::clock::Timestamp;
use signet_store_sql::engine::{Dialect, Result};
use signet_store_sql::schema::{self, Migration};
use sqlx::Connection as _;

use super::connect::connect;
use super::options::PostgresOptions;
use super::roles;
use super::session::Session;

/// Only one process changes the schema at a time: the lock's number is "Sgnt". It is waited for as for any lock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1399287412)";
/// A statement over a large table takes longer than one that serves. How long a lock is waited for stays as it is, so that
/// nodes that serve never wait behind a migration that waits itself.
const PATIENCE: &str = "SET LOCAL statement_timeout = '1h'";

/// Makes the schema, or brings it up to date, in one transaction.
/// Errors: as the server says; nothing changed then.
pub(crate) async fn migrate(session: &mut Session, at: Timestamp) -> Result<Vec<&'static Migration>> {
    in_transaction(session, None, at).await
}

/// Connects, brings the schema up to date, and grants a role what it needs to serve.
/// Errors: as the server says; nothing changed then.
pub(crate) async fn run(
    options: &PostgresOptions,
    serving: Option<&str>,
    at: Timestamp,
) -> Result<Vec<&'static Migration>> {
    let (connection, _) = connect(options).await?;
    let mut session = Session { connection };
    let done = in_transaction(&mut session, serving, at).await;
    // Nothing is left to say to it.
    let _ = session.connection.close().await;
    done
}

async fn in_transaction(
    session: &mut Session,
    serving: Option<&str>,
    at: Timestamp,
) -> Result<Vec<&'static Migration>> {
    session.execute("BEGIN").await?;
    match changed(session, serving, at).await {
        Ok(done) => {
            session.execute("COMMIT").await?;
            Ok(done)
        }
        Err(failure) => {
            // Where this fails too, the server takes the transaction back with the connection.
            let _ = session.execute("ROLLBACK").await;
            Err(failure)
        }
    }
}

async fn changed(session: &mut Session, serving: Option<&str>, at: Timestamp) -> Result<Vec<&'static Migration>> {
    session.execute(LOCK).await?;
    session.execute(PATIENCE).await?;
    let done = schema::migrate(session, Dialect::Postgres, at).await?;
    if let Some(role) = serving {
        roles::grant_serving(session, role).await?;
    }
    Ok(done)
}
