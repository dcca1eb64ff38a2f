//! A connection to the file, as statements run on it: values to parameters, and columns to values.

use std::sync::Arc;

use async_trait::async_trait;
use signet_store::StoreFailure;
use signet_store_sql::engine::{Dialect, Result, Row, Statements, Text, Value, Words};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, Executor as _, Row as _, Sqlite, TypeInfo as _, ValueRef as _};

use super::fault::failure_of;

/// A connection.
pub(super) struct Session {
    pub(super) connection: SqliteConnection,
}

impl Session {
    /// Runs a statement that takes no parameters and gives no rows.
    pub(super) async fn execute(&mut self, text: &'static str) -> Result<()> {
        self.connection.execute(text).await.map(drop).map_err(|error| failure_of(&error))
    }
}

#[async_trait]
impl Statements for Session {
    async fn rows(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        let rows = bound(text, values).fetch_all(&mut self.connection).await.map_err(|error| failure_of(&error))?;
        rows_of(&rows)
    }

    async fn change(&mut self, text: &Text, values: Vec<Value>) -> Result<u64> {
        let done = bound(text, values).execute(&mut self.connection).await.map_err(|error| failure_of(&error))?;
        Ok(done.rows_affected())
    }
}

/// A statement with its parameters.
pub(super) fn bound(text: &Text, values: Vec<Value>) -> Query<'static, Sqlite, SqliteArguments> {
    let query = match text.of(Dialect::Sqlite) {
        Words::Static(text) => sqlx::query(text),
        Words::Shared(text) => sqlx::query(AssertSqlSafe(text)),
    };
    values.into_iter().fold(query, |query, value| match value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

/// What a statement gave.
pub(super) fn rows_of(rows: &[SqliteRow]) -> Result<Vec<Row>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let names: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
    let values = |row: &SqliteRow| (0..names.len()).map(|place| value_of(row, place)).collect::<Result<Vec<_>>>();
    rows.iter().map(|row| Ok(Row::new(Arc::clone(&names), values(row)?))).collect()
}

/// What stands in a column: SQLite says of each value what it is.
fn value_of(row: &SqliteRow, place: usize) -> Result<Value> {
    let raw = row.try_get_raw(place).map_err(|error| failure_of(&error))?;
    let kind = raw.type_info();
    let decoded = match kind.name() {
        "INTEGER" | "INT8" | "BOOLEAN" => row.try_get_unchecked(place).map(Value::Number),
        "TEXT" => row.try_get_unchecked(place).map(Value::Text),
        "BLOB" => row.try_get_unchecked(place).map(Value::Bytes),
        _ if raw.is_null() => Ok(Value::Bytes(None)),
        _ => return Err(StoreFailure::Corrupt("row")),
    };
    decoded.map_err(|error| failure_of(&error))
}
