use signet_core::audit::Event;
use signet_core::audit::Reason;
use signet_core::keys::OtpHash;
use signet_core::mfa::FactorKind;
use signet_core::mfa::{HotpState, RecoveryState, Spending};
use signet_core::secret::SecretHash;
use signet_store::{
    AssignOutcome, AuditOnOutcome, EndReason, Factor, FactorDetail, FactorEdit, FactorId, FactorState, GrantState,
    StockId, StockToken, Store, User,
};

use super::sessions::session;
use crate::support::store::OwnChain as _;
use crate::support::store::{
    after, client, draft, grant, granted, now, seals, spends, tenant, totp_factor, user, yubico_factor,
};

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
    let grants = async |id| {
        let bare = grant(id, &alice, &app);
        store.add_grant_without_refresh(&bare, 0, vec![]).await.unwrap()
    };
    assert!(grants("before").await);
    assert!(store.remove_factor(&tenant(), &factor.id, after(2), vec![]).await.unwrap());
    assert_eq!(state(&family.id).await, GrantState::Ended { at: after(2), reason: EndReason::Revoked });
    assert!(!grants("after").await, "nor does a sign-in under way hold");
    assert_eq!(state(&bobs.id).await, GrantState::Active);
}

fn told() -> AuditOnOutcome {
    AuditOnOutcome {
        applied: vec![draft(Event::SignIn)],
        rejected: vec![draft(Event::SignIn).because(Reason::ReplayedCode)],
    }
}

pub(super) async fn a_totp_step_is_spent_once_and_never_lowered(store: &dyn Store) {
    let alice = user("alice");
    let (factor, yubico) = (totp_factor("a", &alice), yubico_factor("y", "cccccccccccb", &alice));
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_factor(&factor, vec![]).await.unwrap();
    store.add_factor(&yubico, vec![]).await.unwrap();
    let before = store.generation().await.unwrap();
    for (step, won) in [(60, true), (60, false), (59, false), (61, true)] {
        let spent =
            store.spend_proof(&spends(&factor.id, Spending::TotpStep { step, drift: 2 }), told()).await.unwrap();
        assert_eq!(spent, won, "step {step}");
    }
    assert!(!store.spend_proof(&spends(&yubico.id, Spending::TotpStep { step: 70, drift: 0 }), told()).await.unwrap());
    assert!(
        !store
            .spend_proof(&spends(&FactorId::new("none"), Spending::TotpStep { step: 70, drift: 0 }), told())
            .await
            .unwrap()
    );
    let kept = store.factor(&tenant(), &factor.id).await.unwrap().unwrap();
    let FactorDetail::Totp(state) = kept.detail else { panic!("it was a TOTP factor") };
    assert_eq!((state.last_step, state.drift, kept.last_used_at), (61, 2, Some(after(1))));
    assert_eq!(store.generation().await.unwrap(), before, "nobody caches what is spent");
    let records = store.own_records(1, 10).await.unwrap();
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
        let spent = store.spend_proof(&spends(&factor.id, Spending::YubicoCounter(counter)), told()).await.unwrap();
        assert_eq!(spent, won, "counter {counter}");
    }
    assert!(!store.spend_proof(&spends(&totp.id, Spending::YubicoCounter(9)), told()).await.unwrap());
    let kept = store.factor(&tenant(), &factor.id).await.unwrap().unwrap();
    let FactorDetail::YubicoOtp(state) = kept.detail else { panic!("it was a Yubico factor") };
    assert_eq!((state.last_counter, kept.last_used_at), (0x007f_ffff, Some(after(1))));
}

