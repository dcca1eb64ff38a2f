//! The store in an SQLite file: one connection writes, in grouped transactions; a small pool reads.
//!
//! Most statements are plain SQL that PostgreSQL takes as well. What is SQLite's own: how the file is opened and its log
//! moved (`open`, `wal`); `BEGIN IMMEDIATE`, under which a transaction writes alone, so that what it reads still holds
//! when it writes (`chain`, and every conditional write counts on it); and JSON in columns, where records are counted by
//! key or serial numbers looked up (`json_extract`, `json_each`, `instr`).
//!
//! It decides how many writers' jobs share one commit, and how what has expired goes. It never decides who may do what, never
//! opens what is sealed, and never answers before a commit is durable.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqlitePoolOptions, SqliteRow};
use tokio::time::Instant;

use self::fault::Fault;
use self::writer::Writer;
use signet_core::audit::Head;
use signet_jose::clock::{Clock, Timestamp};
use signet_store::anchor::Anchor;
use signet_store::{StoreError, StoreFailure};

mod audit_log;
mod ceremonies;
mod chain;
mod clients;
mod factor_life;
mod factors;
mod fault;
mod grants;
mod key_ring;
mod keys;
mod leases;
mod membership;
mod open;
mod otp_validation;
mod outcome;
mod prune;
mod recovery_codes;
mod revocations;
mod row;
mod seals;
mod secrets_at_rest;
mod sessions;
mod sign_in;
mod stock;
mod texts;
mod throttles;
mod users;
mod wal;
mod writer;

/// How long a reader waits for a connection.
const READ_DEADLINE: Duration = Duration::from_secs(3);

/// How to open the store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The database file.
    pub path: PathBuf,
    /// Whether to make it where there is none. Its schema is brought up to date either way.
    pub create: bool,
    /// How many connections read at once; at least 1.
    pub readers: u32,
    /// How long to wait for another process's lock.
    pub busy_timeout: Duration,
    /// The file to which checkpoints are appended too, outside of the database.
    pub anchor: Option<PathBuf>,
}

/// The store in an SQLite file. Implements every contract of [`signet_store`].
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
    anchor: Option<Anchor>,
    /// How late it can be.
    latest: LatestTime,
    /// Whether there is room for tries at accounts that are not known yet.
    room: throttles::Room,
}

impl SqliteStore {
    /// Opens the store and brings its schema up to date. The file is made with mode 0600.
    /// Errors: [`StoreFailure::Unavailable`] where there is no file or it can't be used; [`StoreFailure::Refused`]
    /// where it is not a database of Signet's, is empty, or is of a newer version; [`StoreFailure::RolledBack`] where
    /// the anchor holds a checkpoint beyond the end of the audit chain.
    pub async fn open(options: SqliteOptions, clock: Arc<dyn Clock>) -> Result<Arc<Self>, StoreError> {
        Self::try_open(options, clock).await.map(Arc::new).map_err(|fault| fault.during("open"))
    }

    async fn try_open(options: SqliteOptions, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        let identity = open::find_file(&options)?;
        let anchor = options.anchor.clone().map(Anchor::new);
        // Before the head: another process may write on between the two, and the chain never ends before its anchor.
        let anchored = anchor.as_ref().map(Anchor::furthest).transpose()?.flatten();
        let connect = open::connect_options(&options);
        let mut connection = open::connect_writer(&options, &connect).await?;
        let tail = chain::tail(&mut connection).await?;
        let (head, latest) = (tail.head, LatestTime::at_opening(tail, clock.now()));
        if anchored.is_some_and(|checkpoint| checkpoint.sequence > head.sequence) {
            return Err(StoreFailure::RolledBack.into());
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(READ_DEADLINE)
            .test_before_acquire(false)
            .connect_lazy_with(connect.clone().pragma("query_only", "ON"));
        let writer = Writer::start(connection, connect, identity, head, clock);
        Ok(Self { writer, readers, anchor, latest, room: throttles::Room::default() })
    }

    /// Lets the writes that wait finish, then closes every connection. Later calls answer that it is closed.
    pub async fn close(&self) {
        // The readers go first, so that the last connection to close is the writer's, which folds the log back.
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Runs a query, and reads its rows together.
    async fn read<T>(
        &self,
        operation: &'static str,
        query: Query<'_, Sqlite, SqliteArguments>,
        of: impl FnOnce(&[SqliteRow]) -> Result<T, Fault> + Send,
    ) -> Result<T, StoreError> {
        let rows = query.fetch_all(&self.readers).await.map_err(Fault::from);
        rows.and_then(|rows| of(&rows)).map_err(|fault| fault.during(operation))
    }

    /// Runs a query, and reads each row by itself.
    async fn read_each<T>(
        &self,
        operation: &'static str,
        query: Query<'_, Sqlite, SqliteArguments>,
        of: impl Fn(&SqliteRow) -> Result<T, Fault> + Send,
    ) -> Result<Vec<T>, StoreError> {
        self.read(operation, query, |rows| rows.iter().map(of).collect()).await
    }

    /// Runs a query that finds one row or none.
    async fn read_one<T>(
        &self,
        operation: &'static str,
        query: Query<'_, Sqlite, SqliteArguments>,
        of: impl FnOnce(&SqliteRow) -> Result<T, Fault> + Send,
    ) -> Result<Option<T>, StoreError> {
        self.read(operation, query, |rows| rows.first().map(of).transpose()).await
    }

    /// Runs a query that always finds a row, in a database that is whole.
    async fn read_row<T>(
        &self,
        operation: &'static str,
        query: Query<'_, Sqlite, SqliteArguments>,
        of: impl FnOnce(&SqliteRow) -> Result<T, Fault> + Send,
    ) -> Result<T, StoreError> {
        let found = self.read_one(operation, query, of).await?;
        found.ok_or_else(|| Fault::corrupt("deployment").during(operation))
    }
}

/// How far the clock may be ahead of the audit chain's last record at opening.
const BELIEVED_AHEAD: Duration = Duration::from_hours(24);

/// The latest that it can be, whatever the clock says: from what was written last, and the time that passes meanwhile.
#[derive(Debug)]
struct LatestTime {
    at_opening: Timestamp,
    opened: Instant,
}

impl LatestTime {
    fn at_opening(tail: chain::Tail, clock: Timestamp) -> Self {
        let believed = if tail.head == Head::default() { clock } else { clock.min(tail.at.plus(BELIEVED_AHEAD)) };
        Self { at_opening: believed, opened: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.at_opening.plus(self.opened.elapsed())
    }
}

/// Every SQL text that the adapter runs on its tables, for the test that prepares each.
pub fn sql_texts() -> Vec<String> {
    [
        audit_log::TEXTS,
        ceremonies::TEXTS,
        chain::TEXTS,
        clients::TEXTS,
        factor_life::TEXTS,
        factors::TEXTS,
        grants::TEXTS,
        key_ring::TEXTS,
        keys::TEXTS,
        leases::TEXTS,
        membership::TEXTS,
        otp_validation::TEXTS,
        prune::TEXTS,
        revocations::TEXTS,
        recovery_codes::TEXTS,
        seals::TEXTS,
        secrets_at_rest::TEXTS,
        sessions::TEXTS,
        sign_in::TEXTS,
        stock::TEXTS,
        throttles::TEXTS,
        users::TEXTS,
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .chain(chain::INSERTS.iter().map(|insert| insert.alone.to_string()))
    .chain([chain::SET_TAIL.to_string()])
    .collect()
}
