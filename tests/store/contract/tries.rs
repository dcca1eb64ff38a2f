use std::time::Duration;

use signet_core::audit::{Event, Reason};
use signet_core::mfa::Spending;
use signet_core::mfa::lockout::{Chance, Failure, Lockout, UserTries};
use signet_store::{AuditOnOutcome, FactorDetail, FactorId, Judged, Settled, Settling, Store, UserId};

use crate::support::store::OwnChain as _;
use crate::support::store::{after, draft, settling, spends, tenant, totp_factor, user};

fn told() -> AuditOnOutcome {
    AuditOnOutcome {
        applied: vec![draft(Event::SignIn)],
        rejected: vec![draft(Event::SignIn).because(Reason::ReplayedCode)],
    }
}

async fn enrolled(store: &dyn Store) -> FactorId {
    let alice = user("alice");
    assert!(store.add_user(&alice, vec![]).await.unwrap());
    let factor = totp_factor("f", &alice);
    assert!(store.add_factor(&factor, vec![]).await.unwrap());
    factor.id
}

/// Settles a sign-in of Alice, some seconds from now.
async fn settle(store: &dyn Store, judged: Judged, seconds: u64) -> Settled {
    let settling = Settling { judged, at: after(seconds), ..settling(Failure::Code) };
    store.settle(&settling, told()).await.unwrap()
}

fn right(factor: &FactorId, step: i64) -> Judged {
    let spending = spends(factor, Spending::TotpStep { step, drift: 0 });
    Judged::Right { spending, is_digits: true }
}

async fn last_step(store: &dyn Store, factor: &FactorId) -> i64 {
    let kept = store.factor(&tenant(), factor).await.unwrap().unwrap();
    let FactorDetail::Totp(state) = kept.detail else { panic!("it was a TOTP factor") };
    state.last_step
}

async fn alices(store: &dyn Store) -> UserTries {
    store.tries(&tenant(), &UserId::new("user-alice")).await.unwrap()
}

pub(super) async fn a_right_sign_in_is_settled_once_and_told(store: &dyn Store) {
    let factor = enrolled(store).await;
    assert_eq!(settle(store, right(&factor, 5), 0).await, Settled::Spent);
    assert_eq!(alices(store).await, UserTries::default(), "a success leaves no row");
    assert_eq!(settle(store, right(&factor, 5), 0).await, Settled::Replayed);
    assert_eq!(alices(store).await.unanswered(), 1, "a code that was used is a wrong one");
    let records = store.own_records(1, 10).await.unwrap();
    let replayed: Vec<bool> = records.iter().map(|record| record.text.contains("replayed")).collect();
    assert_eq!(replayed, [false, true]);
}

pub(super) async fn what_is_locked_is_spent_and_refused(store: &dyn Store) {
    let factor = enrolled(store).await;
    for _ in 0..5 {
        assert_eq!(settle(store, Judged::Wrong(Failure::Code), 0).await, Settled::Refused);
    }
    assert_eq!(alices(store).await.unanswered(), 3, "three are the most");
    assert_eq!(settle(store, right(&factor, 5), 599).await, Settled::Locked);
    assert_eq!(last_step(store, &factor).await, 5, "who has both halves learns not whether it was right");
    assert_eq!(settle(store, right(&factor, 6), 600).await, Settled::Spent);
    assert_eq!(store.head().await.unwrap().sequence, 1, "what is refused is told by the caller, later");
}

pub(super) async fn neither_half_counts_and_one_counts_for_its_factor(store: &dyn Store) {
    let factor = enrolled(store).await;
    for _ in 0..50 {
        assert_eq!(settle(store, Judged::Wrong(Failure::Both(Chance::of(1, 6))), 0).await, Settled::Refused);
        assert_eq!(settle(store, Judged::Wrong(Failure::Uncounted), 0).await, Settled::Refused);
    }
    assert_eq!(settle(store, right(&factor, 5), 0).await, Settled::Spent);
    for _ in 0..3 {
        settle(store, Judged::Wrong(Failure::Password(FactorId::new("other"), Chance::default())), 0).await;
    }
    assert_eq!(settle(store, right(&factor, 6), 0).await, Settled::Spent);
    for _ in 0..3 {
        settle(store, Judged::Wrong(Failure::Password(factor.clone(), Chance::default())), 0).await;
    }
    assert_eq!(settle(store, right(&factor, 7), 0).await, Settled::Locked);
}

pub(super) async fn failures_are_listed_until_they_are_answered_for(store: &dyn Store) {
    enrolled(store).await;
    settle(store, Judged::Wrong(Failure::Code), 0).await;
    let listed = store.unanswered_tries(&tenant(), None, 10).await.unwrap();
    let [of] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((of.user.as_str(), of.tries.unanswered()), ("user-alice", 1));
    assert_eq!(store.unanswered_tries(&tenant(), Some(&of.user), 10).await.unwrap(), []);
    let change = async |from: &UserTries| {
        let mut answered = from.clone();
        answered.answer();
        store.change_tries(&tenant(), &of.user, from, &answered, vec![draft(Event::UserChanged)]).await.unwrap()
    };
    settle(store, Judged::Wrong(Failure::Code), 1).await;
    assert!(!change(&of.tries).await, "there was another one meanwhile");
    assert!(change(&alices(store).await).await);
    assert_eq!(store.unanswered_tries(&tenant(), None, 10).await.unwrap(), []);
    let rule = Lockout { tries: 2, pause: Duration::from_secs(600) };
    assert!(alices(store).await.codes_lock(&rule, after(2)).is_some(), "an answer ends no pause");
    assert!(store.remove_user(&tenant(), &of.user, vec![]).await.unwrap());
    assert_eq!(alices(store).await, UserTries::default());
}
