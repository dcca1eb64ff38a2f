//! What is written of each decision, and how it is signed.

use std::time::Duration;

use signet_core::audit::{AuditEvent, ChainCheck, Event, Outcome, RequestContext};
use signet_core::keys::HsmFailure;
use signet_jose::VerifyingKey;

use crate::support::InProcess;
use crate::support::own_chain::{OwnChain as _, node};
use crate::support::people::presented;

const MINUTE: Duration = Duration::from_secs(60);

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
    let keys: Vec<VerifyingKey> = app
        .issuer
        .directory
        .fresh()
        .await
        .unwrap()
        .audit_keys()
        .iter()
        .map(|key| VerifyingKey::new(key.verifying.jwk().clone()))
        .collect();
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
