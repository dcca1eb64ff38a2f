//! The keys of each algorithm: tokens are signed with them, verify by what is published, and they are replaced by keys of
//! their own kind.

use std::collections::BTreeSet;
use std::time::Duration;

use signet_core::keys::{HsmKey, HsmName, KeyPurpose};
use signet_core::oauth::grant::{ClientCredentialsRequest, TokenRequest};
use signet_core::settings::{SettingsDocument, TokenWords};
use signet_jose::{Algorithm, JwkSet, UnverifiedJws, VerifyingKey};
use signet_service::key_ring::rotation::Rotator;
use signet_store::Keys as _;

use crate::support::people::TestClient;
use crate::support::{InProcess, context};

const DAY: Duration = Duration::from_hours(24);

/// A fresh token's algorithm, once its signature was verified by the published keys.
async fn verified(app: &InProcess, client: &TestClient) -> Algorithm {
    let token = app.token(client).await.unwrap().access_token;
    let jws = UnverifiedJws::parse(token.expose()).unwrap();
    let snapshot = app.issuer.directory.fresh().await.unwrap();
    // As a stranger reads it: by the published document alone.
    let published = JwkSet::from_json(&snapshot.jwks().to_json().to_string()).unwrap();
    let key = published.keys.into_iter().find(|key| Some(&key.key_id) == jws.header().key_id.as_ref()).unwrap();
    let algorithm = key.algorithm;
    jws.verify(&VerifyingKey::new(key)).unwrap();
    algorithm
}

/// One key of each type is enough for an algorithm's life: publication, signature, hand-over, end.
#[tokio::test]
async fn a_key_of_each_algorithm_signs_and_is_replaced_by_one_of_its_kind() {
    for algorithm in [Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
        let tokens = Some(tokens_by(algorithm));
        let app = InProcess::with(|setup| setup.document.tokens = tokens).await;
        let client = app.client("app").await;
        assert_eq!(verified(&app, &client).await, algorithm);
        let first = signing_keys(&app).await;
        let mut rotator = Rotator::new(app.signet.key_ring.rotation.clone(), "one".to_owned());
        for pass in [89 * DAY, DAY] {
            app.pass(pass).await;
            rotator.work().await.unwrap();
            rotator.work().await.unwrap();
            assert_eq!(verified(&app, &client).await, algorithm);
        }
        let keys = signing_keys(&app).await;
        assert_eq!(keys.iter().map(|key| key.state.name()).collect::<Vec<_>>(), ["retiring", "active"], "{algorithm}");
        assert_eq!((&keys[0].key_id, keys[1].public.as_ref().unwrap().algorithm), (&first[0].key_id, algorithm));
    }
}

/// A ring of several algorithms: each has its own active key, and the configured one signs.
#[tokio::test]
async fn keys_of_several_algorithms_stand_in_one_ring() {
    let app = InProcess::new().await;
    let (client, maker) = (app.client("app").await, &app.signet.key_ring.maker);
    let others = [Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs512, Algorithm::Ps384];
    for algorithm in others {
        let key = maker.generate_signing_key(&HsmName::new("a"), algorithm, 2048, &context()).await.unwrap();
        assert!(key.state.is_active(), "the first of its algorithm signs at once");
    }
    let snapshot = app.issuer.directory.fresh().await.unwrap();
    assert_eq!(snapshot.jwks().keys.len(), 5);
    for algorithm in others.into_iter().chain([Algorithm::Es256]) {
        let [key] = snapshot.active(algorithm).collect::<Vec<_>>()[..] else { panic!("one key of {algorithm}") };
        app.signet.key_ring.signatures.test_key(key).await.unwrap();
    }
    assert_eq!(verified(&app, &client).await, Algorithm::Es256);
    // Once another one is stated its key signs, in every process, and the tokens of before hold.
    let before = app.token(&client).await.unwrap().access_token;
    let other = app.another_process();
    other.open_secret().await;
    let tokens = Some(tokens_by(Algorithm::EdDsa));
    app.state(SettingsDocument { tokens, ..SettingsDocument::default() }).await;
    let request =
        TokenRequest::ClientCredentials(ClientCredentialsRequest { scopes: None, resources: BTreeSet::new() });
    let answer = other.issuer().issuing.token(&client.presented(), &request, &context()).await.unwrap();
    let token = UnverifiedJws::parse(answer.access_token.expose()).unwrap();
    assert_eq!(token.header().algorithm, Algorithm::EdDsa);
    assert!(app.is_active(&client, &before).await && app.is_active(&client, &answer.access_token).await);
}

fn tokens_by(algorithm: Algorithm) -> TokenWords {
    TokenWords { algorithm: Some(algorithm.name().to_owned()), ..TokenWords::default() }
}

async fn signing_keys(app: &InProcess) -> Vec<HsmKey> {
    let keys = app.store.keys().await.unwrap();
    keys.into_iter().filter(|key| key.purpose == KeyPurpose::TokenSigning).collect()
}
