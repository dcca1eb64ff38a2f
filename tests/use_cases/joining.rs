//! A node with an HSM token of its own is let in, and secrets come to it.

use signet_core::admission::JoinCode;
use signet_core::audit::{AuditEvent, Event, Outcome};
use signet_core::keys::{HsmFailure, HsmName, KeyPurpose, SealedCopies};
use signet_jose::{KeyId, VerifyingKey};
use signet_service::{ChangeError, JoinError, MembershipError, SignInError};
use signet_store::{Envelopes as _, Joins as _, Keys as _, SecretsAtRest as _};

use crate::support::{InProcess, OwnTokenNode, context};

fn hsm(name: &str) -> HsmName {
    HsmName::new(name)
}

async fn founded() -> InProcess {
    let app = InProcess::uninitialised(&["a"], |_| {}).await;
    app.hsms.take_envelopes();
    app.initialise().await;
    app
}

/// A node that an operator let in.
async fn joined(app: &InProcess, name: &str) -> OwnTokenNode {
    let node = app.node_with_own_token(name).await;
    let asked = node.signet.joining.ask(&hsm(name), Some(&hsm("a")), &context()).await.unwrap();
    app.signet.joining.admit(&asked.code, &context()).await.unwrap();
    node.signet.joining.complete(&hsm(name), &asked.code, &context(), &|_| {}).await.unwrap();
    node
}

