//! What is particular to SQLite.

use signet::store::sqlite::sql_texts;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _, SqliteConnection};

use crate::support::store::Place;

#[tokio::test(flavor = "multi_thread")]
async fn every_sql_text_prepares() {
    let place = Place::new();
    place.open().await.close().await;
    let mut connection =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(place.database())).await.unwrap();
    for text in sql_texts() {
        let prepared = connection.prepare(AssertSqlSafe(text.clone()).into_sql_str()).await;
        assert!(prepared.is_ok(), "{text}: {:?}", prepared.err());
    }
}
