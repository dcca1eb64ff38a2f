//! A signature on its way from the HSM: what the HSM answered is a [`RawSignature`], which can't be released;
//! [`RawSignature::check`] verifies it with the public key and returns the [`Signature`].

use signet_jose::VerifyingKey;

/// The HSM released a signature that its own public key does not verify: an alarm, never a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the HSM answered with a signature that does not verify")]
pub struct WrongSignatureFromHsm;

/// Bytes that an HSM answered as a signature, not yet verified.
#[derive(Debug)]
#[must_use]
pub struct RawSignature(Vec<u8>);

impl RawSignature {
    /// What the HSM answered. For ECDSA `r ‖ s`, as JWS wants it.
    pub fn from_hsm(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Verifies the signature with the public key; only then can it be seen.
    pub fn check(self, key: &VerifyingKey, message: &[u8]) -> Result<Signature, WrongSignatureFromHsm> {
        key.check(message, &self.0).map_err(|_| WrongSignatureFromHsm)?;
        Ok(Signature(self.0))
    }
}

/// A signature that was verified in process after the HSM made it.
#[derive(Debug, Clone)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// The bytes, for the third part of a JWS.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
