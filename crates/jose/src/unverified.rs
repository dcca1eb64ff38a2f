//! What arrives: a compact JWS whose payload nobody may read yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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
    /// Longer than [`UnverifiedJws::MAX_LENGTH`], or for a document [`UnverifiedJws::MAX_DOCUMENT_LENGTH`].
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not three base64url parts without padding.
    #[error("the token is not a compact JWS")]
    NotCompact,
    /// The header is not one strict JSON object.
    #[error("the token's header is malformed")]
    Header,
    /// The header names an algorithm that is not a signature algorithm of Signet's, or not the key's.
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

    /// The longest document that is looked at, in bytes.
    pub const MAX_DOCUMENT_LENGTH: usize = 4 * 1024 * 1024;

    /// Parses a compact JWS (RFC 7515 §7.1) strictly: base64url without padding, white space or stray trailing bits.
    ///
    /// # Errors
    ///
    /// [`JwsError`] with what is wrong.
    pub fn parse(text: &'t str) -> Result<Self, JwsError> {
        if text.len() > Self::MAX_LENGTH { Err(JwsError::TooLong) } else { Self::parse_any(text) }
    }

    /// Parses a document that a person keeps in a file (a signed report, an export), as strictly as
    /// [`parse`](Self::parse) does a token. It may be longer: up to [`MAX_DOCUMENT_LENGTH`](Self::MAX_DOCUMENT_LENGTH).
    ///
    /// # Errors
    ///
    /// [`JwsError`] with what is wrong.
    pub fn parse_document(text: &'t str) -> Result<Self, JwsError> {
        if text.len() > Self::MAX_DOCUMENT_LENGTH { Err(JwsError::TooLong) } else { Self::parse_any(text) }
    }

    fn parse_any(text: &'t str) -> Result<Self, JwsError> {
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsError::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::NotCompact)?;
        if signature.is_empty() {
            return Err(JwsError::NotCompact);
        }
        Ok(Self {
            header: Header::from_json(&decode(header)?)?,
            signing_input,
            // A fourth part would leave a dot in here, which is no base64url.
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
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
        if self.header.algorithm != key.algorithm() {
            return Err(JwsError::Algorithm);
        }
        key.check(self.signing_input.as_bytes(), &self.signature).map_err(|_| JwsError::Signature)?;
        Ok(VerifiedJws { header: self.header, payload: self.payload })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::NotCompact)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Algorithm, KeyId, assemble, signing_input};

    fn token(header: &str, payload: &str, signature: &str) -> String {
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn refusal(text: &str) -> JwsError {
        UnverifiedJws::parse(text).unwrap_err()
    }

    #[test]
    fn refuses_what_is_not_three_parts() {
        for text in ["", ".", "..", "...", "a", "a.b", "eyJhbGciOiJFUzI1NiJ9.e30", "eyJhbGciOiJFUzI1NiJ9.e30."] {
            assert!(UnverifiedJws::parse(text).is_err(), "{text}");
        }
        assert_eq!(refusal("eyJhbGciOiJFUzI1NiJ9.e30.AA.AA"), JwsError::NotCompact);
        assert!(UnverifiedJws::parse("eyJhbGciOiJFUzI1NiJ9.e30.AA").is_ok());
    }

    #[test]
    fn refuses_other_base64_than_unpadded_base64url() {
        for signature in ["AA==", "AA=", "A+", "A/", " AA", "AA\n", "AB", "A", "AA\u{0}", "ÄÄ"] {
            assert_eq!(refusal(&format!("eyJhbGciOiJFUzI1NiJ9.e30.{signature}")), JwsError::NotCompact, "{signature}");
        }
    }

    #[test]
    fn looks_at_nothing_longer_than_8_kib() {
        let frame = token(r#"{"alg":"ES256"}"#, "", "AA").len();
        let payload = |length: usize| "A".repeat(length - frame);
        let text = |length| format!("eyJhbGciOiJFUzI1NiJ9.{}.AA", payload(length));
        assert!(UnverifiedJws::parse(&text(UnverifiedJws::MAX_LENGTH)).is_ok());
        assert_eq!(refusal(&text(UnverifiedJws::MAX_LENGTH + 1)), JwsError::TooLong);
        assert_eq!(refusal(&"\u{0}".repeat(UnverifiedJws::MAX_LENGTH + 1)), JwsError::TooLong);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = UnverifiedJws::parse(&text);
            let _ = UnverifiedJws::parse(&String::from_utf8_lossy(&bytes));
            let encoded = URL_SAFE_NO_PAD.encode(&bytes);
            let _ = UnverifiedJws::parse(&format!("{encoded}.{encoded}.{encoded}"));
        }

        #[test]
        fn parses_what_is_assembled(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            signature in proptest::collection::vec(any::<u8>(), 1..200),
            key_id in proptest::option::of("\\PC{0,60}"),
            token_type in proptest::option::of("[a-z+]{0,20}"),
            index in 0..Algorithm::ALL.len(),
        ) {
            let header = Header { algorithm: Algorithm::ALL[index], key_id: key_id.map(KeyId::new), token_type };
            let text = assemble(signing_input(&header, &payload), &signature);
            let parsed = UnverifiedJws::parse(&text).unwrap();
            prop_assert_eq!(parsed.header(), &header);
            prop_assert_eq!(parsed.payload, payload);
            prop_assert_eq!(parsed.signature, signature);
        }
    }
}
