//! The deployment's secret is renewed while two nodes write: nothing that they do fails or is lost for it, each row is of the new
//! generation at the end, and what is of the old one grants nothing.

use signet_core::mfa::Spending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use signet_core::audit::NodeId;
use signet_core::row_keys::RowKeys;
use signet_core::secret::{SecretBytes, SecretHash};
use signet_store::{
    AuditOnOutcome, ClientId, Clients as _, FactorId, Factors as _, GrantId, Grants as _, NodeHolder, NodeLease,
    Nodes as _, Renewals as _, RotateOutcome, SecretsAtRest as _, StoreError, StoreFailure, UserId, Users as _,
};
use signet_store_sql::SqlStore;

use super::forged_rows::{Written, filled, on_every_engine};
use crate::support::store::{client, grant, now, seals, spends, tenant, user, yubico_factor};

on_every_engine!(
    two_nodes_write_while_every_row_is_renewed,
    whoever_has_not_opened_the_new_one_is_waited_for,
    a_process_that_ends_in_the_middle_is_taken_over_from,
);

const LASTS: Duration = Duration::from_secs(3600);

fn keys(generation: u8) -> RowKeys {
    // The first one is what the tests' stores are opened with.
    RowKeys::of(generation, &SecretBytes::new(vec![if generation == 1 { 5 } else { generation }; 32]))
}

fn both() -> RowKeys {
    keys(1).and(&keys(2))
}

/// Two nodes that serve, with rows of generation 1, and generation 2 made.
async fn begun(database: &Written) -> [Arc<SqlStore>; 2] {
    let one = database.open().await;
    assert!(one.keep_deployment_secret(1, &seals(1)).await.unwrap());
    filled(&one).await;
    let two = database.open_as(NodeId::new("two")).await;
    for store in [&one, &two] {
        let holder = NodeHolder { process: "p".to_owned(), ended: None, name: "host".to_owned() };
        assert_eq!(store.lease_node(&holder, now(), LASTS).await.unwrap(), NodeLease::Held);
    }
    assert!(!one.begin_renewal(3, &seals(3), now(), vec![]).await.unwrap(), "not the next one");
    assert!(one.begin_renewal(2, &seals(2), now(), vec![]).await.unwrap());
    assert!(!two.begin_renewal(3, &seals(3), now(), vec![]).await.unwrap(), "one is under way");
    [one, two]
}

/// More than a page of a table.
async fn many_users(store: &Arc<SqlStore>) {
    let mut adding = tokio::task::JoinSet::new();
    for number in 0..600 {
        let store = store.clone();
        adding.spawn(async move { store.add_user(&user(&format!("many {number}")), vec![]).await.unwrap() });
    }
    assert!(adding.join_all().await.into_iter().all(|added| added));
}

async fn forged(store: &SqlStore) -> u64 {
    store.check_rows().await.unwrap().iter().map(|table| table.forged).sum()
}

