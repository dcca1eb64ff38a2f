//! Opening a file: which are made, which are brought up to date, which are refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signet_core::audit::Event;
use signet_store::{AuditLog as _, StoreFailure};
use signet_store_sql::engine::Dialect;
use signet_store_sql::sql_texts;
use signet_store_sqlite::SqliteOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _, SqliteConnection};

use crate::support::postgres::Database;
use crate::support::store::{OwnChain as _, keyed, node};
use crate::support::store::{Place, draft, raw, verify};

#[tokio::test(flavor = "multi_thread")]
async fn every_sql_text_prepares() {
    let place = Place::new();
    place.open().await.close().await;
    let mut connection = raw(&place.database()).await;
    for text in sql_texts(Dialect::Sqlite) {
        let prepared = connection.prepare(AssertSqlSafe(text.clone()).into_sql_str()).await;
        assert!(prepared.is_ok(), "{text}: {:?}", prepared.err());
    }
    let database = Database::new();
    database.open().await.close().await;
    let mut connection = database.raw().await;
    for text in sql_texts(Dialect::Postgres) {
        let prepared = connection.prepare(AssertSqlSafe(text.clone()).into_sql_str()).await;
        assert!(prepared.is_ok(), "{text}: {:?}", prepared.err());
    }
}

async fn refused(place: &Place, create: bool) -> String {
    let options = SqliteOptions { create, ..place.options() };
    let error = signet_store_sqlite::open(options, node(), place.clock.clone()).await.err().unwrap();
    assert!(matches!(error.failure, StoreFailure::Refused(_) | StoreFailure::Unavailable(_)), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_made_only_where_asked() {
    let place = Place::new();
    assert!(refused(&place, false).await.contains("signet init"));
    assert!(!place.database().exists());
    place.open().await.close().await;
    let options = SqliteOptions { create: false, ..place.options() };
    keyed(signet_store_sqlite::open(options, node(), place.clock.clone()).await.unwrap()).close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_are_refused_and_left_as_they_are() {
    let place = Place::new();
    std::fs::write(place.database(), "not a database, but a text that is long enough to be looked at ".repeat(20))
        .unwrap();
    let error = signet_store_sqlite::open(place.options(), node(), place.clock.clone()).await.err().unwrap();
    assert!(matches!(error.failure, StoreFailure::Corrupt(_)), "{error}");
    assert!(std::fs::read(place.database()).unwrap().starts_with(b"not a database"));

    let place = Place::new();
    std::fs::write(place.database(), "").unwrap();
    assert!(refused(&place, false).await.contains("empty"));

    let place = Place::new();
    let foreign = SqliteConnectOptions::new().filename(place.database()).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&foreign).await.unwrap();
    connection.execute("CREATE TABLE theirs (id INTEGER)").await.unwrap();
    assert!(refused(&place, true).await.contains("not one of Signet's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_can_not_be_used_says_what_to_do() {
    let place = Place::new();
    let options = SqliteOptions { path: place.folder().join("no/such/folder/signet.db"), ..place.options() };
    let error = signet_store_sqlite::open(options, node(), place.clock.clone()).await.err().unwrap();
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_are_the_owners_alone() {
    let place = Place::new();
    let store = place.open().await;
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(place.folder()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
        seen += 1;
    }
    assert_eq!(seen, 3, "the database, its log and the log's index");
    store.close().await;
}

/// Many processes find one new file at once: this process's threads stand for them, because SQLite's locks are
/// between connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_many_that_open_a_new_file_one_makes_the_schema() {
    let place = Arc::new(Place::new());
    let opening: Vec<_> = (0..12)
        .map(|_| {
            let place = Arc::clone(&place);
            tokio::spawn(async move { place.open().await })
        })
        .collect();
    let mut stores = Vec::new();
    for opened in opening {
        stores.push(opened.await.unwrap());
    }
    for store in &stores {
        store.append(vec![draft(Event::ServerStarted)]).await.unwrap();
    }
    assert_eq!(verify(stores[0].as_ref()).await.unwrap().head.sequence, 12);
    for store in stores {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_pages_are_moved_beside_the_writer() {
    let place = Place::new();
    let store = place.open().await;
    let size = || std::fs::metadata(place.database()).unwrap().len();
    let before = size();
    // Far fewer pages than the writer itself would wait for.
    for _ in 0..200 {
        store.append(vec![draft(Event::TokenIssued)]).await.unwrap();
    }
    let moved = async {
        while size() == before {
            tokio::time::sleep(Duration::from_millis(10)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), moved).await.unwrap();
    store.close().await;
    assert!(!place.database().with_extension("db-wal").exists(), "the last connection that closes is the writer's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_says_so_and_leaves_one_file() {
    let place = Place::new();
    let store = place.open().await;
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    store.close().await;
    store.close().await;
    assert!(store.append(vec![]).await.unwrap_err().to_string().contains("closed"));
    assert!(store.head().await.is_err());
    let left = |name: &str| Path::exists(&place.folder().join(name));
    assert!(left("signet.db") && !left("signet.db-wal") && !left("signet.db-shm"));
    assert_eq!(verify(place.open().await.as_ref()).await.unwrap().head.sequence, 1);
}
