//! Which keys sign, from when to when.

use std::time::Duration;

use signet_core::keys::{HsmFailure, HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState};
use signet_core::settings::KeyWords;
use signet_jose::Algorithm;
use signet_service::ChangeError;
use signet_service::key_ring::rotation::Rotator;
use signet_store::{Keys as _, Leases as _};

use crate::support::{InProcess, context};

const DAY: Duration = Duration::from_hours(24);
const MINUTE: Duration = Duration::from_secs(60);
/// For how long a token lasts.
const TOKEN: Duration = Duration::from_secs(300);
/// What a key stays published beyond that: 5 s under way, two clocks a minute apart.
const MARGIN: Duration = Duration::from_secs(125);

fn rotator(app: &InProcess, name: &str) -> Rotator {
    Rotator::new(app.signet.key_ring.rotation.clone(), name.to_owned())
}

/// Looks twice, as a process does that looks all the time: what the first look changed, the second one sees.
async fn work(rotator: &mut Rotator) {
    rotator.work().await.unwrap();
    rotator.work().await.unwrap();
}

async fn ring(app: &InProcess) -> Vec<HsmKey> {
    let keys = app.store.keys().await.unwrap();
    keys.into_iter().filter(|key| key.purpose == KeyPurpose::TokenSigning).collect()
}

/// The stages of the keys that sign tokens, the oldest first.
async fn stages(app: &InProcess) -> Vec<&'static str> {
    ring(app).await.iter().map(|key| key.state.name()).collect()
}

async fn active(app: &InProcess) -> HsmKey {
    ring(app).await.into_iter().find(|key| key.state.is_active()).unwrap()
}

/// The whole life of a key. Looks at it before each moment and after it.
#[tokio::test]
async fn a_key_is_published_signs_retires_and_is_destroyed_each_in_its_time() {
    let app = InProcess::new().await;
    let (client, mut rotator) = (app.client("app").await, rotator(&app, "one"));
    work(&mut rotator).await;
    let steps: [(Duration, &[&str]); 6] = [
        (89 * DAY - MINUTE, &["active"]),
        (MINUTE, &["active", "next"]),
        (DAY - MINUTE, &["active", "next"]),
        (MINUTE, &["retiring", "active"]),
        (TOKEN + MARGIN - MINUTE, &["retiring", "active"]),
        (MINUTE, &["destroyed", "active"]),
    ];
    let first = active(&app).await;
    let mut last_of_first = None;
    for (pass, expected) in steps {
        app.pass(pass).await;
        work(&mut rotator).await;
        assert_eq!(stages(&app).await, expected);
        let answer = app.token(&client).await.unwrap();
        if expected.first() == Some(&"active") {
            last_of_first = Some((answer.access_token, app.now()));
        }
        // A token is good as long as it lasts: its key is published.
        if let Some((token, at)) = &last_of_first
            && app.now().since(*at) < TOKEN
        {
            assert!(app.is_active(&client, token).await);
        }
    }
    assert!(!app.hsms.holds(&first));
    let events = ["key.generated", "key.activated", "key.retired", "key.withdrawn", "key.destroyed"];
    for event in events {
        assert!(!app.reasons(event).await.is_empty(), "{event}");
    }
    assert_eq!(app.reasons("key.withdrawn").await, ["expired"]);
}

/// A clock that is set forward does not have a key sign that verifiers can't know yet.
#[tokio::test]
async fn a_clock_that_is_set_forward_publishes_nothing_late() {
    let app = InProcess::new().await;
    let mut rotator = rotator(&app, "one");
    app.pass(89 * DAY).await;
    work(&mut rotator).await;
    app.set_clock(app.now().plus(2 * DAY));
    work(&mut rotator).await;
    assert_eq!(stages(&app).await, ["active", "next"]);
    // What verifiers may keep the JWKS for, and how far clocks may be apart.
    app.pass(6 * MINUTE).await;
    work(&mut rotator).await;
    assert_eq!(stages(&app).await, ["retiring", "active"]);
}

