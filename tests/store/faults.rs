//! A disk that fails, a lock that is held, a queue that is full: nothing is told, nothing is kept, and all comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_core::audit::Event;
use signet_core::keys::HsmName;
use signet_core::secret::SecretHash;
use signet_store::{
    AuditLog as _, AuditOnOutcome, Grants as _, Membership as _, RotateOutcome, StoreError, StoreFailure,
};
use signet_store_sql::SqlStore;
use signet_store_sqlite::SqliteOptions;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::support::store::{Place, after, client, draft, grant, granted, now, raw, tenant, user, verify};
use crate::support::store::{keyed, node};

fn is_unavailable(error: &StoreError) -> bool {
    matches!(error.failure, StoreFailure::Unavailable(_))
}

async fn rotate(store: &SqlStore) -> Result<RotateOutcome, StoreError> {
    let told = AuditOnOutcome::applied(draft(Event::TokenRefreshed));
    let (spent, successor) = (SecretHash::of("r0"), SecretHash::of("r1"));
    let family = grant("g", &user("alice"), &client("app"));
    store.rotate(&family, &spent, &successor, Some(&HsmName::new("primary")), now(), told).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_process_is_waited_for_and_then_denied() {
    let place = Place::new();
    let options = SqliteOptions { busy_timeout: Duration::from_millis(300), ..place.options() };
    let store = keyed(signet_store_sqlite::open(options, node(), place.clock.clone()).await.unwrap());
    granted(store.as_ref()).await;
    let mut other = raw(&place.database()).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let started = Instant::now();
    let denied = rotate(&store).await.unwrap_err();
    assert!(is_unavailable(&denied) && denied.to_string().contains("locked"), "{denied}");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(store.refresh_token(&tenant(), &SecretHash::of("r0")).await.unwrap().is_some(), "reading goes on");
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(rotate(&store).await.unwrap(), RotateOutcome::Rotated);
    store.close().await;
}

/// Every token needs the row of the chain's end: a probe that wrote it would stand in their way, and they in its.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_writes_and_leaves_the_nodes_row_alone() {
    let place = Place::new();
    let store = place.open().await;
    let mut guard = raw(&place.database()).await;
    let refuses = |table: &str| {
        format!("CREATE TRIGGER no_{table} BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END")
    };
    guard.execute(AssertSqlSafe(refuses("nodes"))).await.unwrap();
    store.probe(now()).await.unwrap();
    assert!(store.append(vec![draft(Event::SignIn)]).await.is_err(), "the trigger holds");
    guard.execute(AssertSqlSafe(refuses("probe"))).await.unwrap();
    assert!(store.probe(after(1)).await.is_err(), "it is a write");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_the_rest_is_done() {
    let place = Place::new();
    let store = place.open().await;
    let mut other = raw(&place.database()).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let started = Instant::now();
    let waiting: Vec<_> = (0..6000)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.append(vec![draft(Event::SignIn)]).await })
        })
        .collect();
    while waiting.iter().filter(|task| task.is_finished()).count() < 1000 {
        assert!(started.elapsed() < Duration::from_secs(3), "what does not fit is refused at once");
        tokio::task::yield_now().await;
    }
    other.execute("ROLLBACK").await.unwrap();
    let mut done = 0;
    for task in waiting {
        match task.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert!(error.to_string().contains("too many writes wait"), "{error}"),
        }
    }
    assert!((4096..=5000).contains(&done), "{done}");
    assert_eq!(verify(store.as_ref()).await.unwrap().head.sequence, done);
    store.close().await;
}

/// A job that fails takes none of the others of its group along.
#[tokio::test(flavor = "multi_thread")]
async fn one_failing_job_of_a_group_fails_alone() {
    let place = Place::new();
    let store = place.open().await;
    let (alice, app, _) = granted(store.as_ref()).await;
    let mut other = raw(&place.database()).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let adding: Vec<_> = (0..20)
        .map(|index| {
            let (store, alice, app) = (Arc::clone(&store), alice.clone(), app.clone());
            tokio::spawn(async move {
                // Every fourth asks for a token that is there already, which no rule of the contract foresees.
                let token = if index % 4 == 0 { "r0".to_owned() } else { format!("token-{index}") };
                let grant = grant(&format!("grant-{index}"), &alice, &app);
                store.add_grant(&grant, &SecretHash::of(&token), 0, vec![draft(Event::TokenIssued)]).await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    other.execute("ROLLBACK").await.unwrap();
    for (index, task) in adding.into_iter().enumerate() {
        let added = task.await.unwrap();
        assert_eq!(added.is_err(), index % 4 == 0, "{added:?}");
        let grant = store.grant(&tenant(), &signet_store::GrantId::new(format!("grant-{index}"))).await.unwrap();
        assert_eq!(grant.is_some(), index % 4 != 0);
    }
    assert_eq!(verify(store.as_ref()).await.unwrap().head.sequence, 15);
    store.close().await;
}
