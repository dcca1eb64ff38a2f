//! Who a person is: password and factor judged together.

use std::future::poll_fn;
use std::task::Poll;

use signet_core::audit::RequestContext;
use signet_core::mfa::Credentials;
use signet_core::mfa::Lockout;
use signet_core::mfa::lockout::{Locked, NoticedOf};
use signet_core::oauth::ClientId;
use signet_core::secret::SecretText;
use signet_service::sign_in::Surface;
use signet_service::{SignInError, Unavailable};

use crate::support::InProcess;
use crate::support::people::{PASSWORD, STEP, shown};

async fn sign_in(app: &InProcess, request: &Credentials) -> Result<Vec<String>, SignInError> {
    let (client, context) = (ClientId::new("app"), RequestContext::default());
    let (authentication, _) = app.issuer.sign_in.authenticate(request, Surface::Client(client), &context).await?;
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
        (shown("ann", "another password", &wrong), "wrong_halves"),
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

/// Ten wrong codes beside the right password lock the digits for an hour, and a right one meanwhile is spent and answered like a
/// wrong one.
#[tokio::test]
async fn ten_wrong_codes_lock_the_digits_and_the_pause_gives_them_back() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let wrong = shown("ann", PASSWORD, &app.wrong_code(&ann));
    for _ in 0..Lockout::DEFAULT.tries {
        assert_eq!(sign_in(&app, &wrong).await, Err(SignInError::Refused));
    }
    let right = app.right(&ann).await;
    assert_eq!(sign_in(&app, &right).await, Err(SignInError::Refused));
    assert_eq!(app.reasons("sign_in").await.last().unwrap(), "too_many_tries");
    app.pass(Lockout::DEFAULT.pause - 3 * STEP).await;
    let early = app.right(&ann).await;
    assert_eq!(sign_in(&app, &early).await, Err(SignInError::Refused), "a minute too early");
    app.pass(STEP).await;
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
}

/// Whoever holds neither half of a person's proof shuts nobody out, however often they try, and whatever they show.
#[tokio::test]
async fn promise_10_whoever_holds_neither_half_shuts_nobody_out() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let wrong = app.wrong_code(&ann);
    for round in 0..120 {
        let code = [&*wrong, "", "cccccccccccbcccccccccccccccccccccccccccccccc", "0000-1111-2222-3333"][round % 4];
        assert_eq!(sign_in(&app, &shown("ann", "made up", code)).await, Err(SignInError::Refused));
        assert_eq!(sign_in(&app, &shown("", "", "")).await, Err(SignInError::Refused));
    }
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
    assert_eq!(app.issuer.sign_in.tries.noticed(&ann.user.id).await.unwrap(), []);
}

/// Whoever knows the password alone can't shut what nobody guesses: recovery codes, keys and cards.
#[tokio::test]
async fn promise_10_whoever_knows_the_password_shuts_the_digits_alone() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let made = app.issuer.factors.recovery.make_recovery_codes("ann", &crate::support::context()).await.unwrap();
    let wrong = app.wrong_code(&ann);
    for round in 0..60 {
        let code = [&*wrong, "cccccccccccbcccccccccccccccccccccccccccccccc", "0000-1111-2222-3333"][round % 3];
        assert_eq!(sign_in(&app, &shown("ann", PASSWORD, code)).await, Err(SignInError::Refused));
    }
    let right = app.right(&ann).await;
    assert_eq!(sign_in(&app, &right).await, Err(SignInError::Refused));
    sign_in(&app, &shown("ann", PASSWORD, made.codes[0].expose())).await.unwrap();
    let noticed = app.issuer.sign_in.tries.noticed(&ann.user.id).await.unwrap();
    let [noticed] = noticed.as_slice() else { panic!("{noticed:?}") };
    assert_eq!((&noticed.of, noticed.failures), (&NoticedOf::Codes, Lockout::DEFAULT.tries));
}

/// A thief of a token who guesses passwords has ten tries, shuts that token alone, and moves no counter: a code is spent only beside
/// the right password.
#[tokio::test]
async fn promise_10_wrong_passwords_beside_a_right_code_shut_that_factor_and_spend_nothing() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let code = app.next_code(&ann).await;
    for number in 0..Lockout::DEFAULT.tries {
        assert_eq!(sign_in(&app, &shown("ann", &format!("guess {number}"), &code)).await, Err(SignInError::Refused));
    }
    assert_eq!(sign_in(&app, &shown("ann", PASSWORD, &code)).await, Err(SignInError::Refused), "it is shut");
    let noticed = app.issuer.sign_in.tries.noticed(&ann.user.id).await.unwrap();
    let [noticed] = noticed.as_slice() else { panic!("{noticed:?}") };
    assert_eq!(noticed.of, NoticedOf::Passwords(ann.app.clone()));
    app.pass(Lockout::DEFAULT.pause).await;
    let code = app.next_code(&ann).await;
    assert_eq!(sign_in(&app, &shown("ann", "a guess", &code)).await, Err(SignInError::Refused));
    sign_in(&app, &shown("ann", PASSWORD, &code)).await.unwrap();
}

