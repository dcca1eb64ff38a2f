//! A deployment that moves from an SQLite file to PostgreSQL: all of it, or nobody works on either.

use signet_core::mfa::lockout::Failure;
use std::sync::{Arc, Mutex};

use signet_core::audit::{AuditEvent, Event};
use signet_store::{
    AuditLog as _, AuditOnOutcome, Factors as _, Leases as _, StoreError, StoreFailure, Tries as _, Users as _,
};
use signet_store_sql::SqlStore;
use signet_store_sql::copy::{Moving, Progress, Step};
use signet_store_sql::engine::Engine;
use signet_store_sql::pages::TableSum;
use signet_store_sql::tables::{TABLES, table};
use sqlx::Executor as _;

use crate::support::postgres::Database;
use crate::support::store::{OwnChain as _, node};
use crate::support::store::{Place, draft, granted, now, raw, settling, tenant, totp_factor, verify};

const FROM: &str = "sqlite:///old.db";

/// An SQLite store with rows in more tables than one, and several pages in two.
async fn filled() -> Place {
    let place = Place::new();
    let store = place.open().await;
    let (alice, ..) = granted(store.as_ref()).await;
    store.append(vec![draft(Event::SignIn); 3]).await.unwrap();
    assert!(store.add_factor(&totp_factor("f", &alice), vec![]).await.unwrap());
    store.settle(&settling(Failure::Code), AuditOnOutcome::default()).await.unwrap();
    assert!(store.take_lease("rotation", "somebody", now(), std::time::Duration::from_secs(60)).await.unwrap());
    store.close().await;
    let mut connection = raw(&place.database()).await;
    connection
        .execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1700)
            INSERT INTO revocations SELECT 'default', printf('jti-ü-%d', i * 7919 % 1701), 9999999999999, i, 1, 1, X'00' FROM n;
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
            INSERT INTO piv_nonces SELECT 'default', CAST(printf('%d', i) AS BLOB), i FROM n",
        )
        .await
        .unwrap();
    place
}

async fn to_copy(place: &Place) -> Arc<SqlStore> {
    signet_store_sqlite::open_to_copy(place.options(), node(), place.clock.clone()).await.unwrap()
}

async fn target(database: &Database) -> Arc<dyn Engine> {
    signet_store_postgres::prepare(database.options(), now()).await.unwrap()
}

fn moving(database: &Database) -> Moving {
    let record = AuditEvent { detail: Some("closed".to_owned()), ..draft(Event::StoreClosed) };
    Moving { fresh_id: "move-1".to_owned(), from: FROM.to_owned(), to: database.url(), record, at: now() }
}

async fn copy(place: &Place, database: &Database) -> Result<Vec<TableSum>, StoreError> {
    let store = to_copy(place).await;
    let copied = store.copy_to(target(database).await.as_ref(), &moving(database), &|_| ()).await;
    store.close().await;
    copied
}

fn refusal<T>(outcome: Result<T, StoreError>) -> String {
    match outcome.err().unwrap() {
        StoreError { failure: StoreFailure::Refused(text), .. } => text,
        other => panic!("{other}"),
    }
}

