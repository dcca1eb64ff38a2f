//! Who a person is: password and factor judged together.

use signet_core::audit::RequestContext;
use signet_core::mfa::Credentials;
use signet_core::mfa::Lockout;
use signet_core::oauth::ClientId;
use signet_service::sign_in::Surface;
use signet_service::{SignInError, Unavailable};

use crate::support::InProcess;
use crate::support::people::{PASSWORD, shown};

async fn sign_in(app: &InProcess, request: &Credentials) -> Result<Vec<String>, SignInError> {
    let (client, context) = (ClientId::new("app"), RequestContext::default());
    let (authentication, _) = app.issuer.sign_in.authenticate(request, Surface::Client(&client), &context).await?;
    Ok(authentication.amr())
}

#[tokio::test]
async fn password_and_code_together_prove_who_somebody_is() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let request = app.right(&ann).await;
    assert_eq!(sign_in(&app, &request).await.unwrap(), ["pwd", "otp", "mfa"]);
    assert_eq!(app.reasons("sign_in").await, ["-"]);
}

/// One answer for whatever is wrong; the audit record alone says what it was.
#[tokio::test]
async fn whatever_is_wrong_is_answered_alike_and_told_apart_in_the_audit_log() {
    let app = InProcess::new().await;
    let (ann, carl) = (app.person("ann").await, app.person("carl").await);
    app.user("bob").await;
    app.issuer.accounts.enable_user("carl", false, &RequestContext::default()).await.unwrap();
    let (right, wrong) = (app.next_code(&ann).await, app.wrong_code(&ann));
    let cases = [
        (shown("nobody", PASSWORD, &right), "unknown_user"),
        (shown("ann", "another password", &right), "wrong_password"),
        (shown("ann", PASSWORD, &wrong), "wrong_code"),
        (shown("ann", PASSWORD, ""), "wrong_code"),
        (shown("ann", "another password", &wrong), "wrong_password"),
        (shown("bob", PASSWORD, &right), "no_factor"),
        (shown("carl", PASSWORD, &app.code(&carl.codes)), "disabled"),
    ];
    for (request, reason) in cases {
        assert_eq!(sign_in(&app, &request).await, Err(SignInError::Refused), "{reason}");
        assert_eq!(app.reasons("sign_in").await.last().unwrap(), reason);
    }
    sign_in(&app, &shown("ann", PASSWORD, &right)).await.unwrap();
}

/// The HSM tokens are asked for the same, in the same order, whatever is wrong.
#[tokio::test]
async fn whatever_is_wrong_the_hsm_does_the_same_work() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    app.user("bob").await;
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
    let code = app.next_code(&ann).await;
    let mut work = Vec::new();
    for (name, password, code) in [
        ("nobody", PASSWORD, &*code),
        ("ann", "another password", &code),
        ("ann", PASSWORD, &app.wrong_code(&ann)),
        ("bob", PASSWORD, &code),
        ("ann", PASSWORD, &code),
    ] {
        app.hsms.take_asked();
        let _ = sign_in(&app, &shown(name, password, code)).await;
        work.push(app.hsms.take_asked());
    }
    assert!(!work[0].is_empty() && work.iter().all(|asked| *asked == work[0]), "{work:?}");
}

#[tokio::test]
async fn a_code_is_good_once() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let request = app.right(&ann).await;
    sign_in(&app, &request).await.unwrap();
    assert_eq!(sign_in(&app, &request).await, Err(SignInError::Refused));
    assert_eq!(app.reasons("sign_in").await, ["-", "replayed_code"]);
}

/// Ten tries, each counted before it is judged; a right one among the last is not even looked at. An hour later they are
/// back.
#[tokio::test]
async fn ten_tries_are_judged_and_the_pause_gives_them_back() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let wrong = shown("ann", PASSWORD, &app.wrong_code(&ann));
    for _ in 0..Lockout::DEFAULT.tries {
        assert_eq!(sign_in(&app, &wrong).await, Err(SignInError::Refused));
    }
    let right = app.right(&ann).await;
    let Err(SignInError::TooManyTries { retry_after }) = sign_in(&app, &right).await else {
        panic!("the eleventh was judged")
    };
    assert_eq!(app.reasons("sign_in").await.last().unwrap(), "too_many_tries");
    app.pass(retry_after - std::time::Duration::from_secs(60)).await;
    assert!(matches!(sign_in(&app, &right).await, Err(SignInError::TooManyTries { .. })), "a minute too early");
    app.pass(Lockout::DEFAULT.pause).await;
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
}

