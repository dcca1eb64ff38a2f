//! How long a browser's sign-in holds.

use std::time::Duration;

use signet_core::audit::RequestContext;
use signet_core::settings::PolicyWords;
use signet_service::sessions::{FRESH, IDLE, LONGEST};
use signet_service::{ChangeError, SignInError};
use signet_store::UserId;

use crate::support::people::{PASSWORD, secret};
use crate::support::{InProcess, context};

const SECOND: Duration = Duration::from_secs(1);
const HERE: RequestContext = RequestContext::NONE;

#[tokio::test]
async fn a_session_ends_after_fifteen_minutes_without_use() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let session = app.session(&ann).await;
    for _ in 0..3 {
        app.pass(IDLE - SECOND).await;
        assert!(app.live(&session).await.is_some(), "it is in use");
    }
    app.pass(IDLE + SECOND).await;
    assert!(app.live(&session).await.is_none());
}

#[tokio::test]
async fn a_session_ends_after_twelve_hours_however_much_it_is_used() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let session = app.session(&ann).await;
    let step = Duration::from_secs(600);
    for _ in 0..LONGEST.as_secs() / step.as_secs() - 1 {
        app.pass(step).await;
        assert!(app.live(&session).await.is_some());
    }
    app.pass(step).await;
    assert!(app.live(&session).await.is_none());
}

#[tokio::test]
async fn a_proof_is_fresh_for_five_minutes_and_a_step_up_renews_it() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let first = app.session(&ann).await;
    let live = app.live(&first).await.unwrap();
    app.pass(FRESH).await;
    assert!(live.is_fresh(app.now()));
    app.pass(SECOND).await;
    assert!(!live.is_fresh(app.now()));
    app.set_clock(live.session.auth_time.minus(SECOND));
    assert!(!live.is_fresh(app.now()), "a proof from the future is none");
    app.set_clock(live.session.auth_time.plus(FRESH + SECOND));
    let code = app.next_code(&ann).await;
    let second = app.issuer.sessions.step_up(&live, secret(PASSWORD), secret(&code), &HERE).await.unwrap();
    assert!(app.live(&first).await.is_none(), "the old secret holds no more");
    let live = app.live(&second).await.unwrap();
    assert!(live.is_fresh(app.now()));
    assert_eq!(app.reasons("session.renewed").await, ["-"]);
}

#[tokio::test]
async fn a_step_up_of_a_session_that_ended_meanwhile_is_refused() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let live = app.fresh(&ann).await;
    assert!(app.issuer.sessions.end_session(&live, &live.session.id, &HERE).await.unwrap());
    let code = app.next_code(&ann).await;
    let refused = app.issuer.sessions.step_up(&live, secret(PASSWORD), secret(&code), &HERE).await;
    assert_eq!(refused.unwrap_err(), SignInError::Refused);
}

#[tokio::test]
async fn a_sign_in_ends_the_session_that_the_browser_had() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let first = app.session(&ann).await;
    let earlier = app.live(&first).await.unwrap();
    let request = app.right(&ann).await;
    let second = app.issuer.sessions.begin_session(&request, Some(&earlier), &HERE).await.unwrap();
    assert!(app.live(&first).await.is_none() && app.live(&second).await.is_some());
    assert_eq!(app.issuer.sessions.list_sessions(&app.live(&second).await.unwrap()).await.unwrap().len(), 1);
}

/// What ends every session of a user at once.
#[tokio::test]
async fn sessions_end_with_what_they_stand_on() {
    for what in ["disabled", "password", "factor", "removed"] {
        let app = InProcess::new().await;
        let ann = app.person("ann").await;
        let session = app.session(&ann).await;
        let (accounts, operator) = (&app.issuer.accounts, context());
        match what {
            "disabled" => accounts.enable_user("ann", false, &operator).await.unwrap(),
            "password" => accounts.set_password("ann", &secret("another password"), &operator).await.unwrap(),
            "factor" => app.issuer.factors.lifecycle.remove_factor(&ann.app, &operator).await.unwrap(),
            _ => accounts.remove_user("ann", &operator).await.unwrap(),
        }
        assert!(app.live(&session).await.is_none(), "{what}");
    }
}

