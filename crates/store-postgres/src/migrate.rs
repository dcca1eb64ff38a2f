//! The schema: made and brought up to date by whoever may, and only looked at by everybody else.

use signet_store::StoreFailure;
use signet_store_sql::engine::{Dialect, Result};
use signet_store_sql::schema;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::fault::failure_of;

/// Only one process changes the schema at a time: the lock's number is "Sgnt".
const LOCK: &str = "SELECT pg_advisory_xact_lock(1399287412)";
const HAS_VERSION: &str = "SELECT to_regclass('signet_schema') IS NOT NULL";
const VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM signet_schema";
const KEEP_VERSION: &str = "CREATE TABLE IF NOT EXISTS signet_schema (version BIGINT PRIMARY KEY)";
const ADD_VERSION: &str = "INSERT INTO signet_schema (version) VALUES ($1)";

/// The schema's version; 0 where there is none.
/// Errors: as the server says.
pub(crate) async fn version(connection: &mut PgConnection) -> Result<i64> {
    let failed = |error: sqlx::Error| failure_of(&error);
    if !sqlx::query_scalar::<_, bool>(HAS_VERSION).fetch_one(&mut *connection).await.map_err(failed)? {
        return Ok(0);
    }
    sqlx::query_scalar(VERSION).fetch_one(connection).await.map_err(failed)
}

/// Whether this program can work on the schema as it is.
/// Errors: [`StoreFailure::Refused`] with what to do.
pub(crate) async fn check(connection: &mut PgConnection) -> Result<()> {
    match version(connection).await? {
        0 => Err(StoreFailure::Refused("the database is empty: run `signet init`".to_owned())),
        found if schema::pending(found, Dialect::Postgres)?.is_empty() => Ok(()),
        found => Err(StoreFailure::Refused(format!(
            "the database is of version {found}, and this program needs {}: run `signet init` with it",
            schema::known_version()
        ))),
    }
}

/// Makes the schema, or brings it up to date, in one transaction.
/// Errors: as the server says; nothing changed then.
pub(crate) async fn migrate(connection: &mut PgConnection) -> Result<()> {
    let failed = |error: sqlx::Error| failure_of(&error);
    let mut transaction = connection.begin().await.map_err(failed)?;
    transaction.execute(LOCK).await.map_err(failed)?;
    let found = version(&mut transaction).await?;
    let pending = schema::pending(found, Dialect::Postgres)?;
    if pending.is_empty() {
        return transaction.rollback().await.map_err(failed);
    }
    transaction.execute(KEEP_VERSION).await.map_err(failed)?;
    for statement in pending {
        transaction.execute(AssertSqlSafe(statement)).await.map_err(failed)?;
    }
    if found == 0 {
        let first = sqlx::query(schema::FIRST_ROW).bind([0_u8; 32].as_slice());
        first.execute(&mut *transaction).await.map_err(failed)?;
    }
    sqlx::query(ADD_VERSION).bind(schema::known_version()).execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}
