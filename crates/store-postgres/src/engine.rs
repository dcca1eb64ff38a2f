//! PostgreSQL behind the ports of [`signet_store_sql::engine`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use signet_jose::clock::Timestamp;
use signet_store::StoreFailure;
use signet_store_sql::engine::{
    Connection, Engine, Lock, Result, Row, Snapshot, Statements, Text, Value, WriteConnection,
};
use signet_store_sql::schema;
use sqlx::Connection as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::Mutex;

use super::connect::{check_reader, connect};
use super::fault::failure_of;
use super::migrate;
use super::options::PostgresOptions;
use super::session::{Session, bound, rows_of};

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
    pub(super) async fn check_schema(&self, at: Timestamp) -> Result<()> {
        let (connection, _) = connect(&self.options).await?;
        let mut session = Session { connection };
        if self.options.create {
            migrate::migrate(&mut session, at).await?;
        } else {
            schema::check(&mut session).await?;
        }
        // Nothing is left to say to it.
        let _ = session.connection.close().await;
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
        Ok(Box::new(Writing { session: Session { connection } }))
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

    /// Between two pages of rows there is time for whoever takes them.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let (connection, _) = connect(&self.options).await?;
        let mut session = Session { connection };
        session.execute("SET idle_in_transaction_session_timeout = '10min'").await?;
        session.execute("SET statement_timeout = '1min'").await?;
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // The snapshot is taken by the first statement.
        session.rows(&"SELECT 1".into(), vec![]).await?;
        Ok(Box::new(session))
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

/// Locks each name without waiting, and gives those that another transaction holds.
const TRY_LOCKS: &str = "SELECT name FROM (
        SELECT name, CASE WHEN alone THEN pg_try_advisory_xact_lock(name) ELSE pg_try_advisory_xact_lock_shared(name) END
            AS is_ours
        FROM unnest(CAST(string_to_array($1, ',') AS BIGINT[]), CAST(string_to_array($2, ',') AS BOOLEAN[]))
            AS names (name, alone)) AS tried
    WHERE NOT is_ours";
const SET_PATIENCE: &str = "SELECT set_config('lock_timeout', $1, true)";
/// As the session was told at its beginning.
const FORGET_PATIENCE: &str =
    "SELECT set_config('lock_timeout', reset_val, true) FROM pg_settings WHERE name = 'lock_timeout'";
/// Locks each name, in their order, and waits.
const WAIT_FOR_LOCKS: &str = "SELECT CAST(COUNT(CASE WHEN alone THEN pg_advisory_xact_lock(name)
            ELSE pg_advisory_xact_lock_shared(name) END) AS BIGINT)
    FROM unnest(CAST(string_to_array($1, ',') AS BIGINT[]), CAST(string_to_array($2, ',') AS BOOLEAN[]))
        AS names (name, alone)";

fn names_of(locks: &[Lock]) -> Vec<Value> {
    let joined = |texts: Vec<String>| Value::Text(Some(texts.join(",")));
    vec![
        joined(locks.iter().map(|lock| lock.name.to_string()).collect()),
        joined(locks.iter().map(|lock| lock.alone.to_string()).collect()),
    ]
}

/// The connection that writes.
struct Writing {
    session: Session,
}

#[async_trait]
impl Statements for Writing {
    async fn rows(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        self.session.rows(text, values).await
    }

    async fn change(&mut self, text: &Text, values: Vec<Value>) -> Result<u64> {
        self.session.change(text, values).await
    }
}

#[async_trait]
impl WriteConnection for Writing {
    async fn begin(&mut self, first: &Text, values: Vec<Value>) -> Result<Option<Row>> {
        self.session.execute("BEGIN").await?;
        Ok(self.rows(first, values).await?.pop())
    }

    /// Advisory locks: they are there for what is no row yet as well, and end with the transaction.
    async fn lock(&mut self, locks: &[Lock]) -> Result<Vec<i64>> {
        let rows = self.rows(&TRY_LOCKS.into(), names_of(locks)).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    async fn wait_for(&mut self, locks: &[Lock], patience: Duration) -> Result<()> {
        let patience = Value::Text(Some(patience.as_millis().to_string()));
        self.rows(&SET_PATIENCE.into(), vec![patience]).await?;
        self.rows(&WAIT_FOR_LOCKS.into(), names_of(locks)).await?;
        self.rows(&FORGET_PATIENCE.into(), vec![]).await.map(drop)
    }

    async fn alone(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        self.rows(text, values).await
    }

    async fn commit(&mut self) -> Result<()> {
        self.session.execute("COMMIT").await
    }

    async fn rollback(&mut self) -> Result<()> {
        self.session.execute("ROLLBACK").await
    }

    fn statements(&mut self) -> &mut Connection {
        self
    }

    async fn close(self: Box<Self>) {
        // The server ends what a lost connection left.
        let _ = self.session.connection.close().await;
    }
}

/// In the middle of a transaction that only reads.
#[async_trait]
impl Snapshot for Session {
    fn statements(&mut self) -> &mut Connection {
        self
    }

    async fn end(self: Box<Self>) {
        // Nothing was written: the transaction goes with its connection.
        let _ = self.connection.close().await;
    }
}
