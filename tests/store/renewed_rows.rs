//! The deployment's secret is renewed: rows that verify are written under the next generation, page by page, and what verified by the
//! one before gives nobody anything from then on.

use std::sync::atomic::{AtomicU64, Ordering};

use signet_core::mfa::HotpState;
use signet_core::row_keys::RowKeys;
use signet_core::secret::SecretBytes;
use signet_store::{Clients as _, FactorDetail, SecretsAtRest as _, Stock as _, StockId, StockToken, StoreFailure};
use signet_store_sql::SqlStore;
use signet_store_sql::authority::RenewalProgress;

use super::forged_rows::{Written, filled, on_every_engine};
use crate::support::store::{client, now, seals, tenant};

on_every_engine!(
    rows_are_written_under_the_next_generation_and_those_of_the_lost_time_are_void,
    a_renewal_that_was_interrupted_between_two_pages_goes_on,
);

/// Tokens of the stock, of which there are several pages.
const STOCKED: u64 = 1200;

fn keys(generation: u8) -> RowKeys {
    // The first one is what the tests' stores are opened with.
    RowKeys::of(generation, &SecretBytes::new(vec![4 + generation; 32]))
}

/// A store with rows in each table, and pages of them in one.
async fn with_pages(store: &SqlStore) {
    filled(store).await;
    let token = |number: u64| StockToken {
        tenant: tenant(),
        id: StockId::new(format!("stocked-{number:05}")),
        serial: format!("{number:05}"),
        detail: FactorDetail::Hotp(HotpState { hash: signet_core::keys::OtpHash::Sha1, digits: 6, next_counter: 0 }),
        model: None,
        validity: signet_core::mfa::Validity::default(),
        secret: seals(5),
        imported_at: now(),
    };
    let tokens: Vec<StockToken> = (0..STOCKED).map(token).collect();
    for page in tokens.chunks(400) {
        store.add_stock(page.to_vec(), vec![]).await.unwrap();
    }
}

/// How many rows do not verify, by table.
async fn forged(store: &SqlStore) -> Vec<(&'static str, u64)> {
    let checked = store.check_rows().await.unwrap().into_iter();
    checked.filter(|table| table.forged > 0).map(|table| (table.table, table.forged)).collect()
}

async fn rows_are_written_under_the_next_generation_and_those_of_the_lost_time_are_void(database: Written) {
    let store = database.open().await;
    with_pages(&store).await;
    let app = client("lost");
    assert!(store.add_client(&app, vec![]).await.unwrap());
    // The lost time: somebody keeps a row of it, which verifies.
    database.run("CREATE TABLE kept AS SELECT * FROM clients WHERE name = 'lost'").await;
    assert!(store.remove_client(&tenant(), &app.id, vec![]).await.unwrap());
    database.run("UPDATE users SET roles = '[\"admin\"]' WHERE name = 'alice'").await;
    store.use_row_keys(keys(1).and(&keys(2)));
    let told = AtomicU64::new(0);
    let tell = |progress: RenewalProgress| {
        assert!(progress.done <= progress.of);
        told.fetch_max(progress.done, Ordering::Relaxed);
    };
    let renewed = store.renew_rows(&tell).await.unwrap();
    let rows: u64 = renewed.iter().map(|table| table.rows).sum();
    assert_eq!((rows, rows > STOCKED), (told.load(Ordering::Relaxed), true));
    let void: Vec<_> = renewed.iter().filter(|table| table.forged > 0).map(|table| &table.named).collect();
    assert_eq!(void, [&["default user-alice".to_owned()]], "what somebody wrote is named, and gets no MAC");
    // The old generation is gone.
    store.use_row_keys(keys(2));
    assert_eq!(forged(&store).await, [("users", 1)]);
    database.run("INSERT INTO clients SELECT * FROM kept").await;
    let refused = store.client(&tenant(), &app.id).await.unwrap_err();
    assert!(matches!(refused.failure, StoreFailure::Forged { table: "clients", .. }), "{refused}");
    assert_eq!(forged(&store).await, [("users", 1), ("clients", 1)]);
    store.close().await;
}

async fn a_renewal_that_was_interrupted_between_two_pages_goes_on(database: Written) {
    let store = database.open().await;
    with_pages(&store).await;
    store.use_row_keys(keys(1).and(&keys(2)));
    let (told, mut interrupted) = tokio::sync::mpsc::unbounded_channel();
    // Whoever does it ends once the first page of the stock is written.
    let telling = |progress: RenewalProgress| {
        let _ = told.send(progress.done);
    };
    let at_a_page = async { while interrupted.recv().await.is_some_and(|done| done < 500) {} };
    tokio::select! {
        biased;
        () = at_a_page => {}
        done = store.renew_rows(&telling) => panic!("it was not interrupted: {done:?}"),
    }
    store.close().await;
    let store = database.open().await;
    store.use_row_keys(keys(2));
    let void: u64 = forged(&store).await.iter().map(|(_, rows)| rows).sum();
    assert!((1..STOCKED).contains(&void), "some are written and some are not: {void}");
    store.use_row_keys(keys(1).and(&keys(2)));
    assert_eq!(forged(&store).await, [], "meanwhile both hold");
    let renewed = store.renew_rows(&|_| {}).await.unwrap();
    assert!(renewed.iter().all(|table| table.forged == 0));
    store.use_row_keys(keys(2));
    assert_eq!(forged(&store).await, []);
    store.close().await;
}