async fn opened(place: &Place) -> Result<Arc<SqlStore>, StoreError> {
    signet_store_sqlite::open(place.options(), node(), place.clock.clone()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_arrives_and_the_old_store_is_closed_for_good() {
    let (place, database) = (filled().await, Database::new());
    let late = place.open().await;
    let told = Mutex::new(Vec::new());
    let store = to_copy(&place).await;
    let tell =
        |progress: Progress| told.lock().unwrap().push((progress.step, progress.table, progress.done, progress.of));
    let sums = store.copy_to(target(&database).await.as_ref(), &moving(&database), &tell).await.unwrap();
    store.close().await;
    let copied: Vec<_> = TABLES.iter().filter(|table| table.is_copied()).map(|table| table.name).collect();
    assert_eq!(sums.iter().map(|sum| sum.table).collect::<Vec<_>>(), copied);
    for sum in &sums {
        let rows = database.sql(&format!("SELECT count(*) FROM {}", sum.table));
        assert_eq!(rows, sum.rows.to_string(), "{}", sum.table);
    }
    let of = |name: &str| sums.iter().find(|sum| sum.table == name).unwrap().rows;
    assert_eq!((of("revocations"), of("users"), of("seals"), of("tries")), (1700, 1, 4, 2));
    assert_eq!(database.sql("SELECT count(*) FROM leases"), "0", "what lasts for seconds stays behind");
    let told = told.into_inner().unwrap();
    assert!(
        told.contains(&(Step::Copying, "revocations", 500, 1700))
            && told.contains(&(Step::Comparing, "revocations", 1700, 1700))
    );

    let moved = database.open().await;
    let records = verify(moved.as_ref()).await.unwrap().head.sequence;
    let last = moved.own_records(records, 1).await.unwrap();
    assert!(last[0].text.contains("store.closed"), "{}", last[0].text);
    assert_eq!(moved.user_by_name(&tenant(), "alice").await.unwrap().unwrap().name, "alice");
    moved.append(vec![draft(Event::ServerStarted)]).await.unwrap();
    moved.close().await;

    let closed = refusal(opened(&place).await);
    assert!(closed.contains(&format!("the store moved to {}", database.url())), "{closed}");
    let written = late.append(vec![draft(Event::TokenIssued)]).await.unwrap_err().to_string();
    assert!(written.contains("this store is closed"), "{written}");
    late.close().await;
    assert!(refusal(copy(&place, &database).await).contains("already"));
}

/// PostgreSQL fails in the middle of a table.
async fn interrupted(place: &Place, database: &Database) {
    target(database).await;
    database.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no more'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON revocations FOR EACH ROW WHEN (NEW.jti = 'jti-ü-700') EXECUTE FUNCTION fail()",
    );
    let failed = copy(place, database).await.err().unwrap().to_string();
    assert!(failed.contains("no more"), "{failed}");
    database.sql("DROP TRIGGER fail ON revocations");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_keeps_both_stores_closed_and_goes_on_where_it_was() {
    let (place, database) = (filled().await, Database::new());
    interrupted(&place, &database).await;
    let arrived = "SELECT count(*) FROM revocations";
    assert_eq!(database.sql(arrived), "1000");
    let source = refusal(opened(&place).await);
    assert!(source.contains("signet store copy --to") && source.contains("--give-up"), "{source}");
    let filling = refusal(signet_store_postgres::open(database.options(), node(), database.clock.clone()).await);
    assert!(filling.contains(FROM) && filling.contains("not complete"), "{filling}");
    let elsewhere = Database::new();
    assert!(refusal(copy(&place, &elsewhere).await).contains(&database.url()));
    copy(&place, &database).await.unwrap();
    assert_eq!(database.sql(arrived), "1700");
    assert_eq!(database.sql("SELECT count(*) FROM audit_records WHERE text LIKE '%store.closed%'"), "1");
    database.open().await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_differs_is_found_and_the_old_store_does_not_end() {
    for change in [
        "UPDATE users SET roles = '[\"admin\"]'",
        "DELETE FROM revocations WHERE jti = 'jti-ü-1'",
        "INSERT INTO revocations VALUES ('default', 'jti-ü-0-more', 1, 1, 1, 1, '')",
        "INSERT INTO clients VALUES ('default', 'theirs', 'theirs', decode(repeat('00', 32), 'hex'), '[]', '[]', '[]', '[]', '[]', 1, 1, 1, 257,
            decode(repeat('00', 32), 'hex'))",
    ] {
        let (place, database) = (filled().await, Database::new());
        interrupted(&place, &database).await;
        database.sql(change);
        let text = copy(&place, &database).await.err().unwrap().to_string();
        assert!(text.contains("the stores differ in the table") || text.contains("duplicate"), "{change}: {text}");
        assert!(refusal(opened(&place).await).contains("--give-up"));
        assert!(signet_store_postgres::open(database.options(), node(), database.clock.clone()).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_given_up_leaves_the_old_store_as_it_was() {
    let (place, database) = (filled().await, Database::new());
    interrupted(&place, &database).await;
    let store = to_copy(&place).await;
    let given_up =
        store.give_up_copy(|to| AuditEvent { detail: Some(to.to_owned()), ..draft(Event::StoreReopened) }).await;
    assert_eq!(given_up.unwrap(), Some(database.url()));
    assert_eq!(store.give_up_copy(|_| draft(Event::StoreReopened)).await.unwrap(), None);
    store.close().await;
    let store = opened(&place).await.unwrap();
    store.append(vec![draft(Event::ServerStarted)]).await.unwrap();
    verify(store.as_ref()).await.unwrap();
    store.close().await;
    assert!(refusal(copy(&place, &database).await).contains("make it anew"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_empty_database_is_filled() {
    let (place, database) = (filled().await, Database::new());
    database.open().await.close().await;
    database.sql("INSERT INTO revocations VALUES ('default', 'theirs', 1, 1, 1, 1, '')");
    assert!(refusal(copy(&place, &database).await).contains("is not empty (revocations has rows)"));
    opened(&place).await.unwrap().close().await;
    assert!(table("revocations").is_some_and(|table| table.is_copied()));
}