/// One that is not there was never used: it is lost, and another one is made in its place.
#[tokio::test]
async fn a_successor_that_does_not_sign_never_takes_over() {
    for fault in ["lost", "extractable", "failing"] {
        let app = InProcess::new().await;
        let mut rotator = rotator(&app, "one");
        app.pass(89 * DAY).await;
        work(&mut rotator).await;
        let next = ring(&app).await.pop().unwrap();
        match fault {
            "lost" => app.hsms.lose(&next),
            "extractable" => app.hsms.make_extractable(&next),
            _ => app.hsms.fail_at("a", "sign", HsmFailure::Overloaded),
        }
        app.pass(DAY).await;
        work(&mut rotator).await;
        let (reason, after) = match fault {
            "lost" => ("key_missing", Some(KeyEnd::Lost)),
            "extractable" => ("key_refused", Some(KeyEnd::Lost)),
            _ => ("hsm_failed", None),
        };
        assert_eq!(app.reasons("key.rotated").await, [reason]);
        let next = ring(&app).await.into_iter().find(|key| key.key_id == next.key_id).unwrap();
        assert_eq!(next.state.end(), after);
        assert!(ring(&app).await[0].state.is_active(), "the old one signs on");
        app.hsms.recover("a");
        for _ in 0..3 {
            app.pass(DAY).await;
            work(&mut rotator).await;
        }
        assert!(active(&app).await.key_id != ring(&app).await[0].key_id, "another one took over in the end");
    }
}

/// A step that fails is tried again after a pause, and told each time.
#[tokio::test]
async fn a_token_that_is_full_is_told_and_tried_again() {
    let app = InProcess::new().await;
    let mut rotator = rotator(&app, "one");
    app.pass(89 * DAY).await;
    let full = HsmFailure::Module { function: "C_GenerateKeyPair".into(), code: "CKR_DEVICE_MEMORY".into() };
    app.hsms.fail_at("a", "generate", full);
    for (pass, times) in [(Duration::ZERO, 1), (Duration::from_secs(50), 1), (MINUTE, 2), (MINUTE, 2), (MINUTE, 3)] {
        app.pass(pass).await;
        work(&mut rotator).await;
        assert_eq!(app.reasons("key.rotated").await, vec!["hsm_token_full"; times]);
    }
    app.hsms.recover("a");
    app.pass(Duration::from_hours(1)).await;
    work(&mut rotator).await;
    assert_eq!(stages(&app).await, ["active", "next"]);
}

/// What an interrupted generation left in the token is removed, by its `CKA_ID`.
#[tokio::test]
async fn a_key_that_nobody_heard_of_is_removed_again() {
    let app = InProcess::new().await;
    let mut rotator = rotator(&app, "one");
    app.pass(89 * DAY).await;
    app.hsms.fail_at("a", "generated", HsmFailure::Deadline(Duration::from_secs(30)));
    work(&mut rotator).await;
    assert_eq!(app.store.announced_keys().await.unwrap().len(), 1);
    app.hsms.recover("a");
    app.pass(11 * MINUTE).await;
    work(&mut rotator).await;
    assert!(app.store.announced_keys().await.unwrap().is_empty());
    assert_eq!(app.reasons("key.destroyed").await, ["left_behind"]);
    assert_eq!(stages(&app).await, ["active", "next"]);
}

