//! What a person changes of their own factors: with a proof that is fresh, and never the last way in.

use std::time::Duration;

use signet_core::audit::RequestContext;
use signet_core::secret::SecretText;
use signet_service::factors::own::SelfServiceError;
use signet_service::sessions::{FRESH, LiveSession};

use crate::support::InProcess;
use crate::support::codes::SixDigits;
use crate::support::people::{Person, STEP, secret};

const HERE: RequestContext = RequestContext::NONE;
const SECOND: Duration = Duration::from_secs(1);

/// Begins to set up an app; returns what the form carries, and the app.
async fn begin(app: &InProcess, live: &LiveSession) -> (SecretText, SixDigits) {
    let pending = app.issuer.factors.own.begin_totp(live, &HERE).await.unwrap();
    let secret = pending.enrolment.secret.expose().to_vec();
    (pending.carried, SixDigits { hash: signet_core::keys::OtpHash::Sha1, secret, is_clock: true })
}

async fn stage() -> (InProcess, Person) {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    (app, ann)
}

#[tokio::test]
async fn an_app_is_there_once_a_code_of_it_was_shown() {
    let (app, ann) = stage().await;
    let (live, own) = (app.fresh(&ann).await, &app.issuer.factors.own);
    let (carried, codes) = begin(&app, &live).await;
    let confirm = async |code: &str| own.confirm_totp(&live, &carried, "new phone", code, &HERE).await;
    assert!(matches!(confirm(&codes.at(1)).await, Err(SelfServiceError::WrongCode)));
    assert_eq!(own.own_factors(&live).await.unwrap().len(), 1);
    own.pending_totp(&live, carried.clone(), &HERE).await.unwrap();
    let added = confirm(&app.code(&codes)).await.unwrap();
    assert_eq!(own.own_factor(&live, &added.id).await.unwrap(), added);
    assert!(matches!(confirm(&app.code(&codes)).await, Err(SelfServiceError::Input(_))), "the form is used up");
    assert_eq!(own.own_factors(&live).await.unwrap().len(), 2);
}

/// The form is good for its own session, and for a quarter of an hour.
#[tokio::test]
async fn a_form_of_another_session_or_an_old_one_sets_nothing_up() {
    let (app, ann) = stage().await;
    let (first, own) = (app.fresh(&ann).await, &app.issuer.factors.own);
    let (carried, codes) = begin(&app, &first).await;
    let other = app.fresh(&ann).await;
    let refused = own.confirm_totp(&other, &carried, "phone", &app.code(&codes), &HERE).await;
    assert!(matches!(refused, Err(SelfServiceError::Input(_))));
    let mut live = first;
    for _ in 0..4 {
        app.pass(FRESH - STEP).await;
        let code = app.next_code(&ann).await;
        let password = secret(crate::support::people::PASSWORD);
        let renewed = app.issuer.sessions.step_up(&live, password, secret(&code), &HERE).await.unwrap();
        live = app.live(&renewed).await.unwrap();
    }
    let refused = own.confirm_totp(&live, &carried, "phone", &app.code(&codes), &HERE).await;
    assert!(matches!(refused, Err(SelfServiceError::Input(_))), "{refused:?}");
}

/// Who finds an open browser changes nothing by which its owner signs in; names alone are free.
#[tokio::test]
async fn changes_need_a_proof_of_the_last_five_minutes() {
    let (app, ann) = stage().await;
    let (live, factors) = (app.fresh(&ann).await, &app.issuer.factors);
    let (carried, codes) = begin(&app, &live).await;
    app.pass(FRESH + SECOND).await;
    let (code, browser) = (app.code(&codes), secret("browser"));
    let (own, tokens) = (&factors.own, &factors.own_tokens);
    let refusals = [
        own.begin_totp(&live, &HERE).await.map(drop),
        own.pending_totp(&live, carried.clone(), &HERE).await.map(drop),
        own.confirm_totp(&live, &carried, "phone", &code, &HERE).await.map(drop),
        own.remove_own_factor(&live, &ann.app, &HERE).await,
        tokens.make_own_recovery_codes(&live, &HERE).await.map(drop),
        tokens.take_own_token(&live, "4711", &secret("123456"), "", &HERE).await.map(drop),
        factors.own_keys.begin_key(&live, &browser, &HERE).await.map(drop),
    ];
    for (place, refused) in refusals.into_iter().enumerate() {
        assert!(matches!(refused, Err(SelfServiceError::StepUpNeeded)), "{place}: {refused:?}");
    }
    assert_eq!(app.reasons("factor.changed").await, ["-", "step_up_needed"], "told once");
    own.rename_own_factor(&live, &ann.app, "old phone", &HERE).await.unwrap();
}

#[tokio::test]
async fn nobody_removes_their_last_factor_or_anybody_elses() {
    let (app, ann) = stage().await;
    let bob = app.person("bob").await;
    let (live, own) = (app.fresh(&ann).await, &app.issuer.factors.own);
    for refused in [
        own.remove_own_factor(&live, &bob.app, &HERE).await,
        own.rename_own_factor(&live, &bob.app, "mine", &HERE).await,
        own.own_factor(&live, &bob.app).await.map(drop),
    ] {
        assert!(matches!(refused, Err(SelfServiceError::Missing)));
    }
    app.issuer.factors.own_tokens.make_own_recovery_codes(&live, &HERE).await.unwrap();
    let last = own.remove_own_factor(&live, &ann.app, &HERE).await;
    assert!(matches!(last, Err(SelfServiceError::Input(_))), "recovery codes are no factor to go on with");
    app.add_totp("ann").await;
    own.remove_own_factor(&live, &ann.app, &HERE).await.unwrap();
    assert!(app.issuer.factors.lifecycle.find_factor(&bob.app).await.is_ok());
}

#[tokio::test]
async fn recovery_codes_are_made_once_and_counted() {
    let (app, ann) = stage().await;
    let (live, tokens) = (app.fresh(&ann).await, &app.issuer.factors.own_tokens);
    let made = tokens.make_own_recovery_codes(&live, &HERE).await.unwrap();
    assert_eq!(tokens.own_recovery_codes_left(&made.factor).await.unwrap(), Some(10));
    let again = tokens.make_own_recovery_codes(&live, &HERE).await;
    assert!(matches!(again, Err(SelfServiceError::Input(_))));
    let app_factor = app.issuer.factors.own.own_factor(&live, &ann.app).await.unwrap();
    assert_eq!(tokens.own_recovery_codes_left(&app_factor).await.unwrap(), None);
}

/// A session that was ended between page and click changes nothing.
#[tokio::test]
async fn a_session_that_is_over_adds_nothing() {
    let (app, ann) = stage().await;
    let (live, own) = (app.fresh(&ann).await, &app.issuer.factors.own);
    let (carried, codes) = begin(&app, &live).await;
    app.issuer.sessions.sign_out_everywhere(&live, &HERE).await.unwrap();
    let refused = own.confirm_totp(&live, &carried, "phone", &app.code(&codes), &HERE).await;
    assert!(matches!(refused, Err(SelfServiceError::Input(_))));
    app.add_totp("ann").await;
    let refused = own.remove_own_factor(&live, &ann.app, &HERE).await;
    assert!(matches!(refused, Err(SelfServiceError::SessionOver)));
    let refused = app.issuer.factors.own_tokens.make_own_recovery_codes(&live, &HERE).await;
    assert!(refused.is_err());
    assert_eq!(app.issuer.factors.lifecycle.list_factors("ann").await.unwrap().len(), 2);
}
