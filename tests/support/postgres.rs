//! A PostgreSQL server of this test process's own, and a database in it for each test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use signet_store_postgres::PostgresOptions;
use signet_store_sql::SqlStore;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::OnceCell;

use super::store::{ManualClock, NOW};

static SERVER: OnceCell<Server> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server; it stops when its standard input is closed, which the end of this process does.
struct Server {
    port: u16,
    _process: Child,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/postgres.sh");
        let mut command = Command::new("sh");
        command.arg(script).arg(&folder).arg(port.to_string()).stdin(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let started = Instant::now();
        while PgConnection::connect_with(&administrator(port)).await.is_err() {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "PostgreSQL did not start: {}", log_in(&folder));
            assert!(started.elapsed() < Duration::from_secs(60), "PostgreSQL is not ready: {}", log_in(&folder));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { port, _process: process }
    }
}

fn log_in(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn administrator(port: u16) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("signet").database("postgres")
}

/// A database of a test's own.
pub(crate) struct Database {
    port: u16,
    name: String,
    pub(crate) clock: Arc<ManualClock>,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let port = SERVER.get_or_init(Server::start).await.port;
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect_with(&administrator(port)).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        connection.close().await.unwrap();
        Self { port, name, clock: ManualClock::at(NOW) }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://signet@127.0.0.1:{}/{}", self.port, self.name)
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        let mut options = PostgresOptions::new(&self.url(), None, None).unwrap();
        options.create = true;
        options
    }

    pub(crate) async fn open(&self) -> Arc<SqlStore> {
        signet_store_postgres::open(self.options(), self.clock.clone()).await.unwrap()
    }

    /// A connection of somebody else's to the database.
    pub(crate) async fn raw(&self) -> PgConnection {
        PgConnection::connect_with(&administrator(self.port).database(&self.name)).await.unwrap()
    }
}
