//! SQLite behind the ports of [`signet_store_sql::engine`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use signet_store::StoreFailure;
use signet_store_sql::engine::{
    Connection, Dialect, Engine, Result, Row, Statements, Text, Value, Words, WriteConnection,
};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, Sqlite, TypeInfo as _, ValueRef as _,
};

use super::SqliteOptions;
use super::fault::failure_of;
use super::open::{self, FileIdentity};
use super::wal::LogKeeper;

/// How long a reader waits for a connection.
const READ_DEADLINE: Duration = Duration::from_secs(3);

/// An SQLite file.
#[derive(Debug)]
pub(super) struct SqliteEngine {
    options: SqliteOptions,
    connect: SqliteConnectOptions,
    identity: FileIdentity,
    readers: SqlitePool,
}

impl SqliteEngine {
    /// Finds the file, or makes it where that is asked for.
    /// Errors: why there is none.
    pub(super) fn find(options: SqliteOptions) -> Result<Self> {
        let identity = open::find_file(&options)?;
        let connect = open::connect_options(&options);
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(READ_DEADLINE)
            .test_before_acquire(false)
            .connect_lazy_with(connect.clone().pragma("query_only", "ON"));
        Ok(Self { options, connect, identity, readers })
    }
}

#[async_trait]
impl Engine for SqliteEngine {
    async fn connect(&self) -> Result<Box<dyn WriteConnection>> {
        let connection = open::connect_writer(&self.options, &self.connect).await?;
        let log = LogKeeper::start(self.connect.clone());
        Ok(Box::new(Writing { connection, beginning: None, identity: self.identity.clone(), log }))
    }

    async fn read(&self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        let rows = bound(text, values).fetch_all(&self.readers).await.map_err(|error| failure_of(&error))?;
        rows_of(&rows)
    }

    async fn weakness(&self) -> Result<Option<String>> {
        Ok(None)
    }

    async fn close(&self) {
        self.readers.close().await;
    }
}

/// The connection that writes.
struct Writing {
    connection: SqliteConnection,
    /// What a transaction begins with.
    beginning: Option<(Text, Text)>,
    identity: FileIdentity,
    log: LogKeeper,
}

impl Writing {
    async fn execute(&mut self, text: &'static str) -> Result<()> {
        self.connection.execute(text).await.map(drop).map_err(|error| failure_of(&error))
    }
}

#[async_trait]
impl Statements for Writing {
    async fn rows(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        let rows = bound(text, values).fetch_all(&mut self.connection).await.map_err(|error| failure_of(&error))?;
        rows_of(&rows)
    }

    async fn change(&mut self, text: &Text, values: Vec<Value>) -> Result<u64> {
        let done = bound(text, values).execute(&mut self.connection).await.map_err(|error| failure_of(&error))?;
        Ok(done.rows_affected())
    }
}

#[async_trait]
impl WriteConnection for Writing {
    /// In one turn of the connection's thread.
    async fn begin(&mut self, first: &Text) -> Result<Row> {
        self.identity.check()?;
        let beginning = match self.beginning.take() {
            Some((of, beginning)) if of == *first => beginning,
            _ => Text::Made(format!("BEGIN IMMEDIATE; {}", first.of(Dialect::Sqlite).as_str()).into()),
        };
        let row = self.rows(&beginning, vec![]).await?.pop();
        self.beginning = Some((first.clone(), beginning));
        row.ok_or(StoreFailure::Corrupt("deployment"))
    }

    async fn alone(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        self.identity.check()?;
        let rows = self.rows(text, values).await?;
        self.log.committed();
        Ok(rows)
    }

    async fn commit(&mut self) -> Result<()> {
        self.execute("COMMIT").await?;
        self.log.committed();
        Ok(())
    }

    async fn rollback(&mut self) -> Result<()> {
        self.execute("ROLLBACK").await
    }

    fn statements(&mut self) -> &mut Connection {
        self
    }

    async fn close(self: Box<Self>) {
        // Before the writer's, so that its connection is the last one, which folds the log back.
        self.log.close().await;
        // Nothing is lost where this fails: the log is replayed when the file is opened again.
        let _ = self.connection.close().await;
    }
}

fn bound(text: &Text, values: Vec<Value>) -> Query<'static, Sqlite, SqliteArguments> {
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

fn rows_of(rows: &[SqliteRow]) -> Result<Vec<Row>> {
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