pub(super) async fn a_factor_is_disabled_approved_and_named_by_one_write_each(store: &dyn Store) {
    let (alice, _, family) = granted(store).await;
    let pending = FactorState::Pending { requested_by: "uid 1".to_owned() };
    let factor = Factor { state: pending.clone(), serial: Some("S-1".to_owned()), ..totp_factor("a", &alice) };
    store.add_factor(&factor, vec![]).await.unwrap();
    let state = async || store.factor(&tenant(), &factor.id).await.unwrap().unwrap().state;
    for enabled in [true, false] {
        assert!(!store.set_factor_enabled(&tenant(), &factor.id, enabled, now(), vec![]).await.unwrap());
    }
    assert!(!store.approve_factor(&tenant(), &factor.id, "uid 1", told()).await.unwrap());
    assert_eq!(state().await, pending);
    for (asked_by, is_theirs) in [("uid 7", false), ("uid 1", true), ("uid 1", false)] {
        let taken = store.take_over_request(&tenant(), &factor.id, asked_by, "ann", vec![]).await.unwrap();
        assert_eq!(taken, is_theirs, "{asked_by}");
    }
    assert_eq!(state().await, FactorState::Pending { requested_by: "ann".to_owned() });
    assert!(store.approve_factor(&tenant(), &factor.id, "uid 2", told()).await.unwrap());
    assert!(!store.approve_factor(&tenant(), &factor.id, "uid 2", told()).await.unwrap());
    assert_eq!(state().await, FactorState::Enabled);
    assert!(!store.take_over_request(&tenant(), &factor.id, "ann", "bob", vec![]).await.unwrap(), "nothing waits");
    assert!(store.set_factor_enabled(&tenant(), &factor.id, false, after(1), vec![]).await.unwrap());
    let ended = store.grant(&tenant(), &family.id).await.unwrap().unwrap().state;
    assert_eq!(ended, GrantState::Ended { at: after(1), reason: EndReason::Revoked });
    assert!(!store.set_factor_enabled(&tenant(), &factor.id, false, after(1), vec![]).await.unwrap());
    let seen = store.factor(&tenant(), &factor.id).await.unwrap().unwrap();
    let edit = |label: &str, enabled| FactorEdit { label: Some(label.to_owned()), enabled, requested_by: None };
    assert!(!store.change_factor(&seen, &edit("off", Some(false)), now(), vec![]).await.unwrap(), "it is off already");
    assert!(store.change_factor(&seen, &edit("mine", Some(true)), now(), vec![]).await.unwrap());
    assert!(!store.change_factor(&seen, &edit("stale", None), now(), vec![]).await.unwrap(), "it is as seen no more");
    assert_eq!(state().await, FactorState::Enabled);
    assert!(store.set_factor_enabled(&tenant(), &factor.id, false, after(1), vec![]).await.unwrap());
    let seen = store.factor(&tenant(), &factor.id).await.unwrap().unwrap();
    let asked = FactorEdit { enabled: Some(true), requested_by: Some("bob".to_owned()), label: None };
    assert!(store.change_factor(&seen, &asked, now(), vec![]).await.unwrap());
    assert_eq!(state().await, FactorState::Pending { requested_by: "bob".to_owned() });
    let listed = store.all_factors(&tenant(), None, 10).await.unwrap();
    assert_eq!((listed[0].user_name.as_str(), listed[0].factor.label.as_str()), ("alice", "mine"));
    assert_eq!(store.all_factors(&tenant(), Some(&factor.id), 10).await.unwrap(), []);
}

pub(super) async fn a_recovery_code_is_spent_once(store: &dyn Store) {
    let alice = user("alice");
    store.add_user(&alice, vec![]).await.unwrap();
    let factor = Factor { detail: FactorDetail::Recovery(RecoveryState { made: 2 }), ..totp_factor("r", &alice) };
    let codes = [SecretHash::of("one"), SecretHash::of("two")];
    assert!(store.add_recovery(None, &factor, &codes, vec![]).await.unwrap());
    let known = async |code: &str| store.recovery_code(&tenant(), &factor.id, &SecretHash::of(code)).await.unwrap();
    assert_eq!((known("one").await, known("three").await), (Some(true), None));
    for won in [true, false] {
        let spent = store.spend_proof(&spends(&factor.id, Spending::RecoveryCode(codes[0])), told()).await.unwrap();
        assert_eq!(spent, won);
    }
    assert_eq!((known("one").await, known("two").await), (Some(false), Some(true)));
    assert_eq!(store.recovery_codes_left(&tenant(), &factor.id).await.unwrap(), 1);
    assert_eq!(store.factor(&tenant(), &factor.id).await.unwrap().unwrap().last_used_at, Some(after(1)));
    store.remove_factor(&tenant(), &factor.id, now(), vec![]).await.unwrap();
    assert_eq!(known("two").await, None);
}

fn stock_token(id: &str, serial: &str, detail: FactorDetail) -> StockToken {
    StockToken {
        tenant: tenant(),
        id: StockId::new(id),
        serial: serial.to_owned(),
        detail,
        model: Some("Maker M".to_owned()),
        validity: signet_core::mfa::Validity::default(),
        secret: seals(5),
        imported_at: now(),
    }
}

