//! The keys that tokens are verified with, found by their name and, where several have it, by their algorithm; and why there are none.

use std::collections::HashMap;

use signet_jose::jwk::KeyError;
use signet_jose::{Algorithm, Header, Jwk, JwkSet, KeyId, LeftOut, VerifyingKey};

/// Why a JWKS can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// The text is no URL.
    #[cfg(feature = "jwks")]
    #[error("the JWKS URL is malformed: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// The URL is not one that keys are fetched from.
    #[cfg(feature = "jwks")]
    #[error("the JWKS URL must be https (http on loopback only) and carry no user name or password")]
    RefusedUrl,
    /// The file can't be read.
    #[cfg(feature = "jwks")]
    #[error("the JWKS file {path} can't be read: {error}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The URL can't be fetched.
    #[cfg(feature = "jwks")]
    #[error("the JWKS can't be fetched from {url}: {reason}")]
    Fetch {
        /// The URL.
        url: http::Uri,
        /// What went wrong.
        reason: String,
    },
    /// More than is read.
    #[cfg(feature = "jwks")]
    #[error("the JWKS is larger than 1 MiB")]
    TooLarge,
    /// Not a JWKS.
    #[error("the document is no JWKS: {0}")]
    Document(#[from] KeyError),
    /// No key that tokens could be verified with.
    #[error("the JWKS has no key that can be used{}", listed(.0))]
    NoUsableKey(Vec<LeftOut>),
}

/// What was left out, in words.
fn listed(left_out: &[LeftOut]) -> String {
    let listed: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    if listed.is_empty() { " (it is empty)".to_owned() } else { format!(": {}", listed.join("; ")) }
}

/// Keys made ready to verify, by their `kid`: of different algorithms where several have one (RFC 7517 §4.5).
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: HashMap<KeyId, Vec<VerifyingKey>>,
    left_out: Vec<LeftOut>,
}

impl KeySet {
    /// Two different keys of one name and algorithm are not used: which one was meant can't be known.
    pub(super) fn new(set: JwkSet) -> Self {
        let mut by_name: HashMap<(KeyId, Algorithm), (usize, Option<Jwk>)> = HashMap::new();
        for (index, jwk) in set.keys.into_iter().enumerate() {
            by_name
                .entry((jwk.key_id.clone(), jwk.algorithm))
                .and_modify(|(_, known)| *known = known.take().filter(|known| *known == jwk))
                .or_insert((index + 1, Some(jwk)));
        }
        let mut sorted = Self::default();
        for ((key_id, algorithm), (place, jwk)) in by_name {
            match jwk {
                Some(jwk) => sorted.keys.entry(key_id).or_default().push(VerifyingKey::new(jwk)),
                None => {
                    let why = format!("another {algorithm} key has that kid, and which one is meant can't be known");
                    sorted.left_out.push(LeftOut { place, key_id: Some(key_id), why });
                }
            }
        }
        sorted
    }

    /// Reads a JWKS document.
    pub(super) fn from_json(json: &str) -> Result<Self, JwksError> {
        let (set, mut left_out) = JwkSet::read(json)?;
        let mut keys = Self::new(set);
        left_out.append(&mut keys.left_out);
        Ok(Self { left_out, ..keys })
    }

    #[cfg(feature = "jwks")]
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Itself, where a token could be verified with it.
    pub(super) fn usable(self) -> Result<Self, JwksError> {
        if self.keys.is_empty() { Err(JwksError::NoUsableKey(self.left_out)) } else { Ok(self) }
    }

    /// The keys that are not used, and why.
    pub(super) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The key that a header names: of several that one of its algorithm, and any of them where none has it, which then refuses it. A
    /// header without a name means the only key there is.
    pub(super) fn find(&self, header: &Header) -> Option<&VerifyingKey> {
        let named = match &header.key_id {
            Some(key_id) => self.keys.get(key_id)?,
            None if self.keys.len() == 1 => self.keys.values().next().filter(|keys| keys.len() == 1)?,
            None => return None,
        };
        named.iter().find(|key| key.jwk().algorithm == header.algorithm).or_else(|| named.first())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};

    use super::*;
    use signet_jose::algorithm::KeyType;
    use signet_jose::{Algorithm, PublicKey};

    fn jwk(name: &str) -> Jwk {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = PublicKey::from_ec_point(KeyType::Ed25519, pair.public_key().as_ref()).unwrap();
        Jwk { key, key_id: KeyId::new(name), algorithm: Algorithm::EdDsa }
    }

    fn named(key_id: Option<&str>) -> Header {
        Header { algorithm: Algorithm::EdDsa, key_id: key_id.map(KeyId::new), token_type: None }
    }

    #[test]
    fn a_key_is_found_by_its_exact_name() {
        let set = KeySet::new(JwkSet { keys: vec![jwk("a"), jwk("b")] });
        assert_eq!(set.find(&named(Some("a"))).unwrap().key_id().as_str(), "a");
        assert!(set.find(&named(Some("A"))).is_none());
        assert!(set.find(&named(None)).is_none());
    }

    #[test]
    fn the_only_key_needs_no_name() {
        let set = KeySet::new(JwkSet { keys: vec![jwk("a")] });
        assert!(set.find(&named(None)).is_some());
        assert!(set.find(&named(Some("b"))).is_none());
    }

    #[test]
    fn hazard_117_a_document_that_is_no_json_is_told_so_once() {
        for text in ["no JSON", "{\"keys\":[]} and more", "{\"keys\":[],\"keys\":[]}"] {
            let told = KeySet::from_json(text).unwrap_err().to_string();
            assert_eq!(told, "the document is no JWKS: it is not one JSON object with distinct names", "{text}");
        }
    }

    #[test]
    fn a_name_of_two_keys_names_neither() {
        let twice = jwk("a");
        assert!(KeySet::new(JwkSet { keys: vec![twice.clone(), twice.clone()] }).usable().is_ok());
        let refused = KeySet::new(JwkSet { keys: vec![twice.clone(), jwk("a"), twice] }).usable().unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("key 1 (kid \"a\")") && told.contains("another EdDSA key has that kid"), "{told}");
    }

    #[test]
    fn keys_of_one_name_are_told_apart_by_their_algorithm() {
        let ec = |point: &[u8]| PublicKey::from_ec_point(KeyType::P256, point).unwrap();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let other = Jwk { key: ec(pair.public_key().as_ref()), key_id: KeyId::new("a"), algorithm: Algorithm::Es256 };
        let set = KeySet::new(JwkSet { keys: vec![jwk("a"), other] }).usable().unwrap();
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let header = Header { algorithm, ..named(Some("a")) };
            assert_eq!(set.find(&header).unwrap().jwk().algorithm, algorithm);
        }
        // One that none of them is for is refused by the key, and not fetched anew.
        assert!(set.find(&Header { algorithm: Algorithm::Rs256, ..named(Some("a")) }).is_some());
        assert!(set.find(&named(None)).is_none());
    }

    #[test]
    fn what_is_left_out_is_told() {
        let told = KeySet::from_json(r#"{"keys":[{"kty":"oct","kid":"s","k":"AA"}]}"#).unwrap().usable().unwrap_err();
        assert!(told.to_string().contains("no key that can be used: key 1 (kid \"s\"): "), "{told}");
        let empty = KeySet::from_json(r#"{"keys":[]}"#).unwrap().usable().unwrap_err().to_string();
        assert!(empty.ends_with("(it is empty)"), "{empty}");
    }
}
