use signet_core::audit::Event;
use signet_core::keys::TenantId;
use signet_core::mfa::lockout::Counter;
use signet_store::Store;

use crate::support::store::OwnChain as _;
use crate::support::store::{after, counter, draft, tenant, user};

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
    store.forget_tries(&tenant(), &[1; 32], None).await.unwrap();
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
    store.forget_tries(&tenant(), &[1; 32], None).await.unwrap();
    for second in 604..607 {
        assert_eq!(count(store, 1, second).await, None);
    }
    store.give_back_try(&tenant(), &[1; 32], after(602)).await.unwrap();
    assert_eq!(count(store, 1, 607).await, Some(1206));
    store.give_back_try(&tenant(), &[2; 32], after(607)).await.unwrap();
    assert_eq!(count(store, 1, 608).await, Some(1206), "another account's");
}

/// A success at one target leaves what was counted at the others.
pub(super) async fn a_success_takes_its_own_tries_from_the_whole(store: &dyn Store) {
    for account in [1, 1, 9, 9, 2, 9] {
        count(store, account, 0).await;
    }
    store.forget_tries(&tenant(), &[1; 32], Some(&[9; 32])).await.unwrap();
    assert_eq!(count(store, 9, 1).await, None);
    assert_eq!(count(store, 9, 1).await, None);
    assert_eq!(count(store, 9, 1).await, Some(601), "two of three were taken back");
}

/// An operator sees whose tries are exhausted, by what was guessed at, and lifts it.
pub(super) async fn locked_accounts_are_listed_and_unlocked(store: &dyn Store) {
    let alice = user("alice");
    let hers = |name, word| Counter { name: [name; 32], word, user: Some(alice.id.clone()) };
    for counter in [hers(1, "digits"), hers(2, "key"), hers(3, "key"), counter(4), counter(5)] {
        for _ in 0..3 {
            store.count_try(&tenant(), &counter, after(0), MOST, PAUSE).await.unwrap();
        }
    }
    store.count_try(&tenant(), &hers(6, "recovery"), after(0), MOST, PAUSE).await.unwrap();
    let locked = store.locked_accounts(&tenant(), after(1), MOST).await.unwrap();
    let told: Vec<_> = locked.iter().map(|one| (one.user.as_ref(), one.word.as_str(), one.counts)).collect();
    assert_eq!(told, [(None, "digits", 2), (Some(&alice.id), "digits", 1), (Some(&alice.id), "key", 2)]);
    assert_eq!(store.locked_accounts(&tenant(), after(600), MOST).await.unwrap(), []);
    assert_eq!(store.forget_tries_of(&tenant(), &alice.id, vec![draft(Event::UserChanged)]).await.unwrap(), 4);
    assert_eq!(store.forget_tries_of(&tenant(), &alice.id, vec![draft(Event::UserChanged)]).await.unwrap(), 0);
    assert_eq!(store.head().await.unwrap().sequence, 1);
    assert_eq!(count(store, 1, 1).await, None);
    assert_eq!(store.locked_accounts(&tenant(), after(1), MOST).await.unwrap().len(), 1);
}
