//! A person's own password.

use std::time::Duration;

use signet_core::mfa::Lockout;
use signet_core::secret::SecretText;
use signet_service::factors::own::SelfServiceError;
use signet_service::sessions::{FRESH, LiveSession};

use crate::support::people::{PASSWORD, Person, STEP, shown};
use crate::support::{InProcess, context};

const NEW: &str = "another good password";

async fn live(app: &InProcess, person: &Person) -> LiveSession {
    let secret = app.session(person).await;
    app.issuer.sessions.live_session(&secret).await.unwrap().unwrap()
}

async fn change(app: &InProcess, live: &LiveSession, new: &str) -> Result<(), SelfServiceError> {
    app.issuer.own_password.change(live, &SecretText::new(new.to_owned()), &context()).await
}

#[tokio::test]
async fn a_person_changes_the_password_after_a_fresh_proof_alone() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let session = live(&app, &ann).await;
    assert!(app.issuer.factors.own.may_change(&session).await.is_ok());
    app.pass(FRESH + Duration::from_secs(1)).await;
    assert!(matches!(app.issuer.factors.own.may_change(&session).await, Err(SelfServiceError::StepUpNeeded)));
    assert!(matches!(change(&app, &session, NEW).await, Err(SelfServiceError::StepUpNeeded)));
    let fresh = live(&app, &ann).await;
    for bad in ["short", PASSWORD] {
        assert!(matches!(change(&app, &fresh, bad).await, Err(SelfServiceError::Input(_))), "{bad}");
    }
    change(&app, &fresh, NEW).await.unwrap();
    assert!(matches!(change(&app, &fresh, "and once more than that").await, Err(SelfServiceError::SessionOver)));
    assert!(app.issuer.sessions.sessions_of(&ann.user.id).await.unwrap().is_empty(), "all sessions are over");
    let code = app.next_code(&ann).await;
    let by_old = app.issuer.sessions.begin_session(&shown("ann", PASSWORD, &code), None, &context()).await;
    assert!(by_old.is_err());
    app.issuer.sessions.begin_session(&shown("ann", NEW, &code), None, &context()).await.unwrap();
}

/// Whoever knew the old password has locked nothing any more.
#[tokio::test]
async fn a_changed_password_ends_what_others_tried_with_the_old_one() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let session = live(&app, &ann).await;
    let wrong = shown("ann", PASSWORD, &app.wrong_code(&ann));
    for _ in 0..Lockout::DEFAULT.tries {
        app.issuer.sessions.begin_session(&wrong, None, &context()).await.unwrap_err();
    }
    change(&app, &session, NEW).await.unwrap();
    assert_eq!(app.issuer.sign_in.tries.noticed(&ann.user.id).await.unwrap(), []);
    app.pass(STEP).await;
    let code = app.next_code(&ann).await;
    app.issuer.sessions.begin_session(&shown("ann", NEW, &code), None, &context()).await.unwrap();
}
