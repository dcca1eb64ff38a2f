use signet::audit::Event;
use signet::secret::SecretHash;
use signet::store::{EndReason, Factor, FactorDetail, FactorId, GrantState, Store, Told};

use crate::support::store::{after, client, draft, grant, granted, now, tenant, totp_factor, user, yubico_factor};

pub(super) async fn factors_come_back_as_added_the_oldest_first(store: &dyn Store) {
    let alice = user("alice");
    store.add_user(&alice, vec![]).await.unwrap();
    let newer = Factor { created_at: after(5), ..totp_factor("a", &alice) };
    let older = yubico_factor("b", "cccccccccccb", &alice);
    for factor in [&newer, &older] {
        assert!(store.add_factor(factor, vec![draft(Event::FactorChanged)]).await.unwrap());
        assert_eq!(store.factor(&tenant(), &factor.id).await.unwrap().as_ref(), Some(factor));
    }
    assert_eq!(store.factors(&tenant(), &alice.id).await.unwrap(), [older, newer]);
    assert_eq!(store.factors(&tenant(), &user("bob").id).await.unwrap(), []);
}

pub(super) async fn a_factor_needs_its_user_and_a_free_public_id(store: &dyn Store) {
    let (alice, bob) = (user("alice"), user("bob"));
    store.add_user(&alice, vec![]).await.unwrap();
    assert!(store.add_factor(&yubico_factor("a", "cccccccccccb", &alice), vec![]).await.unwrap());
    let told = || vec![draft(Event::FactorChanged)];
    assert!(!store.add_factor(&yubico_factor("b", "cccccccccccb", &alice), told()).await.unwrap());
    assert!(!store.add_factor(&totp_factor("c", &bob), told()).await.unwrap());
    assert!(!store.add_factor(&totp_factor("a", &alice), told()).await.unwrap());
    assert_eq!(store.factor(&tenant(), &FactorId::new("c")).await.unwrap(), None);
    assert_eq!(store.head().await.unwrap().sequence, 0);
}

pub(super) async fn a_removed_factor_is_gone_with_its_secret(store: &dyn Store) {
    let alice = user("alice");
    let factor = totp_factor("a", &alice);
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_factor(&factor, vec![]).await.unwrap();
    assert!(store.remove_factor(&tenant(), &factor.id, now(), vec![draft(Event::FactorChanged)]).await.unwrap());
    assert!(!store.remove_factor(&tenant(), &factor.id, now(), vec![draft(Event::FactorChanged)]).await.unwrap());
    assert_eq!(store.factor(&tenant(), &factor.id).await.unwrap(), None);
    assert_eq!(store.head().await.unwrap().sequence, 1);
    assert!(store.add_factor(&factor, vec![]).await.unwrap(), "no seal is left in the way");
}

pub(super) async fn a_removed_factor_ends_what_it_may_have_begun(store: &dyn Store) {
    let (alice, _, family) = granted(store).await;
    let (bob, app) = (user("bob"), client("app"));
    let (factor, bobs) = (totp_factor("a", &alice), grant("bobs", &bob, &app));
    store.add_user(&bob, vec![]).await.unwrap();
    store.add_grant(&bobs, &SecretHash::of("b0"), 0, vec![]).await.unwrap();
    store.add_factor(&factor, vec![]).await.unwrap();
    assert!(!store.remove_factor(&tenant(), &FactorId::new("none"), after(1), vec![]).await.unwrap());
    let state = async |id| store.grant(&tenant(), id).await.unwrap().unwrap().state;
    assert_eq!(state(&family.id).await, GrantState::Active);
    assert!(store.confirm_user(&tenant(), &alice.id, 0, vec![]).await.unwrap());
    assert!(store.remove_factor(&tenant(), &factor.id, after(2), vec![]).await.unwrap());
    assert_eq!(state(&family.id).await, GrantState::Ended { at: after(2), reason: EndReason::Revoked });
    assert!(!store.confirm_user(&tenant(), &alice.id, 0, vec![]).await.unwrap(), "nor does a sign-in under way hold");
    assert_eq!(state(&bobs.id).await, GrantState::Active);
}

fn told() -> Told {
    Told { done: vec![draft(Event::SignIn)], lost: vec![draft(Event::SignIn).because("replayed")] }
}

pub(super) async fn a_totp_step_is_spent_once_and_never_lowered(store: &dyn Store) {
    let alice = user("alice");
    let (factor, yubico) = (totp_factor("a", &alice), yubico_factor("y", "cccccccccccb", &alice));
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_factor(&factor, vec![]).await.unwrap();
    store.add_factor(&yubico, vec![]).await.unwrap();
    let before = store.generation().await.unwrap();
    for (step, won) in [(60, true), (60, false), (59, false), (61, true)] {
        let spent = store.spend_totp_step(&tenant(), &factor.id, step, 2, after(1), told()).await.unwrap();
        assert_eq!(spent, won, "step {step}");
    }
    assert!(!store.spend_totp_step(&tenant(), &yubico.id, 70, 0, now(), told()).await.unwrap());
    assert!(!store.spend_totp_step(&tenant(), &FactorId::new("none"), 70, 0, now(), told()).await.unwrap());
    let kept = store.factor(&tenant(), &factor.id).await.unwrap().unwrap();
    let FactorDetail::Totp(state) = kept.detail else { panic!("it was a TOTP factor") };
    assert_eq!((state.last_step, state.drift, kept.last_used_at), (61, 2, Some(after(1))));
    assert_eq!(store.generation().await.unwrap(), before, "nobody caches what is spent");
    let records = store.records(1, 10).await.unwrap();
    let replayed: Vec<bool> = records.iter().map(|record| record.text.contains("replayed")).collect();
    assert_eq!(replayed, [false, true, true, false, true, true]);
}

pub(super) async fn a_yubico_counter_is_spent_once_and_never_lowered(store: &dyn Store) {
    let alice = user("alice");
    let (factor, totp) = (yubico_factor("y", "cccccccccccb", &alice), totp_factor("a", &alice));
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_factor(&factor, vec![]).await.unwrap();
    store.add_factor(&totp, vec![]).await.unwrap();
    for (counter, won) in [(0, true), (0, false), (0x007f_ffff, true), (0x100, false)] {
        let spent = store.spend_yubico_counter(&tenant(), &factor.id, counter, after(1), told()).await.unwrap();
        assert_eq!(spent, won, "counter {counter}");
    }
    assert!(!store.spend_yubico_counter(&tenant(), &totp.id, 9, now(), told()).await.unwrap());
    let kept = store.factor(&tenant(), &factor.id).await.unwrap().unwrap();
    let FactorDetail::YubicoOtp(state) = kept.detail else { panic!("it was a Yubico factor") };
    assert_eq!((state.last_counter, kept.last_used_at), (0x007f_ffff, Some(after(1))));
}
