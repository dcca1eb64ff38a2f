//! PostgreSQL behind the ports of [`signet_store_sql::engine`].

use std::sync::Arc;

use async_trait::async_trait;
use signet_store::StoreFailure;
use signet_store_sql::engine::{
    Connection, Dialect, Engine, Result, Row, Statements, Text, Value, Words, WriteConnection,
};
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Executor as _, Postgres, Row as _, TypeInfo as _};
use tokio::sync::Mutex;

use super::connect::{check_reader, connect};
use super::fault::failure_of;
use super::migrate;
use super::options::PostgresOptions;

/// A PostgreSQL database, on the host that takes writes at the moment.
#[derive(Debug)]
pub(super) struct PostgresEngine {
    options: PostgresOptions,
    /// Of the host that took writes last; made at the first use, and anew where another one does.
    readers: Mutex<Option<PgPool>>,
}

impl PostgresEngine {
    pub(super) fn new(options: PostgresOptions) -> Self {
        Self { options, readers: Mutex::new(None) }
    }

    /// Makes the schema where that is asked for, or sees that it is there.
    /// Errors: [`StoreFailure::Refused`] where it is not, with what to do.
    pub(super) async fn check_schema(&self) -> Result<()> {
        let (mut connection, _) = connect(&self.options).await?;
        if self.options.create {
            migrate::migrate(&mut connection).await?;
        } else {
            migrate::check(&mut connection).await?;
        }
        // Nothing is left to say to it.
        let _ = connection.close().await;
        Ok(())
    }

    async fn pool(&self) -> Result<PgPool> {
        let mut readers = self.readers.lock().await;
        if let Some(pool) = readers.as_ref() {
            return Ok(pool.clone());
        }
        let (connection, settled) = connect(&self.options).await?;
        let _ = connection.close().await;
        let expected = Arc::new(settled.clone());
        let pool = PgPoolOptions::new()
            .max_connections(self.options.readers.max(1))
            .acquire_timeout(self.options.connect_timeout)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let expected = Arc::clone(&expected);
                Box::pin(async move { check_reader(connection, &expected).await })
            })
            .connect_lazy_with(settled);
        Ok(readers.insert(pool).clone())
    }

    /// Lets go of a pool whose host may have stopped taking writes: the next reader looks for one that does.
    async fn let_go(&self, of: &PgPool) {
        let mut readers = self.readers.lock().await;
        if readers.as_ref().is_some_and(|pool| std::ptr::eq(pool.options(), of.options())) {
            *readers = None;
        }
    }
}

#[async_trait]
impl Engine for PostgresEngine {
    async fn connect(&self) -> Result<Box<dyn WriteConnection>> {
        let (connection, _) = connect(&self.options).await?;
        Ok(Box::new(Writing { connection }))
    }

    /// A connection that broke, as all do where another host takes over, is no answer: reading is done once more.
    async fn read(&self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        let pool = self.pool().await?;
        match bound(text, values.clone()).fetch_all(&pool).await {
            Ok(rows) => return rows_of(&rows),
            Err(error) if error.as_database_error().is_some() => return Err(failure_of(&error)),
            Err(_) => self.let_go(&pool).await,
        }
        let pool = self.pool().await?;
        match bound(text, values).fetch_all(&pool).await {
            Ok(rows) => rows_of(&rows),
            Err(error) => Err(failure_of(&error)),
        }
    }

    async fn weakness(&self) -> Result<Option<String>> {
        let asked = "SELECT current_setting('synchronous_standby_names')";
        let rows = self.read(&asked.into(), vec![]).await?;
        let names: String = rows.first().ok_or(StoreFailure::Corrupt("row"))?.try_get(0)?;
        Ok(names.is_empty().then(|| {
            "the server waits for no synchronous standby (synchronous_standby_names is empty): if its disk is lost, so are the \
             last commits, or all of them"
                .to_owned()
        }))
    }

    async fn close(&self) {
        if let Some(pool) = self.readers.lock().await.take() {
            pool.close().await;
        }
    }
}

/// The connection that writes.
struct Writing {
    connection: PgConnection,
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
    async fn begin(&mut self, first: &Text) -> Result<Row> {
        self.execute("BEGIN").await?;
        self.rows(first, vec![]).await?.pop().ok_or(StoreFailure::Corrupt("deployment"))
    }

    async fn alone(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        self.rows(text, values).await
    }

    async fn commit(&mut self) -> Result<()> {
        self.execute("COMMIT").await
    }

    async fn rollback(&mut self) -> Result<()> {
        self.execute("ROLLBACK").await
    }

    fn statements(&mut self) -> &mut Connection {
        self
    }

    async fn close(self: Box<Self>) {
        // The server ends what a lost connection left.
        let _ = self.connection.close().await;
    }
}

fn bound(text: &Text, values: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
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

fn rows_of(rows: &[PgRow]) -> Result<Vec<Row>> {
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
