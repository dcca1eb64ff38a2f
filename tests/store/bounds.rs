//! Made-up names and tokens do not make the database grow without end.

use signet::store::{Throttles as _, Users as _};
use sqlx::{Executor as _, Row as _};

use crate::support::store::{NOW, Place, now, raw, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_throttled_accounts_the_oldest_go() {
    let place = Place::new();
    let store = place.open().await;
    let mut connection = raw(&place.database()).await;
    let oldest = NOW * 1000 + 1;
    let many = "INSERT INTO throttles (tenant, account, tries, free_at)
        WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100049)
        SELECT 'default', randomblob(32), 3, 1800000000001 + n FROM numbers";
    connection.execute(many).await.unwrap();
    for account in 0..130_u8 {
        assert_eq!(store.count_try(&tenant(), &[account; 32], now(), 3, 600).await.unwrap(), None);
    }
    let row = connection.fetch_one("SELECT COUNT(*) AS rows, MIN(free_at) AS oldest FROM throttles").await.unwrap();
    let rows: i64 = row.get("rows");
    assert!((100_000..=100_064).contains(&rows), "{rows}");
    assert!(row.get::<i64, _>("oldest") > oldest + 50, "the oldest went");
    assert!(store.count_try(&tenant(), &[1; 32], now(), 1, 600).await.unwrap().is_some(), "the new stayed");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_that_no_longer_count_are_forgotten() {
    let place = Place::new();
    let store = place.open().await;
    for account in 0..50_u8 {
        store.count_try(&tenant(), &[account; 32], now(), 3, 600).await.unwrap();
    }
    let later = now().plus(std::time::Duration::from_secs(601));
    store.count_try(&tenant(), &[99; 32], later, 3, 600).await.unwrap();
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
