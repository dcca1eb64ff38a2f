//! Public keys as JWK (RFC 7517, 7518 §6, 8037 §2) and SPKI (RFC 5280), with their thumbprints (RFC 7638).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Algorithm;
use super::algorithm::KeyType;

/// A key's name: the RFC 7638 thumbprint of its public JWK, base64url. Opaque when it comes from a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// A key id as it was stored or received; it is only ever looked up.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A public key that was checked when it was made: the point is on its curve, the modulus has 2048 to 4096 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Material);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    P256 { x: [u8; 32], y: [u8; 32] },
    P384 { x: [u8; 48], y: [u8; 48] },
    Ed25519 { x: [u8; 32] },
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

/// Why a public key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a JWK or SPKI of a kind that Signet knows.
    #[error("the key is not a public key of a supported type (EC P-256, EC P-384, OKP Ed25519, RSA)")]
    Unsupported,
    /// A member is missing, repeated or not strict base64url.
    #[error("the key's member `{0}` is missing or malformed")]
    Malformed(&'static str),
    /// The point does not lie on its curve.
    #[error("the key's point is not on its curve")]
    NotOnCurve,
    /// The RSA modulus or exponent is outside of what is accepted.
    #[error("the RSA key is not of 2048 to 4096 bits with an odd public exponent of at least 65537")]
    RsaSize,
    /// The key carries private members.
    #[error("the key carries private members; only public keys are read")]
    Private,
}

impl PublicKey {
    /// A P-256, P-384 or Ed25519 key from a point: uncompressed SEC 1 (`04 ‖ x ‖ y`), or the 32 bytes of RFC 8032,
    /// bare or in a DER OCTET STRING (PKCS#11's `CKA_EC_POINT` is seen as both).
    ///
    /// # Errors
    ///
    /// [`KeyError::NotOnCurve`], or [`KeyError::Malformed`] for another length.
    pub fn from_ec_point(key_type: KeyType, point: &[u8]) -> Result<Self, KeyError> {
        todo!()
    }

    /// An RSA key from its big-endian modulus and public exponent.
    ///
    /// # Errors
    ///
    /// [`KeyError::RsaSize`].
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        todo!()
    }

    /// A key from the DER of a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with what is wrong.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        todo!()
    }

    /// The DER of the key's `SubjectPublicKeyInfo`.
    pub fn to_spki_der(&self) -> Vec<u8> {
        todo!()
    }

    /// The kind of key.
    pub fn key_type(&self) -> KeyType {
        todo!()
    }

    /// The RFC 7638 thumbprint with SHA-256, base64url: the key's `kid`.
    pub fn thumbprint(&self) -> KeyId {
        todo!()
    }
}

/// A public JWK with its name and use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    /// The public key.
    pub key: PublicKey,
    /// `kid`.
    pub key_id: KeyId,
    /// `alg`: the one algorithm that this key is for.
    pub algorithm: Algorithm,
}

impl Jwk {
    /// A key named by its thumbprint.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsupported`] where the algorithm needs another type of key.
    pub fn new(key: PublicKey, algorithm: Algorithm) -> Result<Self, KeyError> {
        todo!()
    }

    /// Reads the JSON of one JWK strictly.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with what is wrong.
    pub fn from_json(json: &str) -> Result<Self, KeyError> {
        todo!()
    }

    /// The JWK as JSON, with `use: sig`.
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}

/// A set of JWKs (RFC 7517 §5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwkSet {
    /// The keys that could be used; keys of unknown types are left out, as RFC 7517 §5 asks.
    pub keys: Vec<Jwk>,
}

impl JwkSet {
    /// Reads a JWKS document, leaving out keys that can't be used.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] where the document is no JWKS.
    pub fn from_json(json: &str) -> Result<Self, KeyError> {
        todo!()
    }

    /// The JWKS document.
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}
