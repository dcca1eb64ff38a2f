//! What arrives: a compact JWS whose payload nobody may read yet.

use super::{Header, VerifiedJws, VerifyingKey};

/// A compact JWS, parsed strictly and not verified. Only the header can be seen, to find the key.
#[derive(Debug)]
pub struct UnverifiedJws<'t> {
    header: Header,
    signing_input: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Why a text is no acceptable compact JWS, or does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Longer than [`UnverifiedJws::MAX_LENGTH`].
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not three base64url parts without padding.
    #[error("the token is not a compact JWS")]
    NotCompact,
    /// The header is not one strict JSON object.
    #[error("the token's header is malformed")]
    Header,
    /// The header names an algorithm that is not a signature algorithm of Signet's.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// The header carries `crit`, `b64`, `zip`, `jwk`, `jku`, `x5u`, `x5c` or another member that is refused.
    #[error("the token's header carries a member that is refused")]
    RefusedMember,
    /// The signature is not this key's over this input.
    #[error("the token's signature does not verify")]
    Signature,
}

impl<'t> UnverifiedJws<'t> {
    /// The longest token that is looked at, in bytes.
    pub const MAX_LENGTH: usize = 8 * 1024;

    /// Parses a compact JWS (RFC 7515 §7.1) strictly.
    ///
    /// # Errors
    ///
    /// [`JwsError`] with what is wrong.
    pub fn parse(text: &'t str) -> Result<Self, JwsError> {
        todo!()
    }

    /// The header, to find the key by.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Verifies the signature; the algorithm is the key's, and the header's must equal it.
    ///
    /// # Errors
    ///
    /// [`JwsError::Algorithm`] or [`JwsError::Signature`].
    pub fn verify(self, key: &VerifyingKey) -> Result<VerifiedJws, JwsError> {
        todo!()
    }
}
