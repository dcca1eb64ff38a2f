//! The keys that tokens are verified with, found by name alone, and why there are none.

use std::collections::HashMap;

use signet_jose::jwk::KeyError;
use signet_jose::{Header, Jwk, JwkSet, KeyId, VerifyingKey};

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
    #[error("the JWKS has no key that can be used")]
    NoUsableKey,
}

/// Keys made ready to verify, by their `kid`.
#[derive(Debug, Default)]
pub(super) struct KeySet(HashMap<KeyId, VerifyingKey>);

impl KeySet {
    /// A name that two different keys share names neither: which one was meant can't be known.
    pub(super) fn new(set: JwkSet) -> Self {
        let mut by_name: HashMap<KeyId, Option<Jwk>> = HashMap::new();
        for jwk in set.keys {
            by_name
                .entry(jwk.key_id.clone())
                .and_modify(|known| *known = known.take().filter(|known| *known == jwk))
                .or_insert(Some(jwk));
        }
        let unambiguous = by_name.into_iter().filter_map(|(key_id, jwk)| Some((key_id, VerifyingKey::new(jwk?))));
        Self(unambiguous.collect())
    }

    /// Reads a JWKS document.
    pub(super) fn from_json(json: &str) -> Result<Self, JwksError> {
        Ok(Self::new(JwkSet::from_json(json)?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that a header names. A header without a name means the only key there is.
    pub(super) fn find(&self, header: &Header) -> Option<&VerifyingKey> {
        match &header.key_id {
            Some(key_id) => self.0.get(key_id),
            None if self.0.len() == 1 => self.0.values().next(),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

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
        assert!(!KeySet::new(JwkSet { keys: vec![twice.clone(), twice.clone()] }).is_empty());
        assert!(KeySet::new(JwkSet { keys: vec![twice.clone(), jwk("a"), twice] }).is_empty());
    }
}
