//! Public keys as JWK (RFC 7517, 7518 §6, 8037 §2), with their thumbprints (RFC 7638).

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::algorithm::KeyType;
use super::public_key::Material;
pub use super::public_key::{KeyError, PublicKey};
use super::{Algorithm, strict_json};

/// Members of a private or symmetric key (RFC 7518 §6.2.2, §6.3.2, §6.4, RFC 8037 §2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

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

impl PublicKey {
    /// The RFC 7638 thumbprint with SHA-256, base64url: the key's `kid`.
    pub fn thumbprint(&self) -> KeyId {
        // `required_members` gives them in the lexicographic order that RFC 7638 §3.3 hashes.
        let canonical = Value::Object(self.required_members()).to_string();
        KeyId(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes())))
    }

    /// The members that make up the key (RFC 7638 §3.2), in lexicographic order.
    fn required_members(&self) -> Map<String, Value> {
        let member = |name: &str, bytes: &[u8]| (name.to_owned(), Value::from(URL_SAFE_NO_PAD.encode(bytes)));
        let word = |name: &str, word: &str| (name.to_owned(), Value::from(word));
        let members = match &self.0 {
            Material::P256 { x, y } => vec![word("crv", "P-256"), word("kty", "EC"), member("x", x), member("y", y)],
            Material::P384 { x, y } => vec![word("crv", "P-384"), word("kty", "EC"), member("x", x), member("y", y)],
            Material::Ed25519 { x } => vec![word("crv", "Ed25519"), word("kty", "OKP"), member("x", x)],
            Material::Rsa { modulus, exponent } => {
                vec![member("e", exponent), word("kty", "RSA"), member("n", modulus)]
            }
        };
        members.into_iter().collect()
    }

    fn from_members(members: &Map<String, Value>) -> Result<Self, KeyError> {
        match (text(members, "kty")?, text(members, "crv")?) {
            (Some("EC"), Some("P-256")) => Self::p256(&coordinates::<32>(members)?),
            (Some("EC"), Some("P-384")) => Self::p384(&coordinates::<48>(members)?),
            (Some("OKP"), Some("Ed25519")) => Self::ed25519(&bytes(members, "x")?),
            (Some("RSA"), None) => Self::from_rsa(&number(members, "n")?, &number(members, "e")?),
            (None, _) => Err(KeyError::Malformed("kty")),
            _ => Err(KeyError::Unsupported),
        }
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
        let key_id = key.thumbprint();
        Self::named(key, key_id, algorithm)
    }

    fn named(key: PublicKey, key_id: KeyId, algorithm: Algorithm) -> Result<Self, KeyError> {
        if key.key_type() != algorithm.key_type() {
            return Err(KeyError::Unsupported);
        }
        Ok(Self { key, key_id, algorithm })
    }

    /// Reads the JSON of one JWK strictly. Without `kid` the key is named by its thumbprint. Without `alg` the curve
    /// says the algorithm, and an RSA key is for RS256, the default of OpenID Connect: a key is never for two.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with what is wrong.
    pub fn from_json(json: &str) -> Result<Self, KeyError> {
        Self::from_members(&strict_json::object(json.as_bytes()).map_err(|_| KeyError::NotJson)?)
    }

    fn from_members(members: &Map<String, Value>) -> Result<Self, KeyError> {
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(KeyError::Private);
        }
        if !is_for_signatures(members)? {
            return Err(KeyError::Unsupported);
        }
        let key = PublicKey::from_members(members)?;
        let algorithm = match text(members, "alg")? {
            Some(name) => name.parse().map_err(|_| KeyError::Unsupported)?,
            None => default_algorithm(key.key_type()),
        };
        let key_id = text(members, "kid")?.map_or_else(|| key.thumbprint(), KeyId::new);
        Self::named(key, key_id, algorithm)
    }

    /// The JWK as JSON, with `use: sig`.
    pub fn to_json(&self) -> Value {
        let mut members = self.key.required_members();
        members.insert("kid".into(), self.key_id.as_str().into());
        members.insert("alg".into(), self.algorithm.name().into());
        members.insert("use".into(), "sig".into());
        Value::Object(members)
    }
}

