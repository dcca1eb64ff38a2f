//! The JOSE header of a compact JWS (RFC 7515 §4): which members are read, ignored and refused.

use serde_json::{Map, Value};

use super::{Algorithm, JwsError, KeyId, strict_json};

/// The longest `kid` that is looked up, in bytes.
const MAX_KEY_ID_LENGTH: usize = 256;

/// Members that name a key by value or address, or that change what the signature covers or how the payload is read.
///
/// `crit` is refused whatever it lists, because no extension is understood here (RFC 7515 §4.1.11). Other members
/// that are not understood are ignored, as RFC 7515 §4 asks.
const REFUSED: [&str; 8] = ["crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"];

/// The header that Signet writes and accepts: `alg`, `kid`, `typ`, and nothing that names a key by value or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `alg` (RFC 7515 §4.1.1). Compared with the key's algorithm, never followed.
    pub algorithm: Algorithm,
    /// `kid` (RFC 7515 §4.1.4).
    pub key_id: Option<KeyId>,
    /// `typ` (RFC 7515 §4.1.9), as it stands.
    pub token_type: Option<String>,
}

impl Header {
    /// Reads the JSON of a header.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, JwsError> {
        let mut members = strict_json::object(json).map_err(|_| JwsError::Header)?;
        if REFUSED.iter().any(|name| members.contains_key(*name)) {
            return Err(JwsError::RefusedMember);
        }
        if text(&mut members, "cty")?.is_some_and(|content_type| names_jwt(&content_type)) {
            return Err(JwsError::RefusedMember);
        }
        let algorithm = text(&mut members, "alg")?.ok_or(JwsError::Header)?;
        let key_id = text(&mut members, "kid")?;
        if key_id.as_ref().is_some_and(|key_id| key_id.len() > MAX_KEY_ID_LENGTH) {
            return Err(JwsError::Header);
        }
        Ok(Self {
            algorithm: algorithm.parse().map_err(|_| JwsError::Algorithm)?,
            key_id: key_id.map(KeyId::new),
            token_type: text(&mut members, "typ")?,
        })
    }

    /// The JSON of the header.
    pub(super) fn to_json(&self) -> String {
        let mut members = Map::new();
        members.insert("alg".into(), self.algorithm.name().into());
        if let Some(key_id) = &self.key_id {
            members.insert("kid".into(), key_id.as_str().into());
        }
        if let Some(token_type) = &self.token_type {
            members.insert("typ".into(), token_type.as_str().into());
        }
        Value::Object(members).to_string()
    }
}

/// Takes a member that must be a string where it is there at all.
fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, JwsError> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwsError::Header),
    }
}

/// Whether a `cty` says that the payload is a JWT again (RFC 7519 §5.2): nested tokens are not read.
fn names_jwt(content_type: &str) -> bool {
    content_type.eq_ignore_ascii_case("JWT") || content_type.eq_ignore_ascii_case("application/jwt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let header = Header {
            algorithm: Algorithm::Es256,
            key_id: Some(KeyId::new("a\"b\u{0}é")),
            token_type: Some("at+jwt".into()),
        };
        assert_eq!(Header::from_json(header.to_json().as_bytes()), Ok(header));
    }

    #[test]
    fn ignores_harmless_members_that_it_does_not_know() {
        let header = Header::from_json(br#"{"alg":"RS256","x5t":"AA","nonce":{"a":[1]},"cty":"json"}"#).unwrap();
        assert_eq!(header, Header { algorithm: Algorithm::Rs256, key_id: None, token_type: None });
    }

    #[test]
    fn names_what_is_wrong() {
        let cases = [
            (r#"{"alg":"none"}"#, JwsError::Algorithm),
            (r#"{"alg":"HS256"}"#, JwsError::Algorithm),
            (r#"{"alg":"ES256","crit":[]}"#, JwsError::RefusedMember),
            (r#"{"alg":"ES256","cty":"jwt"}"#, JwsError::RefusedMember),
            (r#"{"alg":["ES256"]}"#, JwsError::Header),
            (r#"{"typ":"JWT"}"#, JwsError::Header),
            (r#"{"alg":"ES256","kid":7}"#, JwsError::Header),
            (r#"{"alg":"ES256","alg":"ES256"}"#, JwsError::Header),
            (r#"["ES256"]"#, JwsError::Header),
        ];
        for (json, error) in cases {
            assert_eq!(Header::from_json(json.as_bytes()), Err(error), "{json}");
        }
    }
}
