//! The anchor outside of the database: bounded, in step with the chain, and never silently off.

use std::sync::Arc;

use signet_core::audit::{Checkpoint, Event};
use signet_store::AuditLog as _;
use signet_store::anchor::Anchor;
use signet_store_sqlite::SqliteOptions;

use crate::support::store::{OwnChain as _, keyed, node};
use crate::support::store::{Place, checkpoint, draft, now, verify};

fn anchored(place: &Place) -> SqliteOptions {
    SqliteOptions { anchor: Some(place.anchor()), ..place.options() }
}

fn long_checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { node: node(), sequence, at: now(), jws: format!("{}{sequence}", "j".repeat(2000)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_anchor_is_thinned_and_still_tells_the_furthest() {
    let place = Place::new();
    let anchor = Anchor::new(place.anchor());
    let mut longest = 0;
    for sequence in 1..=1500 {
        anchor.append(&long_checkpoint(sequence)).await.unwrap();
        longest = longest.max(std::fs::metadata(place.anchor()).unwrap().len());
        if sequence % 100 == 0 {
            assert_eq!(anchor.furthest().unwrap(), Some(long_checkpoint(sequence)));
        }
    }
    assert!(longest < 1100 * 1024, "{longest}");
    let kept = anchor.read().unwrap();
    assert!(kept.len() >= 256 && kept.len() < 1000, "{}", kept.len());
    assert!(kept.is_sorted_by_key(|one| one.sequence));
    let left: Vec<_> = std::fs::read_dir(place.folder()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left beside it: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_less_far_is_not_appended() {
    let place = Place::new();
    let anchor = Anchor::new(place.anchor());
    let appending: Vec<_> = (1..=60)
        .rev()
        .map(|sequence| {
            let anchor = anchor.clone();
            tokio::spawn(async move { anchor.append(&long_checkpoint(sequence)).await })
        })
        .collect();
    for task in appending {
        task.await.unwrap().unwrap();
    }
    assert!(anchor.read().unwrap().is_sorted_by(|one, next| one.sequence < next.sequence));
    assert_eq!(anchor.furthest().unwrap(), Some(long_checkpoint(60)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_line_longer_than_what_is_read_first_is_passed_over() {
    use std::io::Write as _;
    let place = Place::new();
    let anchor = Anchor::new(place.anchor());
    anchor.append(&long_checkpoint(7)).await.unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(place.anchor()).unwrap();
    file.write_all(format!("{{\"seq\":8,\"jws\":\"{}", "j".repeat(200_000)).as_bytes()).unwrap();
    assert_eq!(anchor.furthest().unwrap(), Some(long_checkpoint(7)));
    anchor.append(&long_checkpoint(9)).await.unwrap();
    assert_eq!(anchor.read().unwrap(), [long_checkpoint(7), long_checkpoint(9)]);
}

/// Whoever opens the store looks at anchor and head while another process writes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_opens_beside_a_busy_one() {
    let place = Arc::new(Place::new());
    let busy = keyed(signet_store_sqlite::open(anchored(&place), node(), place.clock.clone()).await.unwrap());
    let writer = tokio::spawn({
        let busy = Arc::clone(&busy);
        async move {
            loop {
                busy.append(vec![draft(Event::SignIn)]).await.unwrap();
                busy.add_checkpoint(&checkpoint(busy.as_ref()).await).await.unwrap();
            }
        }
    });
    for _ in 0..60 {
        keyed(signet_store_sqlite::open(anchored(&place), node(), place.clock.clone()).await.unwrap()).close().await;
    }
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());
    busy.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_can_not_be_written_is_told_until_it_can() {
    let place = Place::new();
    let store = keyed(signet_store_sqlite::open(anchored(&place), node(), place.clock.clone()).await.unwrap());
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    std::fs::create_dir(place.anchor()).unwrap();
    for _ in 0..2 {
        let signed = checkpoint(store.as_ref()).await;
        let error = store.add_checkpoint(&signed).await.unwrap_err();
        assert!(error.to_string().contains("the anchor file"), "{error}");
        assert_eq!(store.last_own_checkpoint().await.unwrap(), None, "it is still to be signed");
    }
    std::fs::remove_dir(place.anchor()).unwrap();
    store.add_checkpoint(&checkpoint(store.as_ref()).await).await.unwrap();
    assert_eq!(verify(store.as_ref()).await.unwrap().signed, 1);
    assert_eq!(Anchor::new(place.anchor()).furthest().unwrap(), store.last_own_checkpoint().await.unwrap());
    store.close().await;
}
