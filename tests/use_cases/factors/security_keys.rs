//! Security keys: enrolled by their owner, shown beside the password or alone.

use std::time::Duration;

use signet_core::audit::RequestContext;
use signet_core::mfa::webauthn::PATIENCE;
use signet_core::secret::SecretText;
use signet_service::SignInError;
use signet_service::factors::own::SelfServiceError;
use signet_service::sessions::LiveSession;
use signet_service::sign_in::security_keys::KeyAnswer;

use crate::support::InProcess;
use crate::support::people::{PASSWORD, Person, secret};
use crate::support::security_key::SecurityKey;

const HERE: RequestContext = RequestContext::NONE;
const ORIGIN: &str = "https://signet.example";

async fn stage() -> (InProcess, Person) {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    (app, ann)
}

fn browser() -> SecretText {
    secret("what the browser holds")
}

/// Enrols a key; returns it.
async fn enrol(app: &InProcess, live: &LiveSession) -> SecurityKey {
    let (mut key, keys) = (SecurityKey::new(ORIGIN), &app.issuer.factors.own_keys);
    let asked = keys.begin_key(live, &browser(), &HERE).await.unwrap();
    let answer = secret(&key.make(&asked.options, None));
    let answer = KeyAnswer { browser: browser(), carried: asked.carried, answer };
    keys.confirm_key(live, &answer, "key", &HERE).await.unwrap();
    key
}

/// Asks for a key and has it answer.
async fn show(app: &InProcess, key: &mut SecurityKey, name: Option<&str>) -> KeyAnswer {
    let name = name.map(secret);
    let asked = app.issuer.sign_in.security_keys.ask_for_key(&browser(), name.as_ref()).await.unwrap();
    KeyAnswer { browser: browser(), answer: secret(&key.show(&asked.options)), carried: asked.carried }
}

async fn sign_in(app: &InProcess, name: &str, password: &str, shown: &KeyAnswer) -> Result<SecretText, SignInError> {
    app.issuer.sessions.begin_session_by_key(&secret(name), &secret(password), shown, None, &HERE).await
}

#[tokio::test]
async fn a_key_signs_in_beside_the_password_and_alone() {
    let (app, ann) = stage().await;
    let live = app.fresh(&ann).await;
    let mut key = enrol(&app, &live).await;
    assert!(app.issuer.sign_in.security_keys.offers_keys());
    let answer = show(&app, &mut key, Some("ann")).await;
    let session = sign_in(&app, "ann", PASSWORD, &answer).await.unwrap();
    assert_eq!(sign_in(&app, "ann", PASSWORD, &answer).await.unwrap_err(), SignInError::Refused, "a second time");
    let answer = show(&app, &mut key, None).await;
    sign_in(&app, "", "", &answer).await.unwrap();
    let live = app.live(&session).await.unwrap();
    for (name, password) in [(Some("ann"), PASSWORD), (None, "")] {
        let (answer, live) = (show(&app, &mut key, name).await, live.clone());
        let renewed = app.issuer.sessions.step_up_by_key(&live, &secret(password), &answer, &HERE).await;
        // The first step-up gave the session another secret.
        assert_eq!(renewed.is_ok(), name.is_some());
    }
}

#[tokio::test]
async fn a_challenge_is_answered_within_five_minutes_for_the_name_and_browser_that_asked() {
    let (app, ann) = stage().await;
    let live = app.fresh(&ann).await;
    let mut key = enrol(&app, &live).await;
    let late = show(&app, &mut key, Some("ann")).await;
    let late_alone = show(&app, &mut key, None).await;
    app.pass(PATIENCE + Duration::from_secs(1)).await;
    let elsewhere = KeyAnswer { browser: secret("another"), ..show(&app, &mut key, Some("ann")).await };
    let other_name = show(&app, &mut key, Some("bob")).await;
    let wrong_password = show(&app, &mut key, Some("ann")).await;
    for (name, password, answer, reason) in [
        ("ann", PASSWORD, late, "wrong_challenge"),
        ("", "", late_alone, "key alone wrong_challenge"),
        ("ann", PASSWORD, elsewhere, "wrong_challenge"),
        ("ann", PASSWORD, other_name, "wrong_challenge"),
        ("ann", "wrong", wrong_password, "wrong_password"),
    ] {
        assert_eq!(sign_in(&app, name, password, &answer).await.unwrap_err(), SignInError::Refused, "{reason}");
        let told = app.reasons("sign_in").await;
        assert!(reason.ends_with(told.last().unwrap()), "{reason}: {told:?}");
    }
    let in_time = show(&app, &mut key, Some("ann")).await;
    app.pass(PATIENCE).await;
    sign_in(&app, "ann", PASSWORD, &in_time).await.unwrap();
}