/// Another process takes over 15 s after the last sign of life of one that died, or at once where that one ends.
#[tokio::test]
async fn a_process_that_dies_with_the_lease_is_succeeded() {
    let app = InProcess::new().await;
    let (mut one, mut two) = (rotator(&app, "one"), rotator(&app, "two"));
    work(&mut one).await;
    app.pass(Duration::from_secs(14)).await;
    work(&mut two).await;
    let now = app.now();
    assert!(app.store.take_lease("rotation/a", "one", now, Duration::from_secs(15)).await.unwrap());
    app.pass(Duration::from_secs(16)).await;
    work(&mut two).await;
    let now = app.now();
    assert!(!app.store.take_lease("rotation/a", "one", now, MINUTE).await.unwrap(), "two holds it");
    app.signet.key_ring.rotation.end_rotation("two").await.unwrap();
    assert!(app.store.take_lease("rotation/a", "one", now, MINUTE).await.unwrap());
    // Who does not hold it changes nothing, however much is due.
    app.store.take_lease("rotation/a", "one", app.now(), 200 * DAY).await.unwrap();
    app.pass(100 * DAY).await;
    work(&mut two).await;
    assert_eq!(stages(&app).await, ["active"]);
}

#[tokio::test]
async fn a_rotator_looks_often_enough_for_what_is_configured() {
    for (publish_ahead, interval) in
        [("1d", Duration::from_secs(2)), ("20s", Duration::from_secs(1)), ("1s", Duration::from_millis(50))]
    {
        let text = |text: &str| Some(text.to_owned());
        let keys = KeyWords {
            publish_ahead: text(publish_ahead),
            jwks_max_age: text("1s"),
            clock_skew: text("0s"),
            ..KeyWords::default()
        };
        let app = InProcess::with(|setup| setup.document.keys = Some(keys)).await;
        assert_eq!(rotator(&app, "one").interval(), interval);
    }
}

#[tokio::test]
async fn a_key_that_is_made_by_hand_waits_until_verifiers_know_it() {
    let app = InProcess::with_tokens(&["a", "b"]).await;
    let (a, unknown) = (HsmName::new("a"), HsmName::new("c"));
    let maker = &app.signet.key_ring.maker;
    let made = maker.generate_signing_key(&a, Algorithm::Es256, 0, &context()).await.unwrap();
    assert!(matches!(made.state, KeyState::Next { published_at } if published_at == app.now()));
    let refused = maker.generate_signing_key(&unknown, Algorithm::Es256, 0, &context()).await;
    assert!(matches!(refused, Err(ChangeError::Conflict(_))));
    app.hsms.fail_at("a", "generate", HsmFailure::Overloaded);
    maker.generate_signing_key(&a, Algorithm::Es256, 0, &context()).await.unwrap_err();
}

/// However many ask for it at once, there is one next key; where none can be made, the audit log says so.
#[tokio::test]
async fn a_rotation_that_is_begun_twice_makes_one_key() {
    let app = InProcess::new().await;
    let (hsm, context, rotation) = (HsmName::new("a"), context(), &app.signet.key_ring.rotation);
    app.hsms.fail_at("a", "generate", HsmFailure::Overloaded);
    rotation.begin_rotation(&hsm, Algorithm::Es256, 0, &context).await.unwrap_err();
    assert_eq!(app.reasons("key.rotated").await, ["hsm_failed"]);
    app.hsms.recover("a");
    let begin = || rotation.begin_rotation(&hsm, Algorithm::Es256, 0, &context);
    let (one, two, three) = tokio::join!(begin(), begin(), begin());
    let begun = [one.unwrap(), two.unwrap(), three.unwrap()];
    assert_eq!(begun.iter().filter(|begun| begun.created).count(), 1);
    assert!(begun.iter().all(|other| other.key.key_id == begun[0].key.key_id));
    // Made at the same moment, by the test's clock.
    let mut stages = stages(&app).await;
    stages.sort_unstable();
    assert_eq!(stages, ["active", "next"]);
}

/// An operator who revokes a key and the server that looks after the ring make one key between them.
#[tokio::test]
async fn a_revoked_key_is_replaced_by_one_key_whoever_makes_it() {
    let app = InProcess::new().await;
    let mut rotator = rotator(&app, "one");
    let (revocation, context) = (&app.signet.key_ring.revocation, context());
    for _ in 0..20 {
        let kid = active(&app).await.key_id.to_string();
        revocation.revoke_key(&kid, &context).await.unwrap();
        let (replaced, ()) = tokio::join!(revocation.replace_revoked(&kid, &context), work(&mut rotator));
        assert!(replaced.unwrap().unwrap().state.is_active());
        let left = stages(&app).await.into_iter().filter(|stage| *stage != "destroyed").collect::<Vec<_>>();
        assert_eq!(left, ["active"]);
    }
}

