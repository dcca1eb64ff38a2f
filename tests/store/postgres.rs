//! What is PostgreSQL's own: what is refused, and what a failover costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use signet_core::audit::{Event, NodeId};
use signet_jose::clock::{Clock as _, SystemClock};
use signet_store::{
    AuditLog as _, Leases as _, Membership as _, NodeHolder, NodeLease, Nodes as _, Revocations as _, StoreError,
    StoreFailure,
};
use signet_store_postgres::PostgresOptions;
use signet_store_sql::SqlStore;
use signet_store_sql::restore::Standstill;

use crate::support::postgres::{Database, Server};
use crate::support::store::{ManualClock, NOW, draft, now, tenant, verify};
use crate::support::store::{keyed, node};

/// Within this time a store must work again once a host takes writes.
const RECOVERY: Duration = Duration::from_secs(10);

async fn open(url: &str) -> Result<Arc<SqlStore>, StoreError> {
    open_as(url, node().as_str()).await
}

async fn open_as(url: &str, node: &str) -> Result<Arc<SqlStore>, StoreError> {
    let mut options = PostgresOptions::new(url, None, None).unwrap();
    options.create = true;
    signet_store_postgres::open(options, NodeId::new(node), ManualClock::at(NOW)).await.map(keyed)
}

/// Opens a database of a server on which a setting is another one.
async fn refusal(setting: &str) -> String {
    let server = Server::start();
    server.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
    server.sql("postgres", "SELECT pg_reload_conf()");
    let url = format!("postgres://signet@127.0.0.1:{}/postgres", server.port);
    let started = Instant::now();
    loop {
        match open(&url).await {
            // The setting is read in the background.
            Ok(store) if started.elapsed() < Duration::from_secs(10) => store.close().await,
            Ok(_) => panic!("{setting} is taken"),
            Err(StoreError { failure: StoreFailure::Refused(text), .. }) => break text,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_keep_what_it_commits_is_refused_by_name() {
    assert!(refusal("fsync = off").await.contains("fsync"));
    assert!(refusal("full_page_writes = off").await.contains("full_page_writes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_schema_is_refused_with_what_to_do() {
    let database = Database::new();
    let mut options = database.options();
    options.create = false;
    let empty = signet_store_postgres::open(options, node(), database.clock.clone()).await.err().unwrap().to_string();
    assert!(empty.contains("signet store migrate") && empty.contains("signet init"), "{empty}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named_with_why() {
    let error = open("postgres://signet@127.0.0.1:1,127.0.0.1:2/signet").await.err().unwrap().to_string();
    assert!(error.contains("127.0.0.1:1") && error.contains("127.0.0.1:2") && error.contains("refused"), "{error}");
}

/// The node whose database's clock is elsewhere is told so by what it asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_and_a_probe_go_by_the_servers_clock() {
    let database = Database::new();
    let store = database.open().await;
    let at = store.probe(now()).await.unwrap();
    let apart = (at.unix_millis() - SystemClock.now().unix_millis()).abs();
    assert!(apart < 5_000, "{apart} ms");
    let take = async |holder, at| store.take_lease("rotation", holder, at, Duration::from_secs(60)).await.unwrap();
    assert!(take("one", now()).await);
    let year = now().plus(Duration::from_secs(365 * 86_400));
    assert!(!take("two", year).await, "a node whose clock is ahead takes nobody's lease");
    store.close().await;
}

/// The primary fails while records are written; its synchronous standby takes over. What was acknowledged is there, and the
/// store works again within ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_to_a_synchronous_standby_loses_nothing_that_was_acknowledged() {
    let primary = Server::start();
    let standby = primary.standby();
    primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.sql("postgres", "SELECT pg_reload_conf()");
    primary.sql("postgres", "CREATE DATABASE tokens");
    let url = format!("postgres://signet@127.0.0.1:{},127.0.0.1:{}/tokens", primary.port, standby.port);
    let store = open(&url).await.unwrap();
    assert_eq!(store.weakness().await.unwrap(), None);
    let acknowledged = Arc::new(AtomicI64::new(0));
    let writing = {
        let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            while store.append(vec![draft(Event::SignIn)]).await.is_ok() {
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    while acknowledged.load(Ordering::SeqCst) < 100 {
        assert!(!writing.is_finished(), "the primary takes no writes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    primary.fail();
    writing.await.unwrap();
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    assert!(store.append(vec![]).await.is_err(), "nobody takes writes");
    // What the standby would wait for is itself.
    standby.sql("postgres", "SELECT pg_promote()");
    let promoted = Instant::now();
    while store.append(vec![draft(Event::SignIn)]).await.is_err() {
        assert!(promoted.elapsed() < RECOVERY, "the store does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let kept = verify(store.as_ref()).await.unwrap().head.sequence;
    assert!(kept > acknowledged, "{kept} of {acknowledged}");
    store.close().await;
}

/// Why a store does not write, once its connection to the host that failed is made anew.
async fn refusal_after_failover(store: &SqlStore) -> StoreFailure {
    let began = Instant::now();
    loop {
        match store.append(vec![draft(Event::SignIn)]).await.map_err(|error| error.failure) {
            // The connection that broke, or a host that still starts.
            Err(StoreFailure::Unavailable(_)) if began.elapsed() < RECOVERY => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other.unwrap_err(),
        }
    }
}

/// The standby that takes over lacks the last commits: nothing is written on top of what is missing, by no node, until an
/// operator decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_the_last_commits_is_refused_as_an_old_copy() {
    let primary = Server::start();
    let standby = primary.standby();
    primary.sql("postgres", "CREATE DATABASE tokens");
    let url = format!("postgres://signet@127.0.0.1:{},127.0.0.1:{}/tokens", primary.port, standby.port);
    let store = open(&url).await.unwrap();
    let other = open_as(&url, "two").await.unwrap();
    other.append(vec![draft(Event::SignIn)]).await.unwrap();
    assert!(store.weakness().await.unwrap().is_some_and(|text| text.contains("synchronous_standby_names")));
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    let head = "SELECT head_sequence FROM nodes WHERE id = 'one'";
    while standby.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'tokens'") != "1"
        || standby.sql("tokens", "SELECT to_regclass('nodes') IS NOT NULL") != "t"
        || standby.sql("tokens", head) != "1"
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    standby.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
    standby.sql("postgres", "SELECT pg_reload_conf()");
    while standby.sql("postgres", "SELECT count(*) FROM pg_stat_wal_receiver") != "0" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    primary.fail();
    standby.sql("postgres", "SELECT pg_promote()");
    let failure = refusal_after_failover(&store).await;
    assert_eq!(failure, StoreFailure::RolledBack);
    assert_eq!(standby.sql("tokens", head), "1", "nothing was written on top");
    // All that the other node wrote is there, and it stands still as well, for whoever asks it too.
    assert_eq!(refusal_after_failover(&other).await, StoreFailure::RolledBack);
    assert_eq!(other.is_revoked(&tenant(), "jti").await.unwrap_err().failure, StoreFailure::RolledBack);
    store.close().await;
    let options = PostgresOptions::new(&url, None, None).unwrap();
    let deciding = signet_store_postgres::open_to_decide(options, node(), ManualClock::at(NOW)).await.unwrap();
    let deciding = keyed(deciding);
    assert_eq!(deciding.standstill().await.unwrap(), Some(Standstill::Behind));
    deciding.go_on(now(), draft(Event::StoreRestored)).await.unwrap();
    assert_eq!(deciding.standstill().await.unwrap(), Some(Standstill::Restored));
    // A command writes then, and a server does not: it holds its node's lease.
    let serving = open_as(&url, "three").await.unwrap();
    let holder = NodeHolder { process: "a server".to_owned(), ended: None, name: "three".to_owned() };
    assert_eq!(serving.lease_node(&holder, now(), Duration::from_mins(1)).await.unwrap(), NodeLease::Held);
    let refused = serving.append(vec![draft(Event::SignIn)]).await.unwrap_err().failure;
    assert_eq!(refused, StoreFailure::Unanswered);
    assert_eq!(serving.is_revoked(&tenant(), "jti").await.unwrap_err().failure, StoreFailure::RolledBack);
    other.append(vec![draft(Event::SignIn)]).await.unwrap();
    deciding.answer(false, draft(Event::RestoreAnswered)).await.unwrap();
    assert_eq!(deciding.standstill().await.unwrap(), None);
    serving.append(vec![draft(Event::SignIn)]).await.unwrap();
    serving.close().await;
    deciding.close().await;
    other.append(vec![draft(Event::SignIn)]).await.unwrap();
    assert!(!other.is_revoked(&tenant(), "jti").await.unwrap());
    other.close().await;
    let again = open(&url).await.unwrap();
    again.append(vec![draft(Event::SignIn)]).await.unwrap();
    again.close().await;
}