#[tokio::test]
async fn a_session_is_ended_by_its_own_user_alone() {
    let app = InProcess::new().await;
    let (ann, bob) = (app.person("ann").await, app.person("bob").await);
    let (anns, bobs) = (app.fresh(&ann).await, app.fresh(&bob).await);
    assert!(!app.issuer.sessions.end_session(&bobs, &anns.session.id, &HERE).await.unwrap());
    assert_eq!(app.issuer.sessions.list_sessions(&anns).await.unwrap().len(), 1);
    assert!(app.issuer.sessions.end_session(&anns, &anns.session.id, &HERE).await.unwrap());
    assert!(app.issuer.sessions.list_sessions(&anns).await.unwrap().is_empty());
}

#[tokio::test]
async fn signing_out_everywhere_ends_all_sessions_and_refresh_families() {
    let app = InProcess::new().await;
    let (ann, client) = (app.person("ann").await, app.client("app").await);
    let tokens = app.family(&client, &ann).await;
    let (first, second) = (app.session(&ann).await, app.session(&ann).await);
    let live = app.live(&second).await.unwrap();
    app.issuer.sessions.sign_out_everywhere(&live, &HERE).await.unwrap();
    assert!(app.live(&first).await.is_none() && app.live(&second).await.is_none());
    assert!(app.refresh(&client, &tokens.refresh_token.unwrap()).await.is_err());
}

#[tokio::test]
async fn an_operator_sees_a_persons_sessions_and_ends_one_or_all() {
    let app = InProcess::new().await;
    let (ann, bob, client) = (app.person("ann").await, app.person("bob").await, app.client("app").await);
    let tokens = app.family(&client, &ann).await;
    let (first, second, bobs) = (app.fresh(&ann).await, app.session(&ann).await, app.fresh(&bob).await);
    let sessions = &app.issuer.sessions;
    assert_eq!(sessions.sessions_of(&first.user.id).await.unwrap().len(), 2);
    let (anns, id) = (&first.user.id, first.session.id.as_str());
    let missing = ChangeError::Missing { noun: "session", name: id.to_owned() };
    assert_eq!(sessions.end_session_of(&bobs.user.id, id, &context()).await, Err(missing.clone()));
    sessions.end_session_of(anns, id, &context()).await.unwrap();
    assert_eq!(sessions.end_session_of(anns, id, &context()).await, Err(missing));
    assert!(app.live(&second).await.is_some());
    sessions.sign_out(anns, &context()).await.unwrap();
    assert!(app.live(&second).await.is_none());
    assert!(app.refresh(&client, &tokens.refresh_token.unwrap()).await.is_err());
    assert_eq!(sessions.sessions_of(&bobs.user.id).await.unwrap().len(), 1);
    assert!(sessions.sign_out(&UserId::new("none"), &context()).await.is_err());
}

/// A sign-in that the policy finds too weak begins nothing.
#[tokio::test]
async fn a_sign_in_that_is_too_weak_for_the_pages_begins_no_session() {
    let policy = PolicyWords { require: vec!["webauthn".to_owned()], ..PolicyWords::default() };
    let app = InProcess::with(|setup| setup.document.policy = Some(policy)).await;
    let ann = app.person("ann").await;
    let request = app.right(&ann).await;
    let refused = app.issuer.sessions.begin_session(&request, None, &HERE).await;
    assert_eq!(refused.unwrap_err(), SignInError::TooWeak);
    assert_eq!(app.reasons("session.started").await, ["sign_in_too_weak"]);
}

#[tokio::test]
async fn a_form_carries_the_token_of_its_own_browser() {
    let app = InProcess::new().await;
    let sessions = &app.issuer.sessions;
    let (one, other) = (sessions.new_session_secret(), sessions.new_session_secret());
    let token = sessions.form_token(&one).await.unwrap();
    assert!(sessions.is_form_token(&one, &token).await.unwrap());
    assert!(!sessions.is_form_token(&other, &token).await.unwrap());
    assert!(!sessions.is_form_token(&one, "").await.unwrap());
    let restarted = app.another_process();
    assert!(restarted.issuer().sessions.is_form_token(&one, &token).await.unwrap(), "a restart breaks no form");
}