/// An emergency: the key is out at once, what it signed counts for nothing, and another one signs.
#[tokio::test]
async fn a_revoked_key_is_out_at_once_and_replaced() {
    let app = InProcess::new().await;
    let (client, revocation) = (app.client("app").await, &app.signet.key_ring.revocation);
    let old = app.token(&client).await.unwrap().access_token;
    app.pass(MINUTE).await;
    app.token(&client).await.unwrap();
    let key = active(&app).await;
    let kid = key.key_id.as_str();
    let breaks = revocation.foresee_revocation(kid).await.unwrap();
    assert_eq!((breaks.unexpired_tokens, breaks.others_sign, breaks.state), (2, false, "active"));
    assert_eq!(breaks.clients.into_iter().collect::<Vec<_>>(), [client.client.id.as_str()]);
    app.pass(TOKEN - MINUTE + Duration::from_secs(1)).await;
    assert_eq!(revocation.foresee_revocation(kid).await.unwrap().unexpired_tokens, 1, "one has expired");
    let last = app.token(&client).await.unwrap().access_token;
    revocation.revoke_key(kid, &context()).await.unwrap();
    revocation.revoke_key(kid, &context()).await.unwrap();
    assert!(!app.is_active(&client, &old).await && !app.is_active(&client, &last).await);
    assert!(app.token(&client).await.is_err(), "nothing signs");
    let replacement = revocation.replace_revoked(kid, &context()).await.unwrap().unwrap();
    assert!(replacement.state.is_active() && replacement.key_id != key.key_id);
    assert!(!app.hsms.holds(&key));
    app.token(&client).await.unwrap();
    assert_eq!(app.reasons("key.revoked").await, ["revoked"]);
    assert!(matches!(revocation.foresee_revocation(kid).await, Err(ChangeError::Conflict(_))));
    assert!(matches!(revocation.foresee_revocation("unknown").await, Err(ChangeError::Missing { .. })));
    assert!(matches!(revocation.replace_revoked("unknown", &context()).await, Err(ChangeError::Missing { .. })));
}

#[tokio::test]
async fn only_a_key_that_signs_tokens_can_be_revoked() {
    let app = InProcess::new().await;
    let keys = app.store.keys().await.unwrap();
    let audit = keys.iter().find(|key| key.purpose == KeyPurpose::AuditSigning).unwrap();
    let refused = app.signet.key_ring.revocation.revoke_key(audit.key_id.as_str(), &context()).await;
    assert!(matches!(refused, Err(ChangeError::Conflict(text)) if text.contains("audit signing")));
}

/// A token that signed wrongly is left out until a test signature of it verifies.
#[tokio::test]
async fn a_suspended_token_is_tried_again_and_serves_once_it_signs_well() {
    let app = InProcess::with_tokens(&["a", "b"]).await;
    let (client, trials, a) = (app.client("app").await, &app.signet.key_ring.trials, HsmName::new("a"));
    app.hsms.sign_wrongly("a");
    app.token(&client).await.unwrap();
    let serves = || matches!(app.signet.ports().hsm_health.health(&a), signet_core::keys::TokenHealth::Serving);
    let settled = async || {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    };
    assert!(!serves());
    trials.try_suspended_tokens();
    settled().await;
    assert!(!serves(), "it signs wrongly still");
    app.hsms.recover("a");
    trials.try_suspended_tokens();
    settled().await;
    assert!(serves());
    let key = app.issuer.directory.fresh().await.unwrap().active(Algorithm::Es256).next().unwrap().clone();
    app.signet.key_ring.signatures.test_key(&key).await.unwrap();
}