/// However it is spelt, a name is one person's, and spelling it in another way gives no further try. Nor does it for a name
/// that is nobody's.
#[tokio::test]
async fn a_name_in_another_spelling_signs_in_and_has_the_same_tries() {
    let app = InProcess::new().await;
    let ann = app.person("Ánn").await;
    for name in ["Ánn", "ánn", "A\u{301}NN"] {
        let code = app.next_code(&ann).await;
        sign_in(&app, &shown(name, PASSWORD, &code)).await.unwrap();
    }
    let taken = app.issuer.accounts.find_user("áNN").await.unwrap();
    assert_eq!((taken.id, &*taken.name), (ann.user.id.clone(), "Ánn"));
    for (spellings, code) in [(["Ánn", "ánN"], app.wrong_code(&ann)), (["Nobody", "nobodY"], "000000".to_owned())] {
        for number in 0..Lockout::DEFAULT.tries {
            let wrong = shown(spellings[number as usize % 2], PASSWORD, &code);
            assert_eq!(sign_in(&app, &wrong).await, Err(SignInError::Refused));
        }
        for name in spellings {
            let refused = sign_in(&app, &shown(name, PASSWORD, &code)).await;
            assert!(matches!(refused, Err(SignInError::TooManyTries { .. })), "{name}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_name_has_as_many_tries_as_a_known_one() {
    let app = InProcess::new().await;
    for _ in 0..Lockout::DEFAULT.tries {
        assert_eq!(sign_in(&app, &shown("nobody", PASSWORD, "123456")).await, Err(SignInError::Refused));
    }
    let refused = sign_in(&app, &shown("nobody", PASSWORD, "123456")).await;
    assert!(matches!(refused, Err(SignInError::TooManyTries { .. })));
}

#[tokio::test]
async fn a_success_gives_all_tries_back() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    for _ in 0..2 {
        let wrong = shown("ann", PASSWORD, &app.wrong_code(&ann));
        for _ in 1..Lockout::DEFAULT.tries {
            assert_eq!(sign_in(&app, &wrong).await, Err(SignInError::Refused));
        }
        let right = app.right(&ann).await;
        sign_in(&app, &right).await.unwrap();
    }
}

/// An outage locks nobody out.
#[tokio::test]
async fn a_try_without_a_verdict_is_not_counted() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
    app.hsms.go_away("a");
    for _ in 0..2 * Lockout::DEFAULT.tries {
        assert_eq!(sign_in(&app, &right).await, Err(SignInError::Unavailable(Unavailable)));
    }
    app.hsms.recover("a");
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
}

#[tokio::test]
async fn an_operator_unlocks_an_account() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let wrong = shown("ann", PASSWORD, &app.wrong_code(&ann));
    for _ in 0..=Lockout::DEFAULT.tries {
        sign_in(&app, &wrong).await.unwrap_err();
    }
    let locked = app.issuer.accounts.locked_accounts().await.unwrap();
    assert!(locked.iter().any(|(_, user)| user.as_ref() == Some(&ann.user)));
    assert!(app.issuer.accounts.unlock_user("ann", &crate::support::context()).await.unwrap());
    assert!(app.issuer.accounts.locked_accounts().await.unwrap().is_empty());
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
}

/// A factor that is disabled, or whose time is over, is as good as none.
#[tokio::test]
async fn a_factor_counts_while_it_is_enabled() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let (lifecycle, operator) = (&app.issuer.factors.lifecycle, crate::support::context());
    lifecycle.enable_factor(&ann.app, false, &operator).await.unwrap();
    let request = app.right(&ann).await;
    assert_eq!(sign_in(&app, &request).await, Err(SignInError::Refused));
    assert_eq!(app.reasons("sign_in").await, ["no_factor"]);
    lifecycle.enable_factor(&ann.app, true, &operator).await.unwrap();
    let request = app.right(&ann).await;
    sign_in(&app, &request).await.unwrap();
}
