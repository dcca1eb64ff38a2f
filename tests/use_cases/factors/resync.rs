//! A token that is out of step is found again by two codes in a row.

use std::time::Duration;

use signet_core::keys::OtpHash;
use signet_core::mfa::{FactorDetail, Lockout};
use signet_service::ChangeError;
use signet_store::FactorId;

use super::enrolment::hotp;
use crate::support::codes::SixDigits;
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

/// Two codes are tries too, counted with those of the sign-in.
#[tokio::test]
async fn wrong_pairs_exhaust_the_tries_of_the_account() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let wrong = app.wrong_code(&ann);
    for _ in 0..Lockout::DEFAULT.tries {
        assert!(matches!(resync(&app, &ann.app, &wrong, &wrong).await, Err(ChangeError::Input(_))));
    }
    let step = app.now().unix_seconds() / 30;
    let (first, second) = (ann.codes.at(step), ann.codes.at(step + 1));
    let refused = resync(&app, &ann.app, &first, &second).await;
    assert!(matches!(refused, Err(ChangeError::Input(text)) if text.contains("too many tries")));
    app.pass(Lockout::DEFAULT.pause).await;
    let step = app.now().unix_seconds() / 30;
    resync(&app, &ann.app, &ann.codes.at(step), &ann.codes.at(step + 1)).await.unwrap();
}

#[tokio::test]
async fn only_tokens_that_show_digits_can_be_out_of_step() {
    let app = InProcess::new().await;
    app.user("ann").await;
    let key = super::enrolment::slot(&crate::support::codes::YubiKey::new("cccccc"));
    let factor = app.issuer.factors.enrolment.enrol_yubico_otp("ann", "key", &key, &context()).await.unwrap();
    assert!(matches!(resync(&app, &factor.id, "123456", "123456").await, Err(ChangeError::Input(_))));
    let gone = FactorId::new("gone");
    assert!(matches!(resync(&app, &gone, "123456", "123456").await, Err(ChangeError::Missing { .. })));
}
