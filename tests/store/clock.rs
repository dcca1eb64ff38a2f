//! A clock that is wrong for a while revives nothing that was revoked.

use std::sync::Arc;

use signet_core::audit::Event;
use signet_jose::clock::Clock as _;
use signet_store::{AuditLog as _, Grants as _, Revocations as _};
use signet_store_sql::SqlStore;

use crate::support::store::{NOW, Place, after, draft, now, tenant};

const DAY: i64 = 86_400;

/// A store in which a token was revoked that lasts another hour.
async fn revoked(place: &Place) -> Arc<SqlStore> {
    let store = place.open().await;
    store.revoke_token(&tenant(), "jti", after(3600), now(), vec![draft(Event::TokenRevoked)]).await.unwrap();
    store
}

async fn pruned(place: &Place, store: &SqlStore) -> u64 {
    store.append(vec![draft(Event::ServerStarted)]).await.unwrap();
    store.prune(place.clock.now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_80_a_clock_that_jumps_ahead_under_a_running_server_prunes_nothing() {
    let place = Place::new();
    let store = revoked(&place).await;
    place.clock.set(NOW + 30 * DAY);
    assert_eq!(pruned(&place, &store).await, 0);
    place.clock.set(NOW + 60);
    assert_eq!(pruned(&place, &store).await, 0, "nor once it is right again, and behind its own records");
    assert!(store.is_revoked(&tenant(), "jti").await.unwrap());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_80_a_clock_that_is_ahead_at_the_start_prunes_nothing() {
    let place = Place::new();
    revoked(&place).await.close().await;
    place.clock.set(NOW + 30 * DAY);
    let store = place.open().await;
    assert_eq!(pruned(&place, &store).await, 0);
    assert!(store.is_revoked(&tenant(), "jti").await.unwrap());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_off_for_long_prunes_after_its_next_start() {
    let place = Place::new();
    revoked(&place).await.close().await;
    place.clock.set(NOW + 30 * DAY);
    let store = place.open().await;
    pruned(&place, &store).await;
    store.close().await;
    let store = place.open().await;
    assert_eq!(pruned(&place, &store).await, 1);
    assert!(!store.is_revoked(&tenant(), "jti").await.unwrap());
    store.close().await;
}
