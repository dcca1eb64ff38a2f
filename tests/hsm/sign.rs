//! Every algorithm signs, and an independent implementation agrees; signatures go before other work.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use signet_core::keys::{KeyAdmin as _, KeyPurpose, Signature, Signer as _, Vault as _};
use signet_hsm::HsmConfig;
use signet_jose::{Algorithm, PublicKey, VerifyingKey};
use tokio::task::JoinSet;

use crate::support::hsm::{SoftToken, hsm, pair, probe, started, vault_keys};
use crate::support::process::Paused;

fn independent(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
    }
}

/// aws-lc reads the contents of the SPKI's BIT STRING, which for these keys is the end of the DER; Ed25519 and EC points
/// have a fixed length, and RSA's is a SEQUENCE of its own.
pub(super) fn verifies(key: &PublicKey, algorithm: Algorithm, message: &[u8], signature: &Signature) -> bool {
    let der = key.to_spki_der();
    let bare = match algorithm {
        Algorithm::Es256 => &der[der.len() - 65..],
        Algorithm::Es384 => &der[der.len() - 97..],
        Algorithm::EdDsa => &der[der.len() - 32..],
        _ => der.as_slice(),
    };
    UnparsedPublicKey::new(independent(algorithm), bare).verify(message, signature.as_bytes()).is_ok()
}

#[tokio::test]
async fn all_nine_algorithms_sign_and_verify() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let report = group.describe(&hsm()).await.unwrap();
    assert_eq!(report.algorithms, Algorithm::ALL);
    assert_eq!(report.token.label, "signet");
    for algorithm in Algorithm::ALL {
        let key = pair(&group, algorithm).await;
        let jwk = key.public.clone().unwrap();
        let message = probe(&key);
        let raw = group.sign(&key, algorithm, message.clone()).await.unwrap();
        let signature = raw.check(&VerifyingKey::new(jwk.clone()), &message).unwrap();
        assert!(verifies(&jwk.key, algorithm, &message, &signature), "{algorithm}");
    }
    group.shutdown().await;
}

/// Every task of this thread goes on until it waits for the worker.
async fn all_are_sent() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// While a worker is held, requests pile up before it; it then reads them all before it does the first.
#[tokio::test]
async fn a_waiting_signature_goes_before_waiting_rounds_which_get_each_eighth_turn() {
    let token = SoftToken::new();
    let (group, _events) = started(HsmConfig { sessions: 1, ..token.config() }).await;
    let key = pair(&group, Algorithm::Es256).await;
    group.use_keys(vault_keys(&group, &[KeyPurpose::Binding]).await);
    group.derive(None, "test", b"known").await.unwrap();
    let [worker] = group.worker_process_ids(&hsm())[..] else { panic!() };
    let order = Arc::new(Mutex::new(Vec::new()));
    let paused = Paused::new(vec![worker]);
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let (group, order) = (Arc::clone(&group), Arc::clone(&order));
        waiting.spawn(async move {
            group.derive(None, "test", b"waits").await.unwrap();
            order.lock().unwrap().push("round");
        });
    }
    all_are_sent().await;
    for _ in 0..9 {
        let (group, key, order) = (Arc::clone(&group), key.clone(), Arc::clone(&order));
        waiting.spawn(async move {
            let _unchecked = group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap();
            order.lock().unwrap().push("signature");
        });
    }
    all_are_sent().await;
    drop(paused);
    waiting.join_all().await;
    let expected = [vec!["signature"; 7], vec!["round"], vec!["signature"; 2], vec!["round"]].concat();
    assert_eq!(*order.lock().unwrap(), expected);
    group.shutdown().await;
}