/// What one node does meanwhile: everything that reads a row and writes it where it is as it was.
async fn work(store: Arc<SqlStore>, name: &'static str, (stop, done): (Arc<AtomicBool>, Arc<AtomicU64>)) {
    let (person, app) = (user(name), client("app"));
    assert!(store.add_user(&person, vec![]).await.unwrap());
    let factor = yubico_factor(name, name, &person);
    assert!(store.add_factor(&factor, vec![]).await.unwrap());
    let family = grant(name, &person, &app);
    assert!(store.add_grant(&family, &SecretHash::of(&format!("{name} 0")), 0, vec![]).await.unwrap());
    let mut turn = 0_i64;
    while !stop.load(Ordering::Relaxed) {
        let [spent, next] = [turn, turn + 1].map(|turn| SecretHash::of(&format!("{name} {turn}")));
        turn += 1;
        let told = AuditOnOutcome::default;
        let rotated = store.rotate(&family, &spent, &next, None, now(), told()).await.unwrap();
        assert_eq!(rotated, RotateOutcome::Rotated, "{name} {turn}");
        let is_spent =
            store.spend_proof(&spends(&FactorId::new(name), Spending::YubicoCounter(turn * 100)), told()).await;
        assert!(is_spent.unwrap(), "{name} {turn}");
        let (id, roles) = (UserId::new(format!("user-{name}")), person.roles.clone());
        assert!(store.set_user_roles(&tenant(), &id, &roles, vec![]).await.unwrap(), "{name} {turn}");
        let secret = SecretHash::of(&format!("secret {turn}"));
        assert!(store.set_client_secret(&tenant(), &ClientId::new("client-app"), &secret, vec![]).await.unwrap());
        done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn two_nodes_write_while_every_row_is_renewed(database: Written) {
    let [one, two] = begun(&database).await;
    many_users(&one).await;
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    for store in [&one, &two] {
        store.use_row_keys(both());
        store.say_opened(2).await.unwrap();
    }
    let working = [(&one, "ann"), (&two, "bob")]
        .map(|(store, name)| tokio::spawn(work(store.clone(), name, (stop.clone(), done.clone()))));
    let turns = async |more: u64| {
        let from = done.load(Ordering::Relaxed);
        while done.load(Ordering::Relaxed) < from + more && !working.iter().any(tokio::task::JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    };
    turns(5).await;
    // Both know the new one by now, and nothing is written by it.
    one.use_row_keys(keys(1));
    assert_eq!(forged(&one).await, 0);
    one.use_row_keys(both());
    database.run("CREATE TABLE kept AS SELECT * FROM clients").await;
    one.write_by(2, now()).await.unwrap();
    let mut steps = 0;
    let rows = loop {
        let rows = one.renew_some(2, Duration::from_millis(20)).await.unwrap();
        steps += 1;
        if rows.complete {
            break rows;
        }
    };
    assert!(steps > 2 && rows.rewritten > 600 && rows.refused == 0, "{steps} {rows:?}");
    turns(5).await;
    assert!(one.end_renewal(2, vec![]).await.unwrap());
    assert_eq!(one.deployment_secrets().await.unwrap().into_keys().collect::<Vec<_>>(), [2]);
    turns(5).await;
    for store in [&one, &two] {
        store.use_row_keys(keys(2));
    }
    turns(5).await;
    stop.store(true, Ordering::Relaxed);
    for working in working {
        working.await.unwrap();
    }
    assert_eq!(forged(&two).await, 0);
    // What was good under the old one grants nothing from then on.
    database.run("DELETE FROM clients; INSERT INTO clients SELECT * FROM kept").await;
    for store in [&one, &two] {
        let refused = store.client(&tenant(), &ClientId::new("client-app")).await;
        assert!(matches!(refused, Err(StoreError { failure: StoreFailure::Forged { .. }, .. })), "{refused:?}");
        store.close().await;
    }
    if let Written::Postgres(database) = &database {
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        assert_eq!(database.sql(deadlocks), "0");
    }
}

async fn whoever_has_not_opened_the_new_one_is_waited_for(database: Written) {
    let [one, two] = begun(&database).await;
    let waits = async || one.nodes_without(2, now()).await.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(waits().await, ["one", "two"]);
    one.use_row_keys(both());
    one.say_opened(2).await.unwrap();
    assert_eq!(waits().await, ["two"]);
    assert!(!one.end_renewal(2, vec![]).await.unwrap(), "nothing is written by it yet");
    assert_eq!(one.deployment_secrets().await.unwrap().len(), 2);
    assert!(two.add_user(&user("early"), vec![]).await.unwrap(), "by the one that it has");
    // One that was not waited for writes nothing, rather than what is void.
    one.write_by(2, now()).await.unwrap();
    let refused = two.add_user(&user("late"), vec![]).await.unwrap_err();
    assert!(matches!(refused.failure, StoreFailure::Unavailable(_)), "{refused}");
    two.use_row_keys(both());
    assert!(two.add_user(&user("late"), vec![]).await.unwrap());
    two.say_opened(2).await.unwrap();
    assert_eq!(waits().await, [] as [&str; 0]);
    let renewal = two.renewal().await.unwrap().unwrap();
    assert_eq!((renewal.generation, renewal.writes_since), (2, Some(now())));
    for store in [one, two] {
        store.close().await;
    }
}

/// A planted row gets no new MAC, whoever goes on.
async fn a_process_that_ends_in_the_middle_is_taken_over_from(database: Written) {
    let [one, two] = begun(&database).await;
    many_users(&one).await;
    database.run("UPDATE stock SET serial = '0815'").await;
    for store in [&one, &two] {
        store.use_row_keys(both());
    }
    one.write_by(2, now()).await.unwrap();
    let rows = one.renew_some(2, Duration::ZERO).await.unwrap();
    assert!(!rows.complete, "{rows:?}");
    one.close().await;
    let mut rows = two.renew_some(2, Duration::ZERO).await.unwrap();
    assert!(!rows.complete);
    while !rows.complete {
        rows = two.renew_some(2, Duration::from_secs(1)).await.unwrap();
    }
    assert_eq!(rows.refused, 1);
    assert!(two.end_renewal(2, vec![]).await.unwrap());
    assert!(!two.end_renewal(2, vec![]).await.unwrap(), "once");
    two.use_row_keys(keys(2));
    assert_eq!(forged(&two).await, 1);
    assert!(two.grant(&tenant(), &GrantId::new("g")).await.unwrap().is_some());
    two.close().await;
}
