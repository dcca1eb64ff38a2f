//! A PostgreSQL server of this test process's own, and databases in it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use signet_store_postgres::PostgresOptions;
use signet_store_sql::SqlStore;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::process::feed;
use super::store::{ManualClock, NOW};
use crate::support::store::{keyed, node};

/// The variable that has deployments of the tests keep their store in PostgreSQL.
const WANTED: &str = "SIGNET_TEST_STORE";

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Whether deployments keep their store in PostgreSQL: `SIGNET_TEST_STORE=postgres`.
pub(crate) fn is_wanted() -> bool {
    std::env::var(WANTED).is_ok_and(|engine| engine == "postgres")
}

/// A server; it stops at once when its standard input is closed, which the end of this process does.
pub(crate) struct Server {
    pub(crate) port: u16,
    process: Child,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::run(None)
    }

    /// A standby that follows this one.
    pub(crate) fn standby(&self) -> Self {
        Self::run(Some(self.port))
    }

    fn run(primary: Option<u16>) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/postgres.sh");
        let mut command = Command::new("sh");
        command.arg(script).arg(&folder).arg(port.to_string()).args(primary.map(|port| port.to_string()));
        command.stdin(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (started, log) = (Instant::now(), || std::fs::read_to_string(folder.join("log")).unwrap_or_default());
        let is_ready = || {
            let mut asked = Command::new("pg_isready");
            asked.args(["-q", "-h", "127.0.0.1", "-p"]).arg(port.to_string()).status().unwrap().success()
        };
        while !is_ready() {
            assert!(process.try_wait().unwrap().is_none(), "PostgreSQL did not start: {}", log());
            assert!(started.elapsed() < Duration::from_secs(60), "PostgreSQL is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { port, process }
    }

    /// What a client that is not ours answers to statements.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut command = Command::new("psql");
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "signet", "-d", database, "-c", sql]);
        command.arg("-p").arg(self.port.to_string());
        feed(command, "").ok().stdout.trim().to_owned()
    }

    /// Ends it as a machine that fails.
    pub(crate) fn fail(mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// A database of its own.
#[derive(Debug)]
pub(crate) struct Database {
    name: String,
    pub(crate) clock: Arc<ManualClock>,
}

impl Database {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::made("")
    }

    /// A copy of another one, to which nobody may be connected.
    pub(crate) fn copy_of(template: &Self) -> Self {
        Self::made(&format!(" TEMPLATE {}", template.name))
    }

    fn made(how: &str) -> Self {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        SERVER.sql("postgres", &format!("CREATE DATABASE {name}{how}"));
        Self { name, clock: ManualClock::at(NOW) }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://signet@127.0.0.1:{}/{}", SERVER.port, self.name)
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        let mut options = PostgresOptions::new(&self.url(), None, None).unwrap();
        options.create = true;
        options
    }

    pub(crate) async fn open(&self) -> Arc<SqlStore> {
        keyed(signet_store_postgres::open(self.options(), node(), self.clock.clone()).await.unwrap())
    }

    /// A connection of somebody else's to the database.
    pub(crate) async fn raw(&self) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(SERVER.port).username("signet");
        PgConnection::connect_with(&options.database(&self.name)).await.unwrap()
    }

    /// What the database answers, by a program that is not ours.
    pub(crate) fn sql(&self, sql: &str) -> String {
        SERVER.sql(&self.name, sql)
    }
}