/// Two keys with one secret: the counter of the one goes back.
#[tokio::test]
async fn a_counter_that_goes_back_is_refused_and_told() {
    let (app, ann) = stage().await;
    let live = app.fresh(&ann).await;
    let mut key = enrol(&app, &live).await;
    let answer = show(&app, &mut key, Some("ann")).await;
    sign_in(&app, "ann", PASSWORD, &answer).await.unwrap();
    key.counter = 1;
    let answer = show(&app, &mut key, Some("ann")).await;
    assert_eq!(sign_in(&app, "ann", PASSWORD, &answer).await.unwrap_err(), SignInError::Refused);
    assert!(app.reasons("sign_in").await.last().unwrap().contains("counter"));
}

#[tokio::test]
async fn a_key_is_enrolled_within_five_minutes_and_once() {
    let (app, ann) = stage().await;
    let (live, keys) = (app.fresh(&ann).await, &app.issuer.factors.own_keys);
    let mut key = SecurityKey::new(ORIGIN);
    let asked = keys.begin_key(&live, &browser(), &HERE).await.unwrap();
    let made = key.make(&asked.options, None);
    let answer = || KeyAnswer { browser: browser(), carried: asked.carried.clone(), answer: secret(&made) };
    keys.confirm_key(&live, &answer(), "key", &HERE).await.unwrap();
    let live = app.live(&show_and_step_up(&app, &live, &mut key).await).await.unwrap();
    assert!(matches!(keys.confirm_key(&live, &answer(), "key", &HERE).await, Err(SelfServiceError::Input(_))));
    let late = keys.begin_key(&live, &browser(), &HERE).await.unwrap();
    let answer = secret(&SecurityKey::new(ORIGIN).make(&late.options, None));
    let answer = KeyAnswer { browser: browser(), carried: late.carried, answer };
    app.pass(PATIENCE - Duration::from_secs(60)).await;
    let live = app.live(&show_and_step_up(&app, &live, &mut key).await).await.unwrap();
    app.pass(Duration::from_secs(61)).await;
    let refused = keys.confirm_key(&live, &answer, "another key", &HERE).await;
    assert!(matches!(refused, Err(SelfServiceError::Input(text)) if text.contains("too long")));
}

async fn show_and_step_up(app: &InProcess, live: &LiveSession, key: &mut SecurityKey) -> SecretText {
    let answer = show(app, key, Some("ann")).await;
    app.issuer.sessions.step_up_by_key(live, &secret(PASSWORD), &answer, &HERE).await.unwrap()
}

/// Who has a key changes factors by the key: a session by an app's code is not strong enough any more.
#[tokio::test]
async fn who_has_a_key_changes_factors_by_it_alone() {
    let (app, ann) = stage().await;
    let live = app.fresh(&ann).await;
    let mut key = enrol(&app, &live).await;
    let own = &app.issuer.factors.own;
    assert!(matches!(own.begin_totp(&live, &HERE).await, Err(SelfServiceError::StrongerNeeded)));
    assert_eq!(app.reasons("factor.changed").await.last().unwrap(), "stronger_step_up_needed");
    let live = app.live(&show_and_step_up(&app, &live, &mut key).await).await.unwrap();
    own.begin_totp(&live, &HERE).await.unwrap();
}

/// As many keys are listed for everybody: an unknown name's look like a known one's.
#[tokio::test]
async fn an_unknown_name_is_asked_for_keys_too_and_for_the_same_each_time() {
    let (app, ann) = stage().await;
    let live = app.fresh(&ann).await;
    enrol(&app, &live).await;
    let listed = async |name: &str| {
        let asked = app.issuer.sign_in.security_keys.ask_for_key(&browser(), Some(&secret(name))).await.unwrap();
        asked.options["publicKey"]["allowCredentials"].clone()
    };
    let (known, unknown) = (listed("ann").await, listed("nobody").await);
    assert_eq!(known.as_array().unwrap().len(), unknown.as_array().unwrap().len());
    assert_eq!(unknown, listed("nobody").await);
    assert_ne!(unknown, listed("somebody").await);
}
