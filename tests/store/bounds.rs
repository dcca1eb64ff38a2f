//! Made-up names and tokens do not make the database grow without end.

use signet_store::{StoreFailure, Throttles as _, Users as _};
use sqlx::{Executor as _, Row as _};

use signet_core::mfa::lockout::Counter;

use crate::support::store::{NOW, Place, after, counter, now, raw, tenant};

/// As many accounts with so many tries as there is room for, and some more; the last to be free is the newest.
async fn fill(place: &Place, tries: u32) -> sqlx::SqliteConnection {
    let mut connection = raw(&place.database()).await;
    let many = "INSERT INTO throttles (tenant, account, tries, since, free_at, word)
        WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100049)
        SELECT 'default', randomblob(32), ?1, 0, 1800000000001 + n, '' FROM numbers";
    sqlx::query(many).bind(i64::from(tries)).execute(&mut connection).await.unwrap();
    connection
}

async fn accounts(connection: &mut sqlx::SqliteConnection) -> i64 {
    connection.fetch_one("SELECT COUNT(*) AS rows FROM throttles").await.unwrap().get("rows")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_throttled_accounts_those_with_the_fewest_tries_go() {
    let place = Place::new();
    let store = place.open().await;
    let count = async |account: u8| store.count_try(&tenant(), &counter(account), now(), 3, 600).await.unwrap();
    for _ in 0..3 {
        assert_eq!(count(200).await, None);
    }
    for _ in 0..2 {
        assert_eq!(count(201).await, None);
    }
    let mut connection = fill(&place, 1).await;
    for account in 0..130_u8 {
        assert_eq!(count(account).await, None);
    }
    let rows = accounts(&mut connection).await;
    assert!((100_000 - 100..=100_064).contains(&rows), "{rows}");
    let row = connection.fetch_one("SELECT MIN(free_at) AS oldest FROM throttles").await.unwrap();
    assert!(row.get::<i64, _>("oldest") > NOW * 1000 + 50, "of those the oldest went");
    assert!(count(200).await.is_some(), "whose tries are exhausted stays");
    assert_eq!(count(201).await, None);
    assert!(count(201).await.is_some(), "and who has more tries than others");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_tries_are_exhausted_none_is_given_back_and_new_names_wait() {
    let place = Place::new();
    let store = place.open().await;
    let count =
        async |account: u8, seconds: u64| store.count_try(&tenant(), &counter(account), after(seconds), 3, 600).await;
    let mut connection = fill(&place, 3).await;
    for account in 0..130_u8 {
        let refused = count(account, 0).await.unwrap_err();
        assert!(matches!(refused.failure, StoreFailure::Unavailable(_)), "{refused}");
    }
    let known = connection.fetch_one("SELECT account FROM throttles LIMIT 1").await.unwrap();
    let known: [u8; 32] = known.get::<Vec<u8>, _>("account").try_into().unwrap();
    let known = Counter { name: known, ..counter(0) };
    assert!(store.count_try(&tenant(), &known, now(), 3, 600).await.unwrap().is_some(), "who is known is told when");
    let exhausted = "SELECT COUNT(*) AS rows FROM throttles WHERE tries = 3";
    let left: i64 = connection.fetch_one(exhausted).await.unwrap().get("rows");
    assert_eq!(left, 100_050, "none of them is forgotten");
    // Once they are free again there is room, a hundred at each try.
    for account in 130..200_u8 {
        assert_eq!(count(account, 700).await.unwrap(), None);
    }
    assert!(accounts(&mut connection).await < 100_050 - 69 * 99);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_that_no_longer_count_are_forgotten() {
    let place = Place::new();
    let store = place.open().await;
    for account in 0..50_u8 {
        store.count_try(&tenant(), &counter(account), now(), 3, 600).await.unwrap();
    }
    let later = now().plus(std::time::Duration::from_secs(601));
    store.count_try(&tenant(), &counter(99), later, 3, 600).await.unwrap();
    let mut connection = raw(&place.database()).await;
    let row = connection.fetch_one("SELECT COUNT(*) AS rows FROM throttles").await.unwrap();
    assert_eq!(row.get::<i64, _>("rows"), 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_up_what_is_unknown_writes_nothing() {
    let place = Place::new();
    let store = place.open().await;
    let mut connection = raw(&place.database()).await;
    let version = async |connection: &mut sqlx::SqliteConnection| {
        connection.fetch_one("PRAGMA data_version").await.unwrap().get::<i64, _>(0)
    };
    let before = version(&mut connection).await;
    for index in 0..1000 {
        assert_eq!(store.user_by_name(&tenant(), &format!("made-up-{index}")).await.unwrap(), None);
    }
    assert_eq!(version(&mut connection).await, before);
    store.close().await;
}
