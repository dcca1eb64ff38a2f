//! Showing a token to a person without verifying it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use signet_jose::{UnverifiedJws, strict_json};

/// What a token says of itself. Nothing of it was verified: anybody can have written it. For the eye only.
#[derive(Debug, Clone, PartialEq)]
pub struct UnverifiedView {
    /// The header, as it stands.
    pub unverified_header: Value,
    /// The claims, as they stand.
    pub unverified_claims: Value,
    /// Why no verifier of Signet's would look further, where that is so.
    pub fault: Option<String>,
}

/// The text has no header and claims to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signed JWT: expected three base64url parts, of which the first two are JSON objects")]
pub struct NotInspectable;

/// Decodes a token's header and claims **without verifying anything**.
///
/// # Errors
///
/// [`NotInspectable`].
pub fn inspect(token: &str) -> Result<UnverifiedView, NotInspectable> {
    if token.len() > UnverifiedJws::MAX_LENGTH {
        return Err(NotInspectable);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NotInspectable);
    };
    let (header_json, claims_json) = (decode(header)?, decode(claims)?);
    let fault = match UnverifiedJws::parse(token) {
        Err(error) => Some(error.to_string()),
        Ok(_) => strict_json::object(&claims_json).err().map(|error| format!("the token's claims are {error}")),
    };
    Ok(UnverifiedView {
        unverified_header: serde_json::from_slice(&header_json).map_err(|_| NotInspectable)?,
        unverified_claims: serde_json::from_slice(&claims_json).map_err(|_| NotInspectable)?,
        fault,
    })
}

fn decode(part: &str) -> Result<Vec<u8>, NotInspectable> {
    URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).map_err(|_| NotInspectable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn shows_what_stands_there() {
        let view = inspect(&token(r#"{"alg":"ES256"}"#, r#"{"sub":"user"}"#)).unwrap();
        assert_eq!((view.unverified_header, view.unverified_claims), (json!({"alg":"ES256"}), json!({"sub":"user"})));
        assert_eq!(view.fault, None);
    }

    #[test]
    fn shows_a_token_that_would_be_refused_with_the_reason() {
        let fault = |header, claims| inspect(&token(header, claims)).unwrap().fault.unwrap();
        assert!(fault(r#"{"alg":"none"}"#, "{}").contains("algorithm"));
        assert!(fault(r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#).contains("claims"));
    }

    #[test]
    fn shows_nothing_of_what_is_no_token() {
        for text in ["", "a.b.c", "e30.e30", "e30.e30.AA.AA", &"a".repeat(9000)] {
            assert_eq!(inspect(text), Err(NotInspectable));
        }
    }
}
