//! Cards: a nonce is signed in time, for the client and the name that it was made for, once.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::PublicKeyData as _;
use signet_core::mfa::piv::{NONCE_LIFETIME, SignInContext, signed_text};
use signet_core::mfa::{Credentials, SecondFactor};
use signet_core::oauth::OAuthError;
use signet_jose::PublicKey;
use signet_service::ChangeError;
use signet_service::sign_in::piv::PivKey;

use crate::support::people::{PASSWORD, TestClient, secret, shown};
use crate::support::{ISSUER, InProcess, context};

/// The key of a card's slot 9a, in software.
struct Card {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl Card {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.serialized_der()).unwrap();
        Self { pair, spki: key.subject_public_key_info() }
    }

    fn to_enrol(&self) -> PivKey {
        PivKey { key: PublicKey::from_spki_der(&self.spki).unwrap(), attested: None, serial: None }
    }

    fn sign(&self, client: &TestClient, name: &str, nonce: &str) -> Credentials {
        let context = SignInContext { issuer: ISSUER, client: client.client.id.as_str(), username: name };
        let signature = self.pair.sign(&SystemRandom::new(), &signed_text(context, nonce)).unwrap();
        let (key, signature) = (URL_SAFE_NO_PAD.encode(&self.spki), URL_SAFE_NO_PAD.encode(signature.as_ref()));
        let second = SecondFactor::Card(secret(&format!("{nonce}.{key}.{signature}")));
        Credentials { second, ..shown(name, PASSWORD, "") }
    }
}

struct Stage {
    app: InProcess,
    client: TestClient,
    card: Card,
}

impl Stage {
    async fn new() -> Self {
        let app = InProcess::new().await;
        let client = app.client("app").await;
        app.user("ann").await;
        let card = Card::new();
        app.issuer.factors.enrolment.enrol_piv("ann", "card", &card.to_enrol(), &context()).await.unwrap();
        Self { app, client, card }
    }

    async fn nonce(&self, client: &TestClient) -> String {
        let known = self.app.known(client).await;
        self.app.issuer.sign_in.piv.challenge(&known).await.unwrap().text()
    }

    async fn sign_in(&self, request: Credentials) -> Result<(), OAuthError> {
        self.app.token_for(&self.client, request).await.map(drop)
    }
}

#[tokio::test]
async fn a_card_signs_in_by_a_nonce_of_the_last_three_minutes_once() {
    let stage = Stage::new().await;
    let nonce = stage.nonce(&stage.client).await;
    stage.app.pass(NONCE_LIFETIME).await;
    assert_eq!(stage.sign_in(stage.card.sign(&stage.client, "ann", &nonce)).await, Ok(()));
    let late = stage.nonce(&stage.client).await;
    let other = stage.app.client("other").await;
    let (foreign, right) = (stage.nonce(&other).await, stage.nonce(&stage.client).await);
    let cases = [
        (stage.card.sign(&stage.client, "ann", &nonce), "stale_nonce"),
        (stage.card.sign(&stage.client, "ann", &foreign), "wrong_nonce"),
        (stage.card.sign(&other, "ann", &right), "wrong_signature"),
        (Credentials { username: secret("ann"), ..stage.card.sign(&stage.client, "bob", &right) }, "wrong_signature"),
        (Card::new().sign(&stage.client, "ann", &right), "unknown_key"),
    ];
    stage.app.pass(Duration::from_secs(1)).await;
    for (request, reason) in cases {
        assert_eq!(stage.sign_in(request).await, Err(OAuthError::InvalidGrant), "{reason}");
        assert_eq!(stage.app.reasons("sign_in").await.last().unwrap(), reason);
    }
    assert_eq!(stage.sign_in(stage.card.sign(&stage.client, "ann", &right)).await, Ok(()));
    assert_eq!(stage.sign_in(stage.card.sign(&stage.client, "ann", &right)).await, Err(OAuthError::InvalidGrant));
    assert_eq!(stage.app.reasons("sign_in").await.last().unwrap(), "replayed_code");
    stage.app.pass(NONCE_LIFETIME).await;
    stage.app.tell_refusals().await;
    assert_eq!(stage.sign_in(stage.card.sign(&stage.client, "ann", &late)).await, Err(OAuthError::InvalidGrant));
    stage.app.tell_refusals().await;
    assert_eq!(stage.app.reasons("sign_in").await.last().unwrap(), "stale_nonce");
}

#[tokio::test]
async fn a_card_is_one_persons() {
    let stage = Stage::new().await;
    stage.app.user("bob").await;
    let again = stage.app.issuer.factors.enrolment.enrol_piv("bob", "card", &stage.card.to_enrol(), &context()).await;
    assert!(matches!(again, Err(ChangeError::Taken { .. })));
}
