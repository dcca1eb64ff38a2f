//! Whoever can write the database can't change the audit log unnoticed.

use signet_core::audit::{ChainCheck, ChainFault, Event};
use signet_store::anchor::Anchor;
use signet_store::{AuditLog as _, StoreFailure};
use signet_store_sql::SqlStore;
use signet_store_sqlite::SqliteOptions;
use sqlx::Executor as _;

use crate::support::store::{OwnChain as _, keyed, node};
use crate::support::store::{Place, checkpoint, draft, raw, verify};

/// A closed store with five records, a checkpoint over the third, and the same in the anchor.
async fn written() -> Place {
    let place = Place::new();
    let options = SqliteOptions { anchor: Some(place.anchor()), ..place.options() };
    let store = keyed(signet_store_sqlite::open(options, node(), place.clock.clone()).await.unwrap());
    for number in 1..=5 {
        store.append(vec![draft(Event::SignIn).detail(format!("number {number}"))]).await.unwrap();
        if number == 3 {
            store.add_checkpoint(&checkpoint(store.as_ref()).await).await.unwrap();
        }
    }
    assert_eq!(verify(store.as_ref()).await.unwrap().signed, 3);
    store.close().await;
    place
}

/// What is found after these statements.
async fn found_after(statements: &'static str) -> Option<ChainFault> {
    let place = written().await;
    raw(&place.database()).await.execute(sqlx::raw_sql(statements)).await.unwrap();
    let store = place.open().await;
    let found = verify(store.as_ref()).await.err();
    store.close().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_text_time_or_hash_is_found() {
    let changed = Some(ChainFault::Changed(2));
    let text = "UPDATE audit_records SET text = replace(text, 'number 2', 'number x') WHERE sequence = 2";
    assert_eq!(found_after(text).await, changed);
    assert_eq!(found_after("UPDATE audit_records SET hash = zeroblob(32) WHERE sequence = 2").await, changed);
    let moved = Some(ChainFault::Moved(2));
    assert_eq!(found_after("UPDATE audit_records SET at = at + 1 WHERE sequence = 2").await, moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_record_is_found() {
    let removed = found_after("DELETE FROM audit_records WHERE sequence = 2").await;
    assert_eq!(removed, Some(ChainFault::Removed { first: 2, last: 2 }));
    let renumbered = "DELETE FROM audit_records WHERE sequence = 4;
        UPDATE audit_records SET sequence = 4 WHERE sequence = 5;
        UPDATE nodes SET head_sequence = 4";
    assert_eq!(found_after(renumbered).await, Some(ChainFault::Moved(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_records_are_found() {
    let swapped = "UPDATE audit_records SET sequence = 9 WHERE sequence = 2;
        UPDATE audit_records SET sequence = 2 WHERE sequence = 4;
        UPDATE audit_records SET sequence = 4 WHERE sequence = 9";
    assert_eq!(found_after(swapped).await, Some(ChainFault::Moved(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_end_is_found() {
    let cut = found_after("DELETE FROM audit_records WHERE sequence > 3").await;
    assert_eq!(cut, Some(ChainFault::HeadMismatch { last: 3, head: 5 }));
    let with_head = "DELETE FROM audit_records WHERE sequence > 2;
        UPDATE nodes SET head_sequence = 2, head_hash = (SELECT hash FROM audit_records WHERE sequence = 2)";
    assert_eq!(found_after(with_head).await, Some(ChainFault::CutBeforeCheckpoint { last: 2, signed: 3 }));
}

/// Records, head and checkpoints cut together: only the anchor knows.
const ALL_CUT: &str = "DELETE FROM audit_records WHERE sequence > 2;
    UPDATE nodes SET head_sequence = 2, head_hash = (SELECT hash FROM audit_records WHERE sequence = 2);
    DELETE FROM audit_checkpoints";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_put_back_whole_is_found_by_the_anchor() {
    let place = written().await;
    raw(&place.database()).await.execute(sqlx::raw_sql(ALL_CUT)).await.unwrap();
    let options = SqliteOptions { anchor: Some(place.anchor()), ..place.options() };
    let refused = signet_store_sqlite::open(options, node(), place.clock.clone()).await.err().unwrap();
    assert_eq!(refused.failure, StoreFailure::RolledBack);
    let without = place.open().await;
    assert_eq!(verify(without.as_ref()).await.unwrap().signed, 0, "the database alone can't tell");
    without.close().await;
    assert_eq!(Anchor::new(place.anchor()).furthest().unwrap().unwrap().sequence, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_chain_does_not_match_its_checkpoint() {
    let place = written().await;
    let mut connection = raw(&place.database()).await;
    connection.execute("DELETE FROM audit_records").await.unwrap();
    connection.execute("UPDATE nodes SET head_sequence = 0, head_hash = zeroblob(32)").await.unwrap();
    let store = place.open().await;
    store.append((0..5).map(|_| draft(Event::SignIn)).collect()).await.unwrap();
    assert_eq!(verify(store.as_ref()).await, Err(ChainFault::CheckpointMismatch(3)));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_notices_an_older_chain() {
    let place = written().await;
    let store = place.open().await;
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    raw(&place.database()).await.execute(sqlx::raw_sql(ALL_CUT)).await.unwrap();
    let refused = store.append(vec![draft(Event::SignIn)]).await.unwrap_err();
    assert_eq!(refused.failure, StoreFailure::RolledBack);
    // Another process stands still as well, until whoever can write to the database takes that back.
    let other = place.open().await;
    let told = || (0..20).map(|_| draft(Event::SignIn)).collect::<Vec<_>>();
    assert_eq!(other.append(told()).await.unwrap_err().failure, StoreFailure::RolledBack);
    raw(&place.database()).await.execute("DELETE FROM halts").await.unwrap();
    // Also once the other chain has grown beyond what this process saw.
    other.append(told()).await.unwrap();
    assert!(verify(other.as_ref()).await.is_ok());
    let refused = store.probe_now(&place).await;
    assert_eq!(refused, Some(StoreFailure::RolledBack));
    other.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_notices_another_file_in_the_place() {
    let place = written().await;
    let store = place.open().await;
    let copy = place.folder().join("copy");
    std::fs::copy(place.database(), &copy).unwrap();
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    std::fs::rename(&copy, place.database()).unwrap();
    assert_eq!(store.probe_now(&place).await, Some(StoreFailure::RolledBack));
    store.close().await;
}

trait ProbeNow {
    async fn probe_now(&self, place: &Place) -> Option<StoreFailure>;
}

impl ProbeNow for SqlStore {
    async fn probe_now(&self, place: &Place) -> Option<StoreFailure> {
        use signet_jose::clock::Clock as _;
        use signet_store::Membership as _;
        self.probe(place.clock.now()).await.err().map(|error| error.failure)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_never_goes_back_in_the_chain() {
    use crate::support::store::{NOW, now};
    let place = Place::new();
    let store = place.open().await;
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    place.clock.set(NOW - 3600);
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    store.close().await;
    let store = place.open().await;
    store.append(vec![draft(Event::SignIn)]).await.unwrap();
    let records = store.own_records(1, 10).await.unwrap();
    assert!(records.len() == 3 && records.iter().all(|record| record.at == now()));
    let mut check = ChainCheck::of(node());
    assert!(records.iter().all(|record| check.record(record).is_ok()));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anchor_survives_a_line_that_a_crash_cut() {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let place = written().await;
    let anchor = Anchor::new(place.anchor());
    let mode = std::fs::metadata(place.anchor()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut file = std::fs::OpenOptions::new().append(true).open(place.anchor()).unwrap();
    file.write_all(br#"{"node":"one","seq":9,"at":17"#).unwrap();
    let kept = anchor.read().unwrap();
    assert_eq!(kept.len(), 1);
    let next = signet_core::audit::Checkpoint { sequence: 4, ..kept[0].clone() };
    anchor.append(&next).await.unwrap();
    assert_eq!(anchor.read().unwrap(), [kept[0].clone(), next]);
}
