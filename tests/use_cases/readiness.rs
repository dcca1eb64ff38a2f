//! Whether tokens can be issued now.

use std::time::Duration;

use signet_core::keys::{HsmFailure, HsmName};
use signet_service::readiness::ReadinessReport;

use crate::support::InProcess;

/// The report, looked at anew: one that was well is given again for a second.
async fn report(app: &InProcess) -> ReadinessReport {
    app.pass(Duration::from_secs(1)).await;
    app.signet.readiness.readiness().await
}

fn word<'r>(report: &'r ReadinessReport, hsm: &str) -> &'r str {
    &report.hsm[&HsmName::new(hsm)]
}

#[tokio::test]
async fn a_signature_of_the_last_fifteen_seconds_makes_it_ready() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    let first = report(&app).await;
    assert!(!first.ready && first.verification.ready);
    assert_eq!(word(&first, "a"), "no signature yet");
    app.token(&client).await.unwrap();
    assert!(report(&app).await.ready);
    app.pass(Duration::from_secs(14)).await;
    let old = report(&app).await;
    assert_eq!((old.ready, word(&old, "a")), (false, "no recent signature"));
    app.signet.readiness.exercise_keys().await;
    assert!(report(&app).await.ready);
}

/// A token that signed a moment ago is not bothered.
#[tokio::test]
async fn a_test_signature_is_made_where_none_is_five_seconds_old() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    app.token(&client).await.unwrap();
    for (pass, signatures) in [(3, 0), (2, 1), (3, 0), (2, 1)] {
        app.pass(Duration::from_secs(pass)).await;
        app.hsms.take_asked();
        app.signet.readiness.exercise_keys().await;
        assert_eq!(app.hsms.take_asked().iter().filter(|asked| **asked == "sign").count(), signatures);
    }
}

#[tokio::test]
async fn what_one_token_can_not_sign_another_one_does() {
    let app = InProcess::with_tokens(&["a", "b"]).await;
    app.signet.readiness.exercise_keys().await;
    app.hsms.go_away("a");
    let half = report(&app).await;
    assert_eq!((half.ready, word(&half, "a"), word(&half, "b")), (true, "not available", "ok"));
    app.hsms.go_away("b");
    let none = app.signet.readiness.readiness().await;
    assert!(none.ready, "for a second the last word holds");
    let none = report(&app).await;
    assert!(!none.ready && none.verification.ready, "verification needs no HSM");
    app.hsms.recover("b");
    assert!(app.signet.readiness.readiness().await.ready, "what is not well is looked at anew each time");
}

#[tokio::test]
async fn where_no_checkpoint_can_be_signed_or_the_store_fails_it_is_not_ready() {
    let app = InProcess::new().await;
    app.signet.readiness.exercise_keys().await;
    app.hsms.fail_at("a", "sign", HsmFailure::Module { function: "C_Sign".into(), code: "CKR_DEVICE_ERROR".into() });
    app.signet.checkpoints.checkpoint().await.unwrap_err();
    let faulty = report(&app).await;
    assert_eq!((faulty.ready, &*faulty.audit), (false, "no checkpoint can be signed or kept"));
    app.hsms.recover("a");
    app.signet.checkpoints.checkpoint().await.unwrap();
    assert!(report(&app).await.ready);
    app.store.close().await;
    let closed = report(&app).await;
    assert_eq!((closed.ready, &*closed.store), (false, "not available"));
}
