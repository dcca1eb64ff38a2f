use signet::keys::TenantId;
use signet::store::Store;

use crate::support::store::{after, counter, tenant};

const MOST: u32 = 3;
const PAUSE: u32 = 600;

/// Counts a try some seconds from now; gives from when on the next one is allowed, in seconds from now.
async fn count(store: &dyn Store, account: u8, seconds: u64) -> Option<u64> {
    let denied = store.count_try(&tenant(), &counter(account), after(seconds), MOST, PAUSE).await.unwrap();
    denied.map(|until| until.since(after(0)).as_secs())
}

pub(super) async fn tries_are_counted_up_to_the_most(store: &dyn Store) {
    for second in 0..3 {
        assert_eq!(count(store, 1, second).await, None);
    }
    assert_eq!(count(store, 1, 3).await, Some(602), "a pause after the last try that was counted");
    assert_eq!(count(store, 1, 601).await, Some(602));
    for second in [602, 603, 604] {
        assert_eq!(count(store, 1, second).await, None, "the count begins anew after the pause");
    }
    assert_eq!(count(store, 1, 605).await, Some(1204));
}

pub(super) async fn a_denied_try_does_not_prolong_the_pause(store: &dyn Store) {
    for _ in 0..3 {
        count(store, 1, 0).await;
    }
    for second in [1, 300, 599] {
        assert_eq!(count(store, 1, second).await, Some(600));
    }
    assert_eq!(count(store, 1, 600).await, None);
}

pub(super) async fn a_success_forgets_the_tries(store: &dyn Store) {
    for _ in 0..3 {
        count(store, 1, 0).await;
    }
    store.forget_tries(&tenant(), &[1; 32]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(count(store, 1, 1).await, None);
    }
    assert_eq!(count(store, 1, 1).await, Some(601));
}

pub(super) async fn accounts_are_counted_apart(store: &dyn Store) {
    for _ in 0..4 {
        count(store, 1, 0).await;
    }
    assert_eq!(count(store, 2, 0).await, None);
    let other = TenantId::new("other");
    assert_eq!(store.count_try(&other, &counter(1), after(0), MOST, PAUSE).await.unwrap(), None);
    assert_eq!(count(store, 1, 0).await, Some(600));
}

pub(super) async fn a_try_without_a_verdict_is_given_back_once(store: &dyn Store) {
    let give_back = async |seconds| store.give_back_try(&tenant(), &[1; 32], after(seconds)).await.unwrap();
    give_back(0).await;
    for second in 0..3 {
        assert_eq!(count(store, 1, second).await, None);
    }
    give_back(2).await;
    assert_eq!(count(store, 1, 3).await, None, "the third try again");
    assert_eq!(count(store, 1, 4).await, Some(603), "and no other");
    for _ in 0..9 {
        give_back(3).await;
    }
    for second in 4..7 {
        assert_eq!(count(store, 1, second).await, None);
    }
    assert_eq!(count(store, 1, 7).await, Some(606), "never below none");
}

pub(super) async fn a_try_of_before_takes_none_back_of_those_since(store: &dyn Store) {
    assert_eq!(count(store, 1, 0).await, None);
    for second in 600..603 {
        assert_eq!(count(store, 1, second).await, None, "begun anew after the pause");
    }
    store.give_back_try(&tenant(), &[1; 32], after(0)).await.unwrap();
    assert_eq!(count(store, 1, 603).await, Some(1202));
    store.forget_tries(&tenant(), &[1; 32]).await.unwrap();
    for second in 604..607 {
        assert_eq!(count(store, 1, second).await, None);
    }
    store.give_back_try(&tenant(), &[1; 32], after(602)).await.unwrap();
    assert_eq!(count(store, 1, 607).await, Some(1206));
    store.give_back_try(&tenant(), &[2; 32], after(607)).await.unwrap();
    assert_eq!(count(store, 1, 608).await, Some(1206), "another account's");
}
