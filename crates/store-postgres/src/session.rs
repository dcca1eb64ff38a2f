//! A connection to the server, as statements run on it: values to parameters, and columns to values.

use std::sync::Arc;

use async_trait::async_trait;
use signet_store::StoreFailure;
use signet_store_sql::engine::{Dialect, Result, Row, Statements, Text, Value, Words};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Column as _, Executor as _, Postgres, Row as _, TypeInfo as _};

use super::fault::failure_of;

/// A connection.
pub(super) struct Session {
    pub(super) connection: PgConnection,
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
pub(super) fn bound(text: &Text, values: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
    let query = match text.of(Dialect::Postgres) {
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
pub(super) fn rows_of(rows: &[PgRow]) -> Result<Vec<Row>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let names: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
    let values = |row: &PgRow| (0..names.len()).map(|place| value_of(row, place)).collect::<Result<Vec<_>>>();
    rows.iter().map(|row| Ok(Row::new(Arc::clone(&names), values(row)?))).collect()
}

/// What stands in a column, by the column's type.
fn value_of(row: &PgRow, place: usize) -> Result<Value> {
    let read = match row.column(place).type_info().name() {
        "INT8" => row.try_get(place).map(Value::Number),
        "INT4" => row.try_get::<Option<i32>, _>(place).map(|number| Value::Number(number.map(i64::from))),
        "TEXT" => row.try_get(place).map(Value::Text),
        "BYTEA" => row.try_get(place).map(Value::Bytes),
        _ => return Err(StoreFailure::Corrupt("row")),
    };
    read.map_err(|error| failure_of(&error))
}
