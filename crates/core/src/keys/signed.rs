//! What the pairs of a deployment sign, told apart by the `typ` of the JWS header (RFC 7515 §4.1.9). The HSM worker
//! counts by it, and refuses what it does not know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::KeyPurpose;
use crate::words::words;
use signet_jose::{Algorithm, Header, KeyId, signing_input};

/// The payload of a test signature: no JSON, so that nobody can take it for claims.
pub const TEST_PAYLOAD: &[u8] = b"signet test signature";

words! {
    /// One kind of what is signed.
    pub enum SignedKind {
        /// An access token (RFC 9068 §2.1).
        Token = "token",
        /// A checkpoint of the audit chain.
        Checkpoint = "checkpoint",
        /// A custody report.
        Report = "report",
        /// A statement over all rows of a backup.
        Backup = "backup",
        /// The admission of a node, with the deployment's secret in an envelope.
        Admission = "admission",
        /// A test signature, which proves that the key can sign and nothing else.
        Test = "test",
    }
}

impl SignedKind {
    /// The `typ` of its header.
    pub const fn token_type(self) -> &'static str {
        match self {
            Self::Token => "at+jwt",
            Self::Checkpoint => "signet-checkpoint+jwt",
            Self::Report => "signet-custody+jws",
            Self::Backup => "signet-backup+jws",
            Self::Admission => "signet-admission+jws",
            Self::Test => "signet-test+jws",
        }
    }

    /// The kind of this very `typ`.
    pub fn from_token_type(token_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.token_type() == token_type)
    }

    /// Whether a key of this purpose signs it.
    pub const fn is_signed_by(self, purpose: KeyPurpose) -> bool {
        match self {
            Self::Token => matches!(purpose, KeyPurpose::TokenSigning),
            Self::Checkpoint | Self::Report | Self::Backup | Self::Admission => {
                matches!(purpose, KeyPurpose::AuditSigning)
            }
            Self::Test => purpose.signs(),
        }
    }
}

/// What the HSM worker holds what it signs against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningPolicy {
    /// The issuers whose tokens are signed: each tenant's `iss`.
    pub issuers: Vec<String>,
    /// The longest time from `iat` to `exp` of a token.
    pub longest_token: Duration,
    /// The most tokens a second of one worker process; 0: no limit.
    pub most_per_second: u32,
}

/// What a key signs to show that it can.
pub fn test_signing_input(key_id: &KeyId, algorithm: Algorithm) -> String {
    let token_type = Some(SignedKind::Test.token_type().to_owned());
    signing_input(&Header { algorithm, key_id: Some(key_id.clone()), token_type }, TEST_PAYLOAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_names_its_kind_and_no_other_spelling_does() {
        for kind in SignedKind::ALL {
            assert_eq!(SignedKind::from_token_type(kind.token_type()), Some(kind));
            assert_eq!(SignedKind::from_token_type(&kind.token_type().to_uppercase()), None);
        }
        assert_eq!(SignedKind::from_token_type("application/at+jwt"), None);
    }

    #[test]
    fn a_key_that_keeps_secrets_signs_nothing() {
        for purpose in [KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding, KeyPurpose::Transport] {
            assert!(!SignedKind::ALL.into_iter().any(|kind| kind.is_signed_by(purpose)));
        }
        assert!(!SignedKind::Token.is_signed_by(KeyPurpose::AuditSigning));
        assert!(!SignedKind::Checkpoint.is_signed_by(KeyPurpose::TokenSigning));
    }
}