/// A key of a JWKS that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place in the set, from 1.
    pub place: usize,
    /// `kid`, where it has one.
    pub key_id: Option<KeyId>,
    /// Why, in words.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key_id {
            Some(key_id) => write!(formatter, "key {} (kid {:?}): {}", self.place, key_id.as_str(), self.why),
            None => write!(formatter, "key {} (without kid): {}", self.place, self.why),
        }
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
        Self::read(json).map(|(set, _)| set)
    }

    /// Reads a JWKS document as [`from_json`](Self::from_json) does, and says which keys it leaves out, and why.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotJson`] or [`KeyError::Malformed`] where the document is no JWKS.
    pub fn read(json: &str) -> Result<(Self, Vec<LeftOut>), KeyError> {
        let members = strict_json::object(json.as_bytes()).map_err(|_| KeyError::NotJson)?;
        let Some(Value::Array(keys)) = members.get("keys") else {
            return Err(KeyError::Malformed("keys"));
        };
        let (mut usable, mut left_out) = (Vec::new(), Vec::new());
        for (index, key) in keys.iter().enumerate() {
            let name = key.get("kid").and_then(Value::as_str);
            match key.as_object().ok_or(KeyError::Malformed("keys")).and_then(Jwk::from_members) {
                Ok(key) => usable.push(key),
                Err(error) => {
                    left_out.push(LeftOut { place: index + 1, key_id: name.map(KeyId::new), why: error.to_string() })
                }
            }
        }
        Ok((Self { keys: usable }, left_out))
    }

    /// The JWKS document.
    pub fn to_json(&self) -> Value {
        json!({ "keys": self.keys.iter().map(Jwk::to_json).collect::<Vec<_>>() })
    }
}

/// Whether `use` and `key_ops`, where they stand, allow to verify (RFC 7517 §4.2, §4.3).
fn is_for_signatures(members: &Map<String, Value>) -> Result<bool, KeyError> {
    let by_use = text(members, "use")?.is_none_or(|purpose| purpose == "sig");
    let by_operations = match members.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => return Err(KeyError::Malformed("key_ops")),
    };
    Ok(by_use && by_operations)
}

const fn default_algorithm(key_type: KeyType) -> Algorithm {
    match key_type {
        KeyType::P256 => Algorithm::Es256,
        KeyType::P384 => Algorithm::Es384,
        KeyType::Ed25519 => Algorithm::EdDsa,
        KeyType::Rsa => Algorithm::Rs256,
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &'static str) -> Result<Option<&'m str>, KeyError> {
    members.get(name).map(|value| value.as_str().ok_or(KeyError::Malformed(name))).transpose()
}

fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let encoded = text(members, name)?.ok_or(KeyError::Malformed(name))?;
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| KeyError::Malformed(name))
}

/// `x ‖ y`, each of the curve's full length (RFC 7518 §6.2.1.2).
fn coordinates<const N: usize>(members: &Map<String, Value>) -> Result<Vec<u8>, KeyError> {
    let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
    match (x.len() == N, y.len() == N) {
        (true, true) => Ok([x, y].concat()),
        (false, _) => Err(KeyError::Malformed("x")),
        (_, false) => Err(KeyError::Malformed("y")),
    }
}

