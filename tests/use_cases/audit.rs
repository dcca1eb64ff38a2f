//! What is written of each decision, and how it is signed.

use std::time::Duration;

use signet_core::audit::export::ExportReader;
use signet_core::audit::{AuditEvent, ChainCheck, Event, Outcome, RequestContext};
use signet_core::keys::HsmFailure;
use signet_jose::VerifyingKey;
use signet_service::audit::export::RecordFilter;
use signet_service::audit::verification::{ChainsRefused, verify_chains};

use crate::support::InProcess;
use crate::support::own_chain::{OwnChain as _, node};
use crate::support::people::presented;

const MINUTE: Duration = Duration::from_secs(60);

async fn audit_keys(app: &InProcess) -> Vec<VerifyingKey> {
    let snapshot = app.issuer.directory.fresh().await.unwrap();
    snapshot.audit_keys().iter().map(|key| VerifyingKey::new(key.verifying.jwk().clone())).collect()
}

#[tokio::test]
async fn an_export_ends_with_a_checkpoint_and_all_of_it_verifies_as_the_store_does() {
    let app = InProcess::new().await;
    app.client("app").await;
    let (keys, context) = (audit_keys(&app).await, RequestContext::NONE);
    let exported = async || {
        let mut export = app.signet.audit_reader.export(&keys, &context).await.unwrap();
        let mut text = String::new();
        while let Some(lines) = export.next_lines().await.unwrap() {
            text.push_str(&lines);
        }
        (ExportReader::new(text.as_bytes()).verify(&keys, &[]).unwrap().remove(0), export.unsigned)
    };
    let (whole, unsigned) = exported().await;
    let head = app.store.head().await.unwrap();
    assert_eq!((whole.head, unsigned.is_none()), (head, true));
    // Where nothing can be signed it ends at the last checkpoint, and says why.
    app.hsms.fail_at("a", "sign", HsmFailure::Overloaded);
    app.signet.audit.append(vec![AuditEvent::new(Event::SignIn, Outcome::Done, "default", &context)]).await.unwrap();
    let (shorter, unsigned) = exported().await;
    assert_eq!((shorter.head, unsigned.is_some()), (head, true));
    let of_store = verify_chains(app.store.as_ref(), &keys, None).await.unwrap();
    assert_eq!((of_store[0].signed, of_store[0].head.sequence), (head.sequence, head.sequence + 1));
    let refused = verify_chains(app.store.as_ref(), &[], None).await;
    assert!(matches!(refused, Err(ChainsRefused::Checkpoint(_))), "{refused:?}");
}

#[tokio::test]
async fn records_are_found_by_what_they_are_about_and_come_by_pages() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    let page = async |filter: RecordFilter, after| app.signet.audit_reader.records(&filter, after, 2).await.unwrap();
    let first = page(RecordFilter::default(), None).await;
    assert_eq!(first.records.len(), 2);
    let second = page(RecordFilter::default(), first.next.as_ref()).await;
    assert_eq!(second.records[0].sequence, 3);
    let id = client.client.id.to_string();
    let about = page(RecordFilter { client: Some(id.clone()), ..RecordFilter::default() }, None).await;
    assert!(about.next.is_none() && about.records.iter().all(|record| record.text.contains(&id)), "{about:?}");
    assert!(!about.records.is_empty());
    app.pass(MINUTE).await;
    let since = RecordFilter { since: Some(app.signet.now()), ..RecordFilter::default() };
    assert_eq!(page(since.clone(), None).await.records.len(), 0);
    app.client("later").await;
    assert!(!page(since, None).await.records.is_empty());
}

#[tokio::test]
async fn a_checkpoint_signs_the_end_of_the_chain_where_something_is_new() {
    let app = InProcess::new().await;
    let checkpoint = async || app.signet.checkpoints.checkpoint().await;
    app.hsms.fail_at("a", "sign", HsmFailure::Overloaded);
    checkpoint().await.unwrap_err();
    app.hsms.recover("a");
    let first = checkpoint().await.unwrap().unwrap();
    assert_eq!(first.sequence, app.store.head().await.unwrap().sequence);
    assert!(checkpoint().await.unwrap().is_none());
    app.client("app").await;
    let second = checkpoint().await.unwrap().unwrap();
    let keys = audit_keys(&app).await;
    let mut check = ChainCheck::of(node());
    for record in app.store.own_records(1, 1000).await.unwrap() {
        check.record(&record).unwrap();
        for signed in [&first, &second] {
            if signed.sequence == record.sequence {
                check.checkpoint(signed, &keys).unwrap();
            }
        }
    }
    assert_eq!(check.finish_signed().unwrap().checkpoints, 2);
}

#[tokio::test]
async fn without_keys_there_is_nothing_to_sign_a_checkpoint_with() {
    let app = InProcess::uninitialised(&["a"], |_| {}).await;
    assert!(app.signet.checkpoints.checkpoint().await.unwrap().is_none(), "nothing is written");
    let draft = AuditEvent::new(Event::ServerStarted, Outcome::Done, "default", &RequestContext::default());
    app.signet.audit.append(vec![draft]).await.unwrap();
    let refused = app.signet.checkpoints.checkpoint().await;
    assert!(matches!(refused, Err(signet_service::ChangeError::NotInitialised("audit"))));
}

/// What anybody can provoke is written once a minute, with its number; and the rest at the end.
#[tokio::test]
async fn what_anybody_can_provoke_is_written_once_a_minute() {
    let app = InProcess::new().await;
    let client = app.client("app").await;
    let wrong = presented(client.client.id.as_str(), "wrong");
    let fail = async |times: usize| {
        for _ in 0..times {
            let refused = app.issuer.client_authenticator.authenticate_client(&wrong, &RequestContext::default()).await;
            assert!(refused.is_err());
        }
    };
    fail(5).await;
    app.signet.audit.append_repetitions(false).await.unwrap();
    assert_eq!(app.details("client.authentication").await, ["-"]);
    app.pass(MINUTE).await;
    app.signet.audit.append_repetitions(false).await.unwrap();
    assert_eq!(app.details("client.authentication").await, ["-", "repeated 4 times"]);
    fail(2).await;
    app.signet.audit.append_repetitions(true).await.unwrap();
    assert_eq!(app.details("client.authentication").await, ["-", "repeated 4 times", "repeated 2 times"]);
}