/// A hundred that the person has not answered for lock for good; the answer, or an operator, ends that.
#[tokio::test]
async fn a_hundred_unanswered_failures_wait_for_the_person_or_an_operator() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let (tries, operator) = (&app.issuer.sign_in.tries, crate::support::context());
    let wrong = shown("ann", PASSWORD, &app.wrong_code(&ann));
    let exhaust = async || {
        for _ in 0..10 {
            for _ in 0..Lockout::DEFAULT.tries {
                assert_eq!(sign_in(&app, &wrong).await, Err(SignInError::Refused));
            }
            app.pass(Lockout::DEFAULT.pause).await;
        }
        let right = app.right(&ann).await;
        assert_eq!(sign_in(&app, &right).await, Err(SignInError::Refused), "however long they wait");
    };
    exhaust().await;
    assert!(!tries.answer(&ann.user, 99, &operator).await.unwrap(), "that was another number");
    assert!(tries.answer(&ann.user, 100, &operator).await.unwrap());
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
    exhaust().await;
    let failures = app.issuer.accounts.failures(None, 10).await.unwrap();
    let [(id, name, noticed)] = failures.as_slice() else { panic!("{failures:?}") };
    assert_eq!((id, name.as_str(), noticed[0].locked), (&ann.user.id, "ann", Some(Locked::UntilAnswered)));
    assert!(app.issuer.accounts.unlock_user("ann", &operator).await.unwrap());
    assert!(!app.issuer.accounts.unlock_user("ann", &operator).await.unwrap());
    let right = app.right(&ann).await;
    sign_in(&app, &right).await.unwrap();
}

/// Another password ends what somebody tried with the old one.
#[tokio::test]
async fn a_new_password_forgets_what_was_tried_with_the_old_one() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let wrong = shown("ann", PASSWORD, &app.wrong_code(&ann));
    for _ in 0..Lockout::DEFAULT.tries {
        assert_eq!(sign_in(&app, &wrong).await, Err(SignInError::Refused));
    }
    let new = SecretText::new("another good password".to_owned());
    app.issuer.accounts.set_password("ann", &new, &crate::support::context()).await.unwrap();
    let code = app.next_code(&ann).await;
    sign_in(&app, &shown("ann", new.expose(), &code)).await.unwrap();
}

/// A caller who hangs up does not cut the verdict off: the failure is counted and told.
#[tokio::test]
async fn hazard_95_a_sign_in_whose_caller_is_gone_is_judged_settled_and_told() {
    let app = InProcess::new().await;
    let ann = app.person("ann").await;
    let wrong = shown("ann", PASSWORD, &app.wrong_code(&ann));
    for polls in 1..=Lockout::DEFAULT.tries {
        let mut asked = Box::pin(sign_in(&app, &wrong));
        for _ in 0..polls {
            let polled = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await;
            assert!(polled.is_pending(), "a verdict takes longer");
            tokio::task::yield_now().await;
        }
        drop(asked);
    }
    let noticed = async || {
        let noticed = app.issuer.sign_in.tries.noticed(&ann.user.id).await.unwrap();
        noticed.first().map_or(0, |noticed| noticed.failures)
    };
    while noticed().await < Lockout::DEFAULT.tries {
        tokio::task::yield_now().await;
    }
    assert_eq!(app.reasons("sign_in").await, ["wrong_code"]);
}

/// However it is spelt, a name is one person's, and spelling it in another way gives no further try.
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
    let wrong = app.wrong_code(&ann);
    for number in 0..Lockout::DEFAULT.tries {
        let spelling = ["Ánn", "ánN"][number as usize % 2];
        assert_eq!(sign_in(&app, &shown(spelling, PASSWORD, &wrong)).await, Err(SignInError::Refused));
    }
    let code = app.next_code(&ann).await;
    assert_eq!(sign_in(&app, &shown("ánn", PASSWORD, &code)).await, Err(SignInError::Refused));
}

/// What is refused under names that are nobody's is one record, with how often and about how many names there were.
#[tokio::test]
async fn hazard_97_made_up_names_are_one_record_with_their_number() {
    let app = InProcess::new().await;
    for number in 0..30 {
        assert_eq!(
            sign_in(&app, &shown(&format!("nobody {number}"), PASSWORD, "123456")).await,
            Err(SignInError::Refused)
        );
    }
    app.tell_refusals().await;
    let records = app.audit().await;
    let told: Vec<_> = records.iter().filter(|record| record["event"] == "sign_in").collect();
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&told["reason"], &told["times"]), (&"unknown_user".into(), &30.into()));
    assert!(told["detail"].as_str().unwrap().contains("names") && !told.to_string().contains("nobody"), "{told}");
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
