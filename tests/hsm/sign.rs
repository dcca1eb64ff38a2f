//! Every algorithm signs, and an independent implementation agrees.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use signet_core::keys::{KeyAdmin as _, Signature, Signer as _};
use signet_jose::{Algorithm, PublicKey, VerifyingKey};

use crate::support::hsm::{SoftToken, hsm, pair, probe, started};

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
