//! Opening: the file, its identity, and the schema.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::time::Instant;

use super::SqliteOptions;
use super::fault::{failure_of, is_busy};
use super::session::Session;
use signet_jose::clock::Timestamp;
use signet_store::StoreFailure;
use signet_store_sql::engine::{Dialect, Result};
use signet_store_sql::schema::{self, Migration};

/// Marks the file as Signet's (`PRAGMA application_id`): "Sgnt".
const APPLICATION_ID: i64 = 0x5367_6e74;
/// After how many pages in the log SQLite moves them to the database: seldom enough that a busy server is not held up
/// several times a second.
const LOG_PAGES: &str = "4000";
/// How large the log may stay after a checkpoint of SQLite's.
const LOG_LIMIT: &str = "67108864";

/// Which file is open: a file that takes its path's place later is another one.
#[derive(Debug, Clone)]
pub(super) struct FileIdentity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl FileIdentity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }

    /// Refuses where the path leads to another file by now: what is written to the open one would be lost.
    pub(super) fn check(&self) -> Result<(), StoreFailure> {
        match Self::of(&self.path) {
            Ok(now) if (now.device, now.inode) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(StoreFailure::RolledBack),
            Err(error) => Err(file_failure(&self.path, &error)),
        }
    }
}

/// Makes the file with mode 0600 where that is asked for; SQLite gives its log files the same mode.
pub(super) fn find_file(options: &SqliteOptions) -> Result<FileIdentity> {
    if options.create {
        make_file(&options.path).map_err(|error| file_failure(&options.path, &error))?;
    }
    FileIdentity::of(&options.path).map_err(|error| file_failure(&options.path, &error))
}

fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path) {
        // The file's name must last as long as what will be written to it.
        Ok(_) => signet_state_file::sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn file_failure(path: &Path, error: &io::Error) -> StoreFailure {
    let path = path.display();
    StoreFailure::Unavailable(match error.kind() {
        io::ErrorKind::NotFound => format!("there is no database {path}: run `signet init`, or check the path"),
        _ => format!("the database {path}: {error}"),
    })
}

/// How every connection is made: full durability, enforced references, a bounded wait for locks.
pub(super) fn connect_options(options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&options.path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .pragma("journal_size_limit", LOG_LIMIT)
        .pragma("wal_autocheckpoint", LOG_PAGES)
}

/// A failure to open: SQLite's, or ours.
enum Unopened {
    Sql(sqlx::Error),
    Failure(StoreFailure),
}

impl From<sqlx::Error> for Unopened {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreFailure> for Unopened {
    fn from(failure: StoreFailure) -> Self {
        Self::Failure(failure)
    }
}

/// Connects to write, with the schema as this program needs it.
pub(super) async fn connect_writer(
    options: &SqliteOptions,
    connect: &SqliteConnectOptions,
    at: Timestamp,
) -> Result<SqliteConnection> {
    Ok(connect_and_migrate(options, connect, at).await?.0)
}

/// Connects to write, brings the schema up to date, and says by which migrations. Of two processes that open a new file at
/// once, one makes the schema and the other waits for it.
pub(super) async fn connect_and_migrate(
    options: &SqliteOptions,
    connect: &SqliteConnectOptions,
    at: Timestamp,
) -> Result<(SqliteConnection, Vec<&'static Migration>)> {
    let started = Instant::now();
    loop {
        match connect_once(options, connect, at).await {
            Ok(connected) => return Ok(connected),
            // SQLite does not wait by itself where two connections turn a new file to its write-ahead log at once.
            Err(Unopened::Sql(error)) if is_busy(&error) && started.elapsed() < options.busy_timeout => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(Unopened::Sql(error)) => return Err(failure_of(&error)),
            Err(Unopened::Failure(failure)) => return Err(failure),
        }
    }
}

async fn connect_once(
    options: &SqliteOptions,
    connect: &SqliteConnectOptions,
    at: Timestamp,
) -> Result<(SqliteConnection, Vec<&'static Migration>), Unopened> {
    let mut connection = SqliteConnection::connect_with(connect).await?;
    connection.execute("BEGIN IMMEDIATE").await?;
    let mut session = Session { connection };
    match migrate(&mut session, options.create, at).await {
        Ok(done) => {
            session.connection.execute("COMMIT").await?;
            Ok((session.connection, done))
        }
        Err(unopened) => {
            // The connection is dropped on an error, and the transaction with it.
            let _ = session.connection.execute("ROLLBACK").await;
            Err(unopened)
        }
    }
}

async fn migrate(session: &mut Session, create: bool, at: Timestamp) -> Result<Vec<&'static Migration>, Unopened> {
    let application = number(session, "PRAGMA application_id").await?;
    let objects = number(session, "SELECT COUNT(*) FROM sqlite_master").await?;
    let is_new = application == 0 && objects == 0;
    if !is_new && application != APPLICATION_ID {
        return Err(refused("the file is an SQLite database, but not one of Signet's"));
    }
    if is_new && !create {
        return Err(refused("the database is empty: run `signet init`"));
    }
    let done = schema::migrate(session, Dialect::Sqlite, at).await?;
    if is_new {
        let mark = format!("PRAGMA application_id = {APPLICATION_ID}");
        session.connection.execute(sqlx::raw_sql(AssertSqlSafe(mark))).await?;
    }
    Ok(done)
}

async fn number(session: &mut Session, text: &'static str) -> Result<i64, Unopened> {
    Ok(session.connection.fetch_one(text).await?.try_get(0)?)
}

fn refused(text: &str) -> Unopened {
    Unopened::Failure(StoreFailure::Refused(text.to_owned()))
}
