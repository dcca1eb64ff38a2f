//! Where every key lies, and whether each signature has its record.

use std::time::Duration;

use serde_json::json;
use signet_core::audit::{AuditEvent, Event, Head, Outcome};
use signet_core::keys::{HsmFailure, HsmKey, HsmName, KeyPurpose, SignedKind};
use signet_jose::VerifyingKey;
use signet_service::Deployment;
use signet_service::custody::balance::Reconciliation;
use signet_service::custody::report::{ReportRefused, verify_custody};
use signet_store::{AuditLog as _, KeptCounts, Keys as _, SecretsAtRest as _};

use crate::support::{InProcess, context};

async fn key(app: &InProcess, purpose: KeyPurpose) -> HsmKey {
    app.store.keys().await.unwrap().into_iter().find(|key| key.purpose == purpose).unwrap()
}

pub(crate) async fn reconcile(app: &InProcess) -> Reconciliation {
    app.signet.balance.reconcile(Duration::ZERO).await.unwrap()
}

async fn differences(app: &InProcess) -> Vec<i64> {
    let books = app.signet.balance.accounts().await.unwrap();
    books.accounts.iter().filter(|account| !account.is_well()).map(|account| account.unexplained()).collect()
}

#[tokio::test]
async fn every_signature_has_its_record() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    for _ in 0..3 {
        app.token(&client).await.unwrap();
    }
    app.signet.checkpoints.checkpoint().await.unwrap().unwrap();
    let books = reconcile(&app).await;
    assert!(books.silent.is_empty() && books.accounts.iter().all(signet_service::custody::balance::Account::is_well));
    let tokens = books.accounts.iter().find(|account| account.signed == SignedKind::Token).unwrap();
    assert_eq!((tokens.made, tokens.recorded, tokens.difference), (3, 3, 0));
    assert!(app.reasons("custody.difference").await.is_empty());
    assert_eq!(app.signet.unaccounted(), 0);
}

/// Somebody else with the PIN signed, or put the counts back: an alarm, once, until an operator answers for it.
#[tokio::test]
async fn a_signature_without_a_record_is_an_alarm_until_it_is_accepted() {
    for (is_more, reason) in [(true, "signatures_without_record"), (false, "count_behind_records")] {
        let app = InProcess::new().await;
        let client = app.client("app").await;
        app.token(&client).await.unwrap();
        let signing = key(&app, KeyPurpose::TokenSigning).await;
        match is_more {
            true => app.hsms.sign_in_secret(&signing, SignedKind::Token),
            false => app.hsms.reset_counts("a"),
        }
        for _ in 0..2 {
            reconcile(&app).await;
            assert_eq!(app.reasons("custody.difference").await, [reason]);
        }
        assert!(!differences(&app).await.is_empty());
        let accept = async |kid: Option<&str>| {
            app.signet.balance.accept_differences(kid, "it was me", &context()).await.unwrap().signatures
        };
        assert_eq!(accept(Some("another key")).await, 0);
        assert_eq!(accept(None).await, 1);
        assert!(differences(&app).await.is_empty());
        reconcile(&app).await;
        assert_eq!(app.reasons("custody.difference").await.len(), 1);
    }
}

/// A request that was given up may have been signed: that is settled at rest, and is no alarm.
#[tokio::test]
async fn what_was_signed_and_never_answered_is_settled() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    app.token(&client).await.unwrap();
    app.hsms.fail_at("a", "answer", HsmFailure::Deadline(Duration::from_secs(1)));
    app.token(&client).await.unwrap_err();
    app.hsms.recover("a");
    assert_eq!(app.signet.unaccounted(), 1);
    reconcile(&app).await;
    assert_eq!(app.reasons("custody.settled").await, ["request_lost"]);
    assert!(app.reasons("custody.difference").await.is_empty() && differences(&app).await.is_empty());
    // What comes after that is an alarm again.
    app.hsms.sign_in_secret(&key(&app, KeyPurpose::TokenSigning).await, SignedKind::Token);
    reconcile(&app).await;
    assert_eq!(app.reasons("custody.difference").await, ["signatures_without_record"]);
}

#[tokio::test]
async fn the_report_says_what_is_wrong_with_a_key() {
    let app = InProcess::new().await;
    let report = async || app.signet.custody.custody(false).await.unwrap();
    let well = report().await;
    assert!(well.well && well.held, "{:?}", well.wrong);
    assert_eq!((well.tokens[0].keys.len(), well.exceptions.len()), (4, 1));
    let signing = key(&app, KeyPurpose::TokenSigning).await;
    app.hsms.make_extractable(&signing);
    let faulty = report().await;
    assert!(!faulty.well && !faulty.held);
    assert!(faulty.wrong[0].contains("CKA_EXTRACTABLE"), "{:?}", faulty.wrong);
    app.hsms.lose(&signing);
    assert!(report().await.wrong[0].contains("not in the HSM token"));
    app.hsms.go_away("a");
    let silent = report().await;
    assert!(!silent.held && silent.wrong[0].contains("does not show its keys"));
}

