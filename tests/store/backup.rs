//! A backup shows one moment, whatever is written meanwhile, on both engines.

use std::io;

use async_trait::async_trait;
use signet_core::audit::Event;
use signet_core::backup::TableSum;
use signet_store::{AuditLog as _, Clients as _};
use signet_store_sql::SqlStore;
use signet_store_sql::backup::{BackupOf, Sink, Written};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::support::postgres::Database;
use crate::support::store::{OwnChain as _, Place, draft, granted, node, now, raw, tenant};

/// A file that has somebody else write to the store when it gets its first bytes.
struct Meddling<'m> {
    lines: Vec<u8>,
    meddle: Option<Box<dyn FnOnce() + Send + 'm>>,
}

#[async_trait]
impl Sink for Meddling<'_> {
    async fn take(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        if let Some(meddle) = self.meddle.take() {
            meddle();
        }
        self.lines.take(bytes).await
    }
}

const MANY: i64 = 1234;
const CHANGE: &str = "UPDATE users SET name = 'renamed'; DELETE FROM clients; INSERT INTO revocations SELECT 'default', 'late', 1, 1, 1, 1, hash FROM refresh_tokens";

async fn written(store: &SqlStore, meddle: Box<dyn FnOnce() + Send + '_>) -> (Vec<u8>, Written) {
    let of = BackupOf { id: "one".to_owned(), issuer: "https://id.example".to_owned(), at: now() };
    let mut file = Meddling { lines: Vec::new(), meddle: Some(meddle) };
    let (_, written) = store.back_up(of, &mut file).await.unwrap();
    (file.lines, written)
}

async fn filled(store: &SqlStore) {
    granted(store).await;
    store.append(vec![draft(Event::SignIn); 40]).await.unwrap();
}

async fn shows_one_moment(store: &SqlStore, meddle: Box<dyn FnOnce() + Send + '_>) -> Vec<TableSum> {
    let head = store.head().await.unwrap();
    let (lines, written) = written(store, meddle).await;
    assert_eq!(written.heads, [(node(), head)]);
    let text = String::from_utf8(lines).unwrap();
    assert!(text.contains("\"alice\"") && !text.contains("renamed") && !text.contains("late"), "{text}");
    let of = |name: &str| written.tables.iter().find(|sum| sum.table == name).unwrap().rows;
    assert_eq!(
        (of("clients"), of("revocations"), of("audit_records")),
        (1, MANY.cast_unsigned(), head.sequence.cast_unsigned())
    );
    assert_eq!(store.clients(&tenant(), None, 10).await.unwrap(), [], "it was written meanwhile");
    written.tables
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_shows_one_moment_and_is_the_same_on_both_engines() {
    let place = Place::new();
    let store = place.open().await;
    filled(store.as_ref()).await;
    let fill = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})
        INSERT INTO revocations SELECT 'default', 'jti-' || CAST(i AS TEXT), 9, i, 1, 1, hash FROM n, refresh_tokens"
    );
    raw(&place.database()).await.execute(AssertSqlSafe(fill.clone())).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let path = place.database();
    let on_sqlite = shows_one_moment(
        store.as_ref(),
        Box::new(move || {
            tokio::task::block_in_place(|| {
                runtime.block_on(async { raw(&path).await.execute(CHANGE).await.unwrap() });
            });
        }),
    )
    .await;
    store.close().await;

    let database = Database::new();
    let store = database.open().await;
    filled(store.as_ref()).await;
    database.sql(&fill);
    let on_postgres = shows_one_moment(store.as_ref(), Box::new(|| drop(database.sql(CHANGE)))).await;
    store.close().await;
    assert_eq!(on_sqlite, on_postgres, "the same rows have the same hash");
}