pub(super) async fn a_stock_token_is_kept_once_and_assigned_once(store: &dyn Store) {
    let alice = user("alice");
    store.add_user(&alice, vec![]).await.unwrap();
    let hotp = FactorDetail::Hotp(HotpState { hash: OtpHash::Sha256, digits: 8, next_counter: 7 });
    let yubico = yubico_factor("y", "cccccccccccb", &alice).detail;
    let tokens = vec![stock_token("1", "S-1", hotp.clone()), stock_token("2", "S-2", yubico.clone())];
    assert_eq!(store.add_stock(tokens.clone(), vec![draft(Event::StockChanged)]).await.unwrap(), ["S-1", "S-2"]);
    let again = vec![
        stock_token("3", "S-1", hotp.clone()),
        stock_token("4", "S-4", yubico),
        stock_token("5", "S-5", hotp.clone()),
    ];
    assert_eq!(store.add_stock(again, vec![]).await.unwrap(), ["S-5"], "a serial and a public id are there already");
    assert_eq!(store.stock_token(&tenant(), "S-2").await.unwrap().as_ref(), Some(&tokens[1]));
    let named = async |handle| store.stock_token_by_handle(&tenant(), FactorKind::YubicoOtp, handle).await.unwrap();
    assert_eq!((named("cccccccccccb").await.as_ref(), named("cccccccccccc").await), (Some(&tokens[1]), None));
    let factor = Factor { detail: hotp, serial: Some("S-1".to_owned()), ..totp_factor("f", &alice) };
    let second = Factor { id: FactorId::new("g"), serial: None, ..factor.clone() };
    let assign = async |factor: &Factor| store.assign_stock(None, &tokens[0].id, factor, vec![]).await.unwrap();
    assert_eq!(assign(&factor).await, AssignOutcome::Assigned);
    assert_eq!(assign(&second).await, AssignOutcome::Gone);
    assert_eq!(store.factor(&tenant(), &second.id).await.unwrap(), None);
    assert_eq!(store.factors(&tenant(), &alice.id).await.unwrap(), [factor]);
    let serials = ["S-1", "S-2", "S-9"].map(str::to_owned);
    let mut known = store.known_serials(&tenant(), &serials).await.unwrap();
    known.sort();
    assert_eq!(known, ["S-1", "S-2"], "as a factor and in the stock");
    assert_eq!(
        store.add_stock(vec![stock_token("6", "S-1", tokens[0].detail.clone())], vec![]).await.unwrap(),
        [""; 0]
    );
    assert!(store.remove_stock(&tenant(), "S-2", vec![]).await.unwrap());
    assert_eq!(store.stock(&tenant(), None, 10).await.unwrap().len(), 1);
}

pub(super) async fn a_person_changes_factors_while_the_session_holds(store: &dyn Store) {
    let (alice, bob) = (user("alice"), user("bob"));
    for person in [&alice, &bob] {
        store.add_user(person, vec![]).await.unwrap();
    }
    let (session, over) = (session("one", &alice), session("never", &alice));
    assert!(store.add_session(&session, &SecretHash::of("one"), vec![]).await.unwrap());
    let told = || vec![draft(Event::FactorChanged)];
    let [first, second] = ["a", "b"].map(|id| totp_factor(id, &alice));
    let foreign = totp_factor("c", &bob);
    assert!(store.add_own_factor(&session, &first, told()).await.unwrap());
    assert!(store.add_own_factor(&session, &second, told()).await.unwrap());
    assert!(!store.add_own_factor(&session, &foreign, told()).await.unwrap(), "another's");
    assert!(!store.add_own_factor(&over, &totp_factor("d", &alice), told()).await.unwrap(), "no such session");
    store.add_factor(&foreign, vec![]).await.unwrap();
    assert!(!store.remove_own_factor(&session, &foreign.id, after(1), told()).await.unwrap(), "another's");
    assert!(!store.remove_own_factor(&over, &first.id, after(1), told()).await.unwrap(), "no such session");
    assert!(store.remove_own_factor(&session, &first.id, after(1), told()).await.unwrap());
    // The removal ended the session: what was begun with it comes too late.
    assert!(!store.remove_own_factor(&session, &second.id, after(1), told()).await.unwrap());
    assert!(!store.add_own_factor(&session, &totp_factor("e", &alice), told()).await.unwrap());
    let codes = [SecretHash::of("one")];
    assert!(!store.add_recovery(Some(&session), &totp_factor("e", &alice), &codes, told()).await.unwrap());
    assert_eq!(store.recovery_code(&tenant(), &FactorId::new("e"), &codes[0]).await.unwrap(), None);
    let token = stock_token("1", "S-1", first.detail.clone());
    assert_eq!(store.add_stock(vec![token.clone()], vec![]).await.unwrap(), ["S-1"]);
    let assigned = store.assign_stock(Some(&session), &token.id, &totp_factor("e", &alice), told()).await.unwrap();
    assert_eq!(assigned, AssignOutcome::Refused);
    assert_eq!(store.stock(&tenant(), None, 10).await.unwrap().len(), 1, "it stays");
    let left = async |person: &User| {
        let factors = store.factors(&tenant(), &person.id).await.unwrap();
        factors.iter().map(|factor| factor.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((left(&alice).await, left(&bob).await), (vec!["b".to_owned()], vec!["c".to_owned()]));
    assert_eq!(store.head().await.unwrap().sequence, 3, "what did not happen is not told");
}