#[tokio::test]
async fn a_signed_report_is_verified_offline_by_key_and_nonce() {
    let app = InProcess::new().await;
    let report = app.signet.custody.custody(true).await.unwrap();
    let shown = json!({ "exceptions": report.exceptions });
    let text = app.signet.custody_reports.sign_custody(shown, Some("of today"), &context()).await.unwrap();
    let verifying = |key: HsmKey| VerifyingKey::new(key.public.unwrap());
    let audit = [verifying(key(&app, KeyPurpose::AuditSigning).await)];
    let claims = verify_custody(&text, &audit, Some("of today")).unwrap();
    assert_eq!(claims.report["exceptions"].as_array().unwrap().len(), 2);
    assert_eq!(verify_custody(&text, &audit, Some("of yesterday")).unwrap_err(), ReportRefused::OtherNonce);
    let other = [verifying(key(&app, KeyPurpose::TokenSigning).await)];
    assert!(matches!(verify_custody(&text, &other, None), Err(ReportRefused::OtherKey { .. })));
    assert_eq!(app.details("custody.report").await, ["nonce of today"]);
    assert!(reconcile(&app).await.accounts.iter().all(|account| account.is_well()));
}

/// The next start of the server.
async fn reconciled_by(signet: &Deployment) -> Reconciliation {
    signet.balance.reconcile(Duration::ZERO).await.unwrap()
}

#[tokio::test]
async fn a_start_reads_only_the_records_that_are_new() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    app.token(&client).await.unwrap();
    let sign_in = AuditEvent::new(Event::SignIn, Outcome::Done, "default", &context());
    for _ in 0..10 {
        app.store.append(vec![sign_in.clone(); 10_000]).await.unwrap();
    }
    let first = reconciled_by(&app.another_process()).await;
    assert!(first.records_read > 100_000);
    let next = app.another_process();
    app.token(&client).await.unwrap();
    app.token(&client).await.unwrap();
    let books = reconciled_by(&next).await;
    assert_eq!(books.records_read, 2, "so many came since the counts were kept");
    let tokens = books.accounts.iter().find(|account| account.signed == SignedKind::Token).unwrap();
    assert_eq!((tokens.made, tokens.recorded, tokens.difference), (3, 3, 0));
    // At the stop they are kept at once.
    next.balance.keep_counts().await.unwrap();
    assert_eq!(reconciled_by(&app.another_process()).await.records_read, 0);
    assert_eq!(next.custody.custody(false).await.unwrap().wrong, [""; 0]);
}

#[tokio::test]
async fn kept_counts_of_another_chain_are_not_used() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    app.token(&client).await.unwrap();
    reconcile(&app).await;
    app.signet.balance.keep_counts().await.unwrap();
    let kept = app.store.kept_counts().await.unwrap().unwrap();
    let elsewhere = Head { hash: [7; 32], ..kept.up_to };
    let other = KeptCounts { up_to: elsewhere, counts: kept.counts.replace("records", "alarmed") };
    assert!(app.store.keep_counts(Some(&kept), &other).await.unwrap());
    let books = reconciled_by(&app.another_process()).await;
    assert!(books.records_read > 1 && books.accounts.iter().all(|account| account.is_well()));
}

/// Whoever writes the store can hide a signature from the server in that way, and not from `signet custody`.
#[tokio::test]
async fn kept_counts_that_were_falsified_are_found_and_dropped() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    app.token(&client).await.unwrap();
    reconcile(&app).await;
    app.signet.balance.keep_counts().await.unwrap();
    let kept = app.store.kept_counts().await.unwrap().unwrap();
    let one_more = kept.counts.replace(r#""records":1"#, r#""records":2"#);
    assert_ne!(one_more, kept.counts);
    let falsified = KeptCounts { counts: one_more, ..kept.clone() };
    assert!(app.store.keep_counts(Some(&kept), &falsified).await.unwrap());
    app.hsms.sign_in_secret(&key(&app, KeyPurpose::TokenSigning).await, SignedKind::Token);
    let next = app.another_process();
    reconciled_by(&next).await;
    assert!(app.reasons("custody.difference").await.is_empty(), "the server believes what is kept");

    let wrong = next.custody.custody(false).await.unwrap().wrong;
    assert!(wrong.iter().any(|wrong| wrong.contains("is not what the audit log says")), "{wrong:?}");
    assert!(wrong.iter().any(|wrong| wrong.contains("signatures were made that have no record")), "{wrong:?}");
    let accepted = next.balance.accept_differences(None, "the intruder is gone", &context()).await.unwrap();
    assert!(accepted.dropped_counts);
    assert_eq!(app.details("custody.recounted").await, ["the intruder is gone"]);
    // The server that had believed them finds them gone as it keeps its own, and tells of the signature.
    next.balance.keep_counts().await.unwrap();
    reconciled_by(&next).await;
    assert_eq!(app.reasons("custody.difference").await, ["signatures_without_record"]);
    let wrong = next.custody.custody(false).await.unwrap().wrong;
    assert!(!wrong.iter().any(|wrong| wrong.contains("is not what the audit log says")), "{wrong:?}");
}

#[tokio::test]
async fn secrets_that_open_in_one_token_alone_are_told_of() {
    let app = InProcess::new_with_spare().await;
    app.user("ann").await;
    let report = app.signet.custody.custody(false).await.unwrap();
    let alone: Vec<_> = report.alone.iter().map(|(hsm, secrets)| (hsm.as_str(), *secrets)).collect();
    assert_eq!(alone, [("a", app.store.count_seals(&HsmName::new("a")).await.unwrap().secrets)]);
    assert!(report.well && report.notes.iter().any(|note| note.contains("open in HSM token a alone")), "{report:?}");

    let two = InProcess::with_tokens(&["a", "b"]).await;
    two.user("ann").await;
    let report = two.signet.custody.custody(false).await.unwrap();
    assert!(report.alone.is_empty() && report.notes.is_empty(), "{report:?}");
}
