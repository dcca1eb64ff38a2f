//! What verified: a value that only [`UnverifiedJws::verify`](super::UnverifiedJws::verify) makes.

use super::{Algorithm, Header, Jwk, KeyId};

/// A public key made ready to verify with one algorithm.
pub struct VerifyingKey {
    jwk: Jwk,
    decoding_key: jsonwebtoken::DecodingKey,
}

/// The signature is not this key's over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct WrongSignature;

impl VerifyingKey {
    /// Makes a key ready.
    pub fn new(jwk: Jwk) -> Self {
        todo!()
    }

    /// The key.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// The one algorithm that this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.jwk.algorithm
    }

    /// The key's name.
    pub fn key_id(&self) -> &KeyId {
        &self.jwk.key_id
    }

    /// Checks a raw signature (for ECDSA `r ‖ s`, RFC 7518 §3.4) over a message.
    ///
    /// # Errors
    ///
    /// [`WrongSignature`].
    pub fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), WrongSignature> {
        todo!()
    }
}

/// A JWS whose signature verified: its payload may be read.
#[derive(Debug, Clone)]
pub struct VerifiedJws {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

impl VerifiedJws {
    /// The header, now trustworthy.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload, now trustworthy.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}