/// A Base64urlUInt: as few bytes as the number needs (RFC 7518 §2).
fn number(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let number = bytes(members, name)?;
    if number.first().is_some_and(|first| *first != 0) { Ok(number) } else { Err(KeyError::Malformed(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7638 §3.1.
    const RFC_7638: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
    /// RFC 8037 §A.2.
    const RFC_8037: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// RFC 7515 §A.3.
    const RFC_7515: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        let thumbprint = |json| Jwk::from_json(json).unwrap().key.thumbprint();
        assert_eq!(thumbprint(RFC_7638).as_str(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(thumbprint(RFC_8037).as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_without_name_or_algorithm_gets_its_own() {
        let jwk = Jwk::from_json(RFC_8037).unwrap();
        assert_eq!((jwk.key_id, jwk.algorithm), (jwk.key.thumbprint(), Algorithm::EdDsa));
        let jwk = Jwk::from_json(RFC_7638).unwrap();
        assert_eq!((jwk.key_id.as_str(), jwk.algorithm), ("2011-04-29", Algorithm::Rs256));
    }

    #[test]
    fn reads_back_what_it_writes() {
        let keys = [RFC_7638, RFC_8037, RFC_7515].map(|json| Jwk::from_json(json).unwrap()).to_vec();
        let set = JwkSet { keys };
        assert_eq!(JwkSet::from_json(&set.to_json().to_string()), Ok(set));
    }

    #[test]
    fn names_what_is_wrong() {
        let replaced = |from: &str, to: &str| Jwk::from_json(&RFC_7515.replace(from, to)).unwrap_err();
        assert_eq!(replaced("\"kty\"", "\"d\":\"AA\",\"kty\""), KeyError::Private);
        assert_eq!(replaced("\"kty\"", "\"crv\":\"P-256\",\"kty\""), KeyError::NotJson);
        assert_eq!(replaced("x_FE", "x_FF"), KeyError::NotOnCurve);
        assert_eq!(replaced("x_FE", ""), KeyError::Malformed("y"));
        assert_eq!(replaced("x_FE", "x/FE"), KeyError::Malformed("y"));
        assert_eq!(replaced("P-256", "P-521"), KeyError::Unsupported);
        assert_eq!(replaced("\"EC\"", "\"oct\""), KeyError::Unsupported);
        assert_eq!(replaced("\"kty\"", "\"use\":\"enc\",\"kty\""), KeyError::Unsupported);
        assert_eq!(replaced("\"kty\"", "\"key_ops\":[\"sign\"],\"kty\""), KeyError::Unsupported);
        assert_eq!(replaced("\"kty\"", "\"alg\":\"ES384\",\"kty\""), KeyError::Unsupported);
        assert_eq!(replaced("\"kty\"", "\"alg\":\"none\",\"kty\""), KeyError::Unsupported);
    }

    #[test]
    fn a_set_leaves_out_what_it_can_not_use() {
        let document = format!(r#"{{"keys":[{RFC_8037},{{"kty":"oct","k":"AA"}},7,{{}}],"other":1}}"#);
        assert_eq!(JwkSet::from_json(&document).unwrap().keys, [Jwk::from_json(RFC_8037).unwrap()]);
        for document in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert!(JwkSet::from_json(document).is_err(), "{document}");
        }
    }

    #[test]
    fn a_set_says_which_key_it_leaves_out_and_why() {
        let off_curve = RFC_7515.replace("x_FE", "x_FF").replace("\"kty\"", "\"kid\":\"b\",\"kty\"");
        let document = format!(r#"{{"keys":[{RFC_8037},{{"kty":"oct","k":"AA"}},{off_curve},7]}}"#);
        let (set, left_out) = JwkSet::read(&document).unwrap();
        assert_eq!((set.keys.len(), left_out.len()), (1, 3));
        let told: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("key 2 (without kid): ") && told[1].starts_with("key 3 (kid \"b\"): "), "{told:?}");
        assert!(told[1].ends_with(&KeyError::NotOnCurve.to_string()) && told[2].starts_with("key 4 "), "{told:?}");
    }

    #[test]
    fn an_ed25519_key_may_be_for_either_name_of_the_algorithm() {
        for name in ["EdDSA", "Ed25519"] {
            let named = RFC_8037.replace("\"kty\"", &format!("\"alg\":\"{name}\",\"kty\""));
            assert_eq!(Jwk::from_json(&named).unwrap().algorithm, Algorithm::EdDsa, "{name}");
        }
        let other = RFC_8037.replace("\"kty\"", "\"alg\":\"Ed448\",\"kty\"");
        assert_eq!(Jwk::from_json(&other), Err(KeyError::Unsupported));
    }
}
