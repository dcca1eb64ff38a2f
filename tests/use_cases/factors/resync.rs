//! A token that is out of step is found again by two codes in a row.

use std::time::Duration;

use signet_core::audit::{AuditEvent, Event, Outcome};
use signet_core::keys::OtpHash;
use signet_core::mfa::{FactorDetail, Lockout};
use signet_service::ChangeError;
use signet_store::{FactorId, FactorState};

use super::enrolment::{hotp, slot};
use crate::support::codes::{SixDigits, YubiKey};
use crate::support::people::{PASSWORD, secret, shown};
use crate::support::{InProcess, context};

async fn resync(app: &InProcess, id: &FactorId, first: &str, second: &str) -> Result<(), ChangeError> {
    app.issuer.factors.resync.resync_factor(id, [&secret(first), &secret(second)], &context()).await
}

#[tokio::test]
async fn a_counter_token_is_found_far_ahead_by_two_codes_in_a_row() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let (factor, _) = app.issuer.factors.enrolment.enrol_otp("ann", hotp(None), &context()).await.unwrap();
    let codes = SixDigits { hash: OtpHash::Sha1, secret: vec![7; 20], is_clock: false };
    let sign_in = async |counter: i64| {
        let request = shown("ann", PASSWORD, &codes.at(counter));
        app.issuer.sessions.begin_session(&request, None, &context()).await.is_ok()
    };
    assert!(!sign_in(300).await, "beyond the look-ahead");
    assert!(resync(&app, &factor.id, &codes.at(300), &codes.at(302)).await.is_err(), "not in a row");
    assert!(resync(&app, &factor.id, &codes.at(300), "12345").await.is_err(), "too short");
    resync(&app, &factor.id, &codes.at(300), &codes.at(301)).await.unwrap();
    assert!(resync(&app, &factor.id, &codes.at(300), &codes.at(301)).await.is_err(), "both are spent");
    assert!(!sign_in(301).await && sign_in(302).await);
    let reasons = app.reasons("factor.changed").await;
    assert_eq!(reasons, ["-", "wrong_code", "-", "wrong_code"]);
}

/// The clock of a token may be minutes away; what it is late by is kept.
#[tokio::test]
async fn a_clock_token_is_found_minutes_away_and_its_drift_is_kept() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let late = app.now().unix_seconds() / 30 - 8;
    resync(&app, &ann.app, &ann.codes.at(late), &ann.codes.at(late + 1)).await.unwrap();
    let factor = app.issuer.factors.lifecycle.find_factor(&ann.app).await.unwrap();
    assert!(matches!(factor.detail, FactorDetail::Totp(state) if state.drift < 0 && state.last_step == late + 1));
    app.pass(Duration::from_secs(30)).await;
    let request = shown("ann", PASSWORD, &ann.codes.at(late + 2));
    app.issuer.sessions.begin_session(&request, None, &context()).await.unwrap();
}

/// Nobody guesses two codes in a row: wrong pairs lock nothing, and tell nobody that somebody knows the password.
#[tokio::test]
async fn wrong_pairs_lock_nothing() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let wrong = app.wrong_code(&ann);
    for _ in 0..=Lockout::DEFAULT.tries {
        assert!(matches!(resync(&app, &ann.app, &wrong, &wrong).await, Err(ChangeError::Input(_))));
    }
    assert_eq!(app.issuer.sign_in.tries.noticed(&ann.user.id).await.unwrap(), []);
    let step = app.now().unix_seconds() / 30;
    resync(&app, &ann.app, &ann.codes.at(step), &ann.codes.at(step + 1)).await.unwrap();
}

#[tokio::test]
async fn only_tokens_that_show_digits_can_be_out_of_step() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let key = slot(&YubiKey::new("cccccc"));
    let factor = app.issuer.factors.enrolment.enrol_yubico_otp("ann", "key", &key, &context()).await.unwrap();
    assert!(matches!(resync(&app, &factor.id, "123456", "123456").await, Err(ChangeError::Conflict(_))));
    let gone = FactorId::new("gone");
    assert!(matches!(resync(&app, &gone, "123456", "123456").await, Err(ChangeError::Missing { .. })));
}

