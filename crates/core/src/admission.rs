//! How a node with an HSM token of its own is let in: the code that an operator compares on both machines, and the statement by
//! which a node that is in gives it the deployment's secret. See `docs/decisions/0035-*`.
//!
//! Whoever writes the database can offer a secret of their own, or ask with a transport key of their own. The code covers the new
//! token's transport key and the audit key of the node that vouches; so where it is the same on both machines, each of them saw
//! the other's key. The statement is a JWS of a type of its own, signed by that audit key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::keys::envelope::lengthened;
use crate::keys::{HsmName, SignedKind};
use signet_jose::clock::Timestamp;
use signet_jose::{KeyId, UnverifiedJws, VerifyingKey};

/// 160 bits: whoever looks for two pairs of keys with one code needs 2^80 tries.
const CODE_BYTES: usize = 20;
/// Letters of a group.
const GROUP: usize = 4;

/// The code that an operator compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinCode(String);

impl JoinCode {
    /// The code of a new HSM token's transport key and of the audit key of the node that vouches.
    pub fn of(hsm: &HsmName, transport: &KeyId, audit: &KeyId) -> Self {
        let parts = [
            b"signet/1 join".as_slice(),
            hsm.as_str().as_bytes(),
            transport.as_str().as_bytes(),
            audit.as_str().as_bytes(),
        ];
        let digest: [u8; 32] = Sha256::digest(lengthened(&parts)).into();
        Self(BASE32_NOPAD.encode(digest.get(..CODE_BYTES).unwrap_or_default()))
    }

    /// What a person typed: in either case, with or without what separates its groups. `None` where it is no code.
    pub fn typed(text: &str) -> Option<Self> {
        let letters: String = text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-').collect();
        let letters = letters.to_ascii_uppercase();
        let decoded = BASE32_NOPAD.decode(letters.as_bytes()).ok()?;
        (decoded.len() == CODE_BYTES).then_some(Self(letters))
    }
}

impl std::fmt::Display for JoinCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, letter) in self.0.chars().enumerate() {
            if place > 0 && place.is_multiple_of(GROUP) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{letter}")?;
        }
        Ok(())
    }
}

/// What the node that vouches states, once its signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The issuer of the deployment.
    pub issuer: String,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The HSM token that is let in.
    pub hsm: HsmName,
    /// Its transport key.
    pub transport: KeyId,
    /// Which generation of the deployment's secret it is given.
    pub generation: u8,
    /// The deployment's secret, encrypted to it.
    pub envelope: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    v: u32,
    iss: String,
    iat: i64,
    hsm: String,
    transport: String,
    generation: u8,
    envelope: String,
}

/// Why an admission is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionRefused {
    /// It is no JWS, or its signature is another key's.
    #[error("it is forged: {0}")]
    Jws(#[from] signet_jose::JwsError),
    /// It is another kind of JWS.
    #[error("it is another kind of signature: its `typ` is not {}", SignedKind::Admission.token_type())]
    OtherType,
    /// Another key signed it than the one that the code was made of.
    #[error("it was signed by another key ({0}) than the one that the code was made of")]
    OtherKey(KeyId),
    /// What was signed can't be read.
    #[error("it can't be read: use the version of the program that made it")]
    Unreadable,
}

impl Admission {
    /// The payload to sign as a JWS of the type [`SignedKind::Admission`].
    /// Errors: never, for what can be stated.
    pub fn to_payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Payload {
            v: 1,
            iss: self.issuer.clone(),
            iat: self.signed_at.unix_seconds(),
            hsm: self.hsm.to_string(),
            transport: self.transport.to_string(),
            generation: self.generation,
            envelope: URL_SAFE_NO_PAD.encode(&self.envelope),
        })
    }

    /// Verifies an admission with the one key that may have signed it.
    /// Errors: [`AdmissionRefused`].
    pub fn open(jws: &str, key: &VerifyingKey) -> Result<Self, AdmissionRefused> {
        let jws = UnverifiedJws::parse_document(jws)?;
        if jws.header().token_type.as_deref() != Some(SignedKind::Admission.token_type()) {
            return Err(AdmissionRefused::OtherType);
        }
        let named = jws.header().key_id.clone().unwrap_or_else(|| KeyId::new(""));
        if named != *key.key_id() {
            return Err(AdmissionRefused::OtherKey(named));
        }
        Self::from_payload(jws.verify(key)?.payload()).ok_or(AdmissionRefused::Unreadable)
    }

    fn from_payload(payload: &[u8]) -> Option<Self> {
        let read: Payload = serde_json::from_slice(payload).ok()?;
        let envelope = URL_SAFE_NO_PAD.decode(&read.envelope).ok()?;
        (read.v == 1).then(|| Self {
            issuer: read.iss,
            signed_at: Timestamp::from_unix_seconds(read.iat),
            hsm: HsmName::new(read.hsm),
            transport: KeyId::new(read.transport),
            generation: read.generation,
            envelope,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_of_both_keys_and_is_read_as_people_type_it() {
        let code = |hsm, transport, audit| JoinCode::of(&HsmName::new(hsm), &KeyId::new(transport), &KeyId::new(audit));
        let all =
            [code("a", "t", "k"), code("b", "t", "k"), code("a", "u", "k"), code("a", "t", "l"), code("at", "", "k")];
        let shown: std::collections::BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), all.len());
        let text = all[0].to_string();
        assert_eq!((text.len(), text.matches('-').count()), (39, 7));
        for typed in [text.clone(), text.to_lowercase(), text.replace('-', " "), text.replace('-', "")] {
            assert_eq!(JoinCode::typed(&typed), Some(all[0].clone()), "{typed}");
        }
        for wrong in ["", "ABCD", &text[1..], &format!("{text}A"), &text.replace(&text[..1], "1")] {
            assert_eq!(JoinCode::typed(wrong), None, "{wrong}");
        }
    }
}