#[tokio::test]
async fn a_node_comes_in_by_the_code_that_was_compared() {
    let app = founded().await;
    let node = app.node_with_own_token("b").await;
    let complete = async |code: &str| node.signet.joining.complete(&hsm("b"), code, &context(), &|_| {}).await;
    let other = JoinCode::of(&hsm("b"), &KeyId::new("t"), &KeyId::new("k")).to_string();
    assert!(matches!(complete(&other).await, Err(JoinError::NotAsked)));
    let asked = node.signet.joining.ask(&hsm("b"), None, &context()).await.unwrap();
    let again = node.signet.joining.ask(&hsm("b"), None, &context()).await.unwrap();
    assert_eq!((asked.code.as_str(), asked.vouched_by.as_str()), (again.code.as_str(), "a"));
    assert!(matches!(complete(&asked.code).await, Err(JoinError::NotAdmitted)));
    for (code, is_none) in [("ABCD", true), (other.as_str(), false)] {
        let refused = app.signet.joining.admit(code, &context()).await.unwrap_err();
        assert_eq!(matches!(refused, JoinError::NoCode), is_none, "{refused}");
        assert_eq!(matches!(refused, JoinError::OtherCode), !is_none, "{refused}");
        assert!(matches!(complete(code).await, Err(JoinError::NoCode | JoinError::OtherCode)));
    }
    let admitted = app.signet.joining.admit(&asked.code.to_lowercase(), &context()).await.unwrap();
    assert_eq!((admitted.hsm, admitted.code), (hsm("b"), asked.code.clone()));
    let joined = complete(&asked.code).await.unwrap();
    assert!(joined.keys.len() == 5 && joined.keys.iter().all(|key| key.created), "{:?}", joined.keys);
    assert_eq!(app.reasons("node.admitted").await.len(), 1);
    assert!(app.store.join_requests().await.unwrap().is_empty());
    // Both have one secret, so that names and successors derive alike.
    let opened = app.store.deployment_secrets().await.unwrap().remove(&1).unwrap();
    assert_eq!(opened.0.keys().map(HsmName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert!(matches!(complete(&asked.code).await, Err(JoinError::NotAsked)));
}

#[tokio::test]
async fn what_can_not_join_is_refused() {
    let app = founded().await;
    let ask = async |node: &OwnTokenNode, name: &str| {
        node.signet.joining.ask(&hsm(name), None, &context()).await.map(drop).unwrap_err()
    };
    let taken = app.node_with_own_token("a").await;
    assert!(matches!(ask(&taken, "a").await, JoinError::NameTaken(_)));
    assert!(matches!(ask(&taken, "x").await, JoinError::Membership(MembershipError::NotConfigured(_))));
    let weak = app.node_with_own_token("b").await;
    weak.hsms.only_sign("b");
    assert!(matches!(ask(&weak, "b").await, JoinError::TakesNoEnvelopes(_)));
    joined(&app, "c").await;
    let third = app.node_with_own_token("d").await;
    assert!(matches!(ask(&third, "d").await, JoinError::SeveralVouch(_)), "an operator says by whose key");
    let nobody = third.signet.joining.ask(&hsm("d"), Some(&hsm("d")), &context()).await.unwrap_err();
    assert!(matches!(nobody, JoinError::NobodyVouches));
    let empty = InProcess::uninitialised(&["a"], |_| {}).await;
    let refused = empty.signet.joining.ask(&hsm("a"), None, &context()).await.unwrap_err();
    assert!(matches!(refused, JoinError::NothingToJoin));
}

#[tokio::test]
async fn nobody_signs_in_until_everything_has_come_and_what_is_new_comes_by_itself() {
    let app = founded().await;
    let ann = app.person("ann").await;
    let node = joined(&app, "b").await;
    let sign_in = async |person| {
        let request = app.right(person).await;
        node.signet.issuer().sessions.begin_session(&request, None, &context()).await.map(drop)
    };
    assert_eq!(node.signet.intake.missing().await.unwrap(), 2, "a password and a seed");
    assert!(matches!(sign_in(&ann).await, Err(SignInError::Unavailable(_))));
    app.signet.resealing.reseal_where_needed().await;
    assert_eq!(app.store.count_seals(&hsm("b")).await.unwrap().waiting, 2);
    // The HSM token does not answer: nothing is lost.
    node.hsms.fail_at("b", "take envelope", HsmFailure::Overloaded);
    assert!(matches!(node.signet.intake.take_waiting().await, Err(ChangeError::Hsm(_))));
    node.hsms.recover("b");
    node.signet.intake.take_or_tell().await;
    assert_eq!((node.signet.intake.missing().await.unwrap(), node.waiting("b").await), (0, 0));
    sign_in(&ann).await.unwrap();
    // What is new is sealed and encrypted in one commit: bob's seed (his password was sealed by the test's own hand).
    let sealed = app.store.count_seals(&hsm("b")).await.unwrap().sealed;
    app.person("bob").await;
    assert_eq!(node.waiting("b").await, 1);
    node.signet.intake.take_waiting().await.unwrap();
    let count = app.store.count_seals(&hsm("b")).await.unwrap();
    assert_eq!((count.sealed, count.waiting), (sealed + 1, 0));
}

#[tokio::test]
async fn an_envelope_of_another_row_is_refused_on_the_record() {
    let app = founded().await;
    let (_, node) = (app.person("ann").await, joined(&app, "b").await);
    app.signet.resealing.reseal_where_needed().await;
    let waiting = node.store.waiting_envelopes(&hsm("b"), None, 10).await.unwrap();
    let [one, two] = waiting.as_slice() else { panic!("{waiting:?}") };
    let (lacking, _) = app.store.lacking(&hsm("b"), None, 10).await.unwrap();
    for it in [one, two] {
        app.store.refuse_envelope(&hsm("b"), &it.at, &it.envelope).await.unwrap();
    }
    for (secret, moved) in lacking.iter().zip([two, one]) {
        let moved = SealedCopies([(hsm("b"), moved.envelope.clone())].into());
        assert!(app.store.extend_seals(secret, &moved).await.unwrap());
    }
    node.signet.intake.take_waiting().await.unwrap();
    assert_eq!(node.reasons("envelope.refused").await, ["refused"; 2]);
    let count = node.store.count_seals(&hsm("b")).await.unwrap();
    assert_eq!((count.sealed, count.waiting), (1, 0), "none became a seal but the deployment's secret");
}

/// A restore renews the secret: another node's HSM token gets it as it would get it to join, and what was on its way arrives.
#[tokio::test]
async fn a_renewed_secret_comes_to_another_nodes_token_by_a_pinned_audit_key_alone() {
    let app = founded().await;
    let node = joined(&app, "b").await;
    let ann = app.person("ann").await;
    app.signet.resealing.reseal_where_needed().await;
    assert_eq!(node.waiting("b").await, 2, "a password and a seed are on their way");
    assert_eq!(app.signet.renewal.begin(&context()).await.unwrap(), 2);
    assert_eq!(app.signet.renewal.begin(&context()).await.unwrap(), 2, "again: it goes on");
    assert!(app.store.renew_rows(&|_| {}).await.unwrap().iter().all(|table| table.forged == 0));
    app.signet.renewal.renew_envelopes().await.unwrap();
    let told = AuditEvent::new(Event::RestoreAnswered, Outcome::Done, "default", &context());
    app.store.answer(true, told).await.unwrap();
    app.signet.renewal.end().await.unwrap();
    assert_eq!(app.store.deployment_secrets().await.unwrap().keys().copied().collect::<Vec<_>>(), [2]);
    app.client("late").await;
    let again = app.started_again(&node, "b").await;
    let audit_key_of = async |name: &str| {
        let keys = app.store.keys().await.unwrap().into_iter();
        let mut of = keys.filter(|key| key.hsm == hsm(name) && key.purpose == KeyPurpose::AuditSigning);
        VerifyingKey::new(of.next().unwrap().public.unwrap())
    };
    let (pinned, other) = (audit_key_of("a").await, audit_key_of("b").await);
    // Whoever writes the store offers a secret that another key signed: nothing is taken.
    let refused = again.signet.renewal.take(&[other]).await.unwrap_err();
    assert!(matches!(refused, JoinError::Refused(_)), "{refused}");
    again.signet.open_secret().await;
    assert!(!again.store.has_row_keys());
    assert!(again.signet.renewal.take(std::slice::from_ref(&pinned)).await.unwrap());
    assert!(!again.signet.renewal.take(&[pinned]).await.unwrap(), "it is sealed here now");
    assert!(app.store.join_requests().await.unwrap().is_empty());
    again.signet.open_secret().await;
    again.signet.intake.take_waiting().await.unwrap();
    assert_eq!((again.reasons("envelope.refused").await.len(), again.waiting("b").await), (0, 0));
    let sealed = app.store.deployment_secrets().await.unwrap().remove(&2).unwrap();
    assert_eq!(sealed.0.keys().map(HsmName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    let request = app.right(&ann).await;
    again.signet.issuer().sessions.begin_session(&request, None, &context()).await.unwrap();
}
