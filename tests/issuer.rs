//! An issuer with software keys: it plays another issuer, or the attacker. Signet itself has no such thing.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signet_jose::algorithm::KeyType;
use signet_jose::clock::{Clock, Timestamp};
use signet_jose::{Algorithm, Jwk, JwkSet, PublicKey};
use signet_verify::{Verifier, VerifierBuilder};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "https://api.example";
pub(crate) const NOW: i64 = 1_700_000_000;

/// A clock that stands still at [`NOW`].
pub(crate) struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(NOW)
    }
}

/// A key pair in software, for one algorithm.
pub(crate) struct SoftKey {
    pair: Pair,
    pub(crate) jwk: Jwk,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
}

impl SoftKey {
    pub(crate) fn generate(algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            Algorithm::Es384 => Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_SHA512),
        };
        let jwk = Jwk::new(pair.public_key(algorithm.key_type()), algorithm).unwrap();
        Self { pair, jwk }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token with exactly these bytes as header and payload.
    pub(crate) fn token(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// The header of an honest access token.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.jwk.algorithm.name(), "typ": "at+jwt", "kid": self.jwk.key_id.as_str() })
    }

    /// An honest header and payload but for what `change` does to them.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut payload) = (self.header(), claims());
        change(&mut header, &mut payload);
        self.token(&header.to_string(), &payload.to_string())
    }

    pub(crate) fn honest(&self) -> String {
        self.changed(|_, _| ())
    }

    /// A verifier that trusts this key alone.
    pub(crate) fn verifier(&self) -> Verifier {
        builder().build_from_keys(set([self]))
    }
}

impl Pair {
    fn public_key(&self, key_type: KeyType) -> PublicKey {
        match self {
            Self::Ecdsa(pair) => PublicKey::from_ec_point(key_type, pair.public_key().as_ref()),
            Self::Ed25519(pair) => PublicKey::from_ec_point(key_type, pair.public_key().as_ref()),
            Self::Rsa(pair, _) => {
                let public = pair.public_key();
                PublicKey::from_rsa(
                    public.modulus().big_endian_without_leading_zero(),
                    public.exponent().big_endian_without_leading_zero(),
                )
            }
        }
        .unwrap()
    }
}

fn rsa(encoding: &'static dyn RsaEncoding) -> Pair {
    Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()), encoding)
}

/// The claims of an honest access token.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "user", "aud": AUDIENCE, "client_id": "client", "jti": "id-1",
        "iat": NOW, "nbf": NOW, "exp": NOW + 300, "scope": "read", "roles": ["reader"],
    })
}

pub(crate) fn set<'k>(keys: impl IntoIterator<Item = &'k SoftKey>) -> JwkSet {
    JwkSet { keys: keys.into_iter().map(|key| key.jwk.clone()).collect() }
}

pub(crate) fn builder() -> VerifierBuilder {
    Verifier::builder(ISSUER).audience(AUDIENCE).clock(Arc::new(StoppedClock))
}