/// Nobody knows how far tokens were counted in the time that a restore lost.
async fn restored(app: &InProcess) {
    let told = AuditEvent::new(Event::RestoreAnswered, Outcome::Done, "default", &context());
    let doubted = app.store.answer(false, told).await.unwrap();
    assert_eq!((doubted.want_two, doubted.disabled), (1, 0));
}

#[tokio::test]
async fn after_a_restore_a_counter_token_wants_two_codes_in_a_row_and_then_one() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let (factor, _) = app.issuer.factors.enrolment.enrol_otp("ann", hotp(None), &context()).await.unwrap();
    let codes = SixDigits { hash: OtpHash::Sha1, secret: vec![7; 20], is_clock: false };
    let sign_in_by = async |password: &str, counter: i64| {
        let request = shown("ann", password, &codes.at(counter));
        app.issuer.sessions.begin_session(&request, None, &context()).await.is_ok()
    };
    let sign_in = async |counter| sign_in_by(PASSWORD, counter).await;
    let state = async || app.issuer.factors.lifecycle.find_factor(&factor.id).await.unwrap().state;
    assert!(sign_in(0).await);
    restored(&app).await;
    assert_eq!(state().await, FactorState::WantsTwo);
    assert!(!sign_in_by("another", 3).await);
    assert_eq!(state().await, FactorState::WantsTwo, "without the password nothing is spent");
    assert!(!sign_in(3).await, "it may have been spent");
    assert_eq!(state().await, FactorState::WantsNext);
    assert!(!sign_in(3).await && !sign_in(5).await, "neither again nor one further on");
    assert!(sign_in(6).await, "the one directly after it");
    assert_eq!(state().await, FactorState::Enabled);
    assert!(sign_in(9).await, "from then on one is enough");
    let reasons: Vec<_> = app.reasons("sign_in").await.into_iter().filter(|reason| reason != "-").collect();
    assert_eq!(reasons, ["next_code_wanted", "wrong_code", "wrong_password"], "each with its number");
    // An operator finds it as well, further on than a sign-in looks.
    restored(&app).await;
    resync(&app, &factor.id, &codes.at(300), &codes.at(301)).await.unwrap();
    assert!(sign_in(302).await);
}

#[tokio::test]
async fn after_a_restore_a_yubico_key_wants_two_codes_in_a_row_and_then_one() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let key = YubiKey::new("cccccc");
    let factor = app.issuer.factors.enrolment.enrol_yubico_otp("ann", "key", &slot(&key), &context()).await.unwrap();
    let sign_in = async |use_counter, session_use| {
        let request = shown("ann", PASSWORD, &key.otp(use_counter, session_use));
        app.issuer.sessions.begin_session(&request, None, &context()).await.is_ok()
    };
    assert!(sign_in(5, 0).await);
    restored(&app).await;
    assert!(!sign_in(7, 3).await && !sign_in(7, 3).await && !sign_in(7, 2).await);
    assert!(sign_in(7, 4).await && sign_in(7, 9).await);
    restored(&app).await;
    assert!(!sign_in(8, 0).await && !sign_in(10, 0).await, "it was plugged in between");
    assert!(sign_in(11, 0).await, "the first one after it was plugged in again");
    // Who is asked for two can be disabled, and is enabled for one.
    restored(&app).await;
    for enabled in [false, true] {
        app.issuer.factors.lifecycle.enable_factor(&factor.id, enabled, &context()).await.unwrap();
    }
    assert!(sign_in(12, 0).await);
}

/// Of many at once one is the first and none signs in; of many with the next code one signs in.
#[tokio::test(flavor = "multi_thread")]
async fn the_two_codes_are_each_spent_once_by_whoever_races() {
    let app = InProcess::new().await;
    app.user("ann").await;
    app.issuer.factors.enrolment.enrol_otp("ann", hotp(None), &context()).await.unwrap();
    restored(&app).await;
    let codes = SixDigits { hash: OtpHash::Sha1, secret: vec![7; 20], is_clock: false };
    for (counter, winners) in [(3, 0), (4, 1), (4, 0)] {
        let code = codes.at(counter);
        let (request, asked_by) = (shown("ann", PASSWORD, &code), context());
        let one = || app.issuer.sessions.begin_session(&request, None, &asked_by);
        let (first, second, third) = tokio::join!(one(), one(), one());
        let won = [first.is_ok(), second.is_ok(), third.is_ok()].into_iter().filter(|won| *won).count();
        assert_eq!(won, winners, "{counter}");
    }
}
