//! Key pairs in memory, of each algorithm.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as aws, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};
use signet_jose::algorithm::KeyType;
use signet_jose::{Algorithm, PublicKey};

/// A pair as a software token holds it.
pub(super) enum Pair {
    Ec(EcdsaKeyPair, KeyType),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    pub(super) fn generate(key_type: KeyType) -> Self {
        let on_curve =
            |curve: &'static EcdsaSigningAlgorithm| Self::Ec(EcdsaKeyPair::generate(curve).unwrap(), key_type);
        match key_type {
            KeyType::P256 => on_curve(&aws::ECDSA_P256_SHA256_FIXED_SIGNING),
            KeyType::P384 => on_curve(&aws::ECDSA_P384_SHA384_FIXED_SIGNING),
            KeyType::Ed25519 => Self::Ed25519(Ed25519KeyPair::generate().unwrap()),
            KeyType::Rsa => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        }
    }

    pub(super) fn public(&self) -> PublicKey {
        match self {
            Self::Ec(pair, key_type) => PublicKey::from_ec_point(*key_type, pair.public_key().as_ref()),
            Self::Ed25519(pair) => PublicKey::from_ec_point(KeyType::Ed25519, pair.public_key().as_ref()),
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let (modulus, exponent) = (public.modulus(), public.exponent());
                PublicKey::from_rsa(
                    modulus.big_endian_without_leading_zero(),
                    exponent.big_endian_without_leading_zero(),
                )
            }
        }
        .unwrap()
    }

    pub(super) fn key_type(&self) -> KeyType {
        self.public().key_type()
    }

    /// The raw signature; `None` where the algorithm needs another type of key.
    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            _ if self.key_type() != algorithm.key_type() => None,
            Self::Ec(pair, _) => Some(pair.sign(&random, message).unwrap().as_ref().to_vec()),
            Self::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(algorithm)?, &random, message, &mut signature).unwrap();
                Some(signature)
            }
        }
    }
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        Algorithm::Rs256 => &aws::RSA_PKCS1_SHA256,
        Algorithm::Rs384 => &aws::RSA_PKCS1_SHA384,
        Algorithm::Rs512 => &aws::RSA_PKCS1_SHA512,
        Algorithm::Ps256 => &aws::RSA_PSS_SHA256,
        Algorithm::Ps384 => &aws::RSA_PSS_SHA384,
        Algorithm::Ps512 => &aws::RSA_PSS_SHA512,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => return None,
    })
}
