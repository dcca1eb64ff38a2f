//! SQLite behind the ports of [`signet_store_sql::engine`].

use std::time::Duration;

use async_trait::async_trait;
use signet_jose::clock::Timestamp;
use signet_store_sql::engine::{
    Connection, Dialect, Engine, Lock, Result, Row, Snapshot, Statements, Text, Value, WriteConnection,
};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};

use super::SqliteOptions;
use super::fault::failure_of;
use super::open::{self, FileIdentity};
use super::session::{Session, bound, rows_of};
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
    /// When it was opened: migrations are noted with this moment.
    opened_at: Timestamp,
}

impl SqliteEngine {
    /// Finds the file, or makes it where that is asked for.
    /// Errors: why there is none.
    pub(super) fn find(options: SqliteOptions, opened_at: Timestamp) -> Result<Self> {
        let identity = open::find_file(&options)?;
        let connect = open::connect_options(&options);
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(READ_DEADLINE)
            .test_before_acquire(false)
            .connect_lazy_with(connect.clone().pragma("query_only", "ON"));
        Ok(Self { options, connect, identity, readers, opened_at })
    }
}

#[async_trait]
impl Engine for SqliteEngine {
    async fn connect(&self) -> Result<Box<dyn WriteConnection>> {
        let connection = open::connect_writer(&self.options, &self.connect, self.opened_at).await?;
        let log = LogKeeper::start(self.connect.clone());
        Ok(Box::new(Writing { session: Session { connection }, beginning: None, identity: self.identity.clone(), log }))
    }

    async fn read(&self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        let rows = bound(text, values).fetch_all(&self.readers).await.map_err(|error| failure_of(&error))?;
        rows_of(&rows)
    }

    /// What it reads stays in the log until it ends: the log grows meanwhile.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.identity.check()?;
        let options = self.connect.clone().pragma("query_only", "ON");
        let connection = SqliteConnection::connect_with(&options).await.map_err(|error| failure_of(&error))?;
        let mut session = Session { connection };
        session.execute("BEGIN").await?;
        // The transaction begins by what it reads first.
        session.rows(&"SELECT COUNT(*) FROM sqlite_master".into(), vec![]).await?;
        Ok(Box::new(session))
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
    session: Session,
    /// What a transaction begins with.
    beginning: Option<(Text, Text)>,
    identity: FileIdentity,
    log: LogKeeper,
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
    /// In one turn of the connection's thread.
    async fn begin(&mut self, first: &Text, values: Vec<Value>) -> Result<Option<Row>> {
        self.identity.check()?;
        let beginning = match self.beginning.take() {
            Some((of, beginning)) if of == *first => beginning,
            _ => Text::Made(format!("BEGIN IMMEDIATE; {}", first.of(Dialect::Sqlite).as_str()).into()),
        };
        let row = self.rows(&beginning, values).await?.pop();
        self.beginning = Some((first.clone(), beginning));
        Ok(row)
    }

    /// The one writer has locked all there is.
    async fn lock(&mut self, _: &[Lock]) -> Result<Vec<i64>> {
        Ok(Vec::new())
    }

    async fn wait_for(&mut self, _: &[Lock], _: Duration) -> Result<()> {
        Ok(())
    }

    async fn alone(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>> {
        self.identity.check()?;
        let rows = self.rows(text, values).await?;
        self.log.committed();
        Ok(rows)
    }

    async fn commit(&mut self) -> Result<()> {
        self.session.execute("COMMIT").await?;
        self.log.committed();
        Ok(())
    }

    async fn rollback(&mut self) -> Result<()> {
        self.session.execute("ROLLBACK").await
    }

    fn statements(&mut self) -> &mut Connection {
        self
    }

    async fn close(self: Box<Self>) {
        // Before the writer's, so that its connection is the last one, which folds the log back.
        self.log.close().await;
        // Nothing is lost where this fails: the log is replayed when the file is opened again.
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
