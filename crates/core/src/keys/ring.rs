//! The keys that a deployment depends on, and the states of a tenant's key ring.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::words::words;
use signet_jose::clock::Timestamp;
use signet_jose::{Algorithm, Jwk, KeyId};

crate::string_id! {
    /// The name of one tenant, e.g. `default`.
    pub struct TenantId;

    /// The configured name of one HSM token (`[[hsm]] name`).
    pub struct HsmName;
}

impl TenantId {
    /// The tenant whose issuer is `server.public_url`.
    pub fn default_tenant() -> Self {
        Self::new("default")
    }
}

words! {
    /// What a key is for. A key has one purpose, and its HSM attributes allow nothing else.
    pub enum KeyPurpose {
        /// Signs tokens (a pair).
        TokenSigning = "token_signing",
        /// Signs checkpoints of the audit chain (a pair).
        AuditSigning = "audit_signing",
        /// Wraps OTP secrets: AES-256, `CKA_WRAP` and `CKA_UNWRAP` only.
        Wrapping = "wrapping",
        /// Seals what is stored: AES-256-GCM, `CKA_ENCRYPT` and `CKA_DECRYPT` only.
        Sealing = "sealing",
        /// Binds wrapped secrets to their rows, and derived refresh tokens before the deployment had a secret of its own:
        /// HMAC-SHA-256, `CKA_SIGN` only.
        Binding = "binding",
        /// Receives secrets that HSM tokens of other nodes sealed (a pair of P-256): `CKA_DERIVE` only. It signs nothing and is
        /// never published.
        Transport = "transport",
    }
}

impl KeyPurpose {
    /// Whether the key is a pair with a public half.
    pub const fn is_pair(self) -> bool {
        matches!(self, Self::TokenSigning | Self::AuditSigning | Self::Transport)
    }

    /// Whether the key signs what the deployment states.
    pub const fn signs(self) -> bool {
        matches!(self, Self::TokenSigning | Self::AuditSigning)
    }
}

words! {
    /// Why a key left the JWKS for good.
    pub enum KeyEnd {
        /// The last token that it signed had expired.
        Expired = "expired",
        /// A person revoked it: whatever it signed counts for nothing.
        Revoked = "revoked",
        /// Its HSM token does not have it, or not in custody, and it had not begun to sign.
        Lost = "lost",
    }
}

/// A key's stage in its ring: `next → active → retiring → destroyed`. Between the last two it is `withdrawn`: out of the
/// JWKS, and still to be destroyed in its HSM token, so that a process that dies in between loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum KeyState {
    /// Published, and not signing yet.
    Next {
        /// When it entered the JWKS.
        published_at: Timestamp,
    },
    /// Signing.
    Active {
        /// When it began to sign.
        since: Timestamp,
    },
    /// Published, and signing no more.
    Retiring {
        /// When it stopped signing.
        since: Timestamp,
        /// When the last token that it signed has expired.
        until: Timestamp,
    },
    /// Out of the JWKS, and perhaps still in the HSM.
    Withdrawn {
        /// When it left the JWKS.
        since: Timestamp,
        /// Why.
        end: KeyEnd,
    },
    /// Gone from the HSM.
    Destroyed {
        /// When it was destroyed.
        at: Timestamp,
        /// Why it had left the JWKS.
        end: KeyEnd,
    },
}

/// A key is not in the stage from which this transition leads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key that is {stage} can't be {asked}")]
pub struct WrongStage {
    /// The stage that it is in.
    pub stage: &'static str,
    /// What was asked for, e.g. `activated`.
    pub asked: &'static str,
}

impl KeyState {
    /// Takes the key out of the JWKS: a retiring one whose time is over, a lost one that never signed, and any published
    /// one that is revoked.
    /// Errors: [`WrongStage`] from a stage that does not end so.
    pub fn withdraw(self, at: Timestamp, end: KeyEnd) -> Result<Self, WrongStage> {
        let may_end = match (self, end) {
            (Self::Retiring { until, .. }, KeyEnd::Expired) => until <= at,
            (Self::Next { .. }, KeyEnd::Lost) => true,
            (_, KeyEnd::Revoked) => self.is_published(),
            _ => false,
        };
        if may_end { Ok(Self::Withdrawn { since: at, end }) } else { Err(self.refuses("withdrawn")) }
    }

    /// `withdrawn → destroyed`, after the HSM token has it no more.
    /// Errors: [`WrongStage`] from any other stage.
    pub const fn destroy(self, at: Timestamp) -> Result<Self, WrongStage> {
        match self {
            Self::Withdrawn { end, .. } => Ok(Self::Destroyed { at, end }),
            other => Err(other.refuses("destroyed")),
        }
    }

    const fn refuses(self, asked: &'static str) -> WrongStage {
        WrongStage { stage: self.name(), asked }
    }

    /// Whether the key stands in the JWKS.
    pub const fn is_published(&self) -> bool {
        !matches!(self, Self::Withdrawn { .. } | Self::Destroyed { .. })
    }

    /// The stage's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Next { .. } => "next",
            Self::Active { .. } => "active",
            Self::Retiring { .. } => "retiring",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Destroyed { .. } => "destroyed",
        }
    }

    /// When the stage began.
    pub const fn since(&self) -> Timestamp {
        match self {
            Self::Next { published_at: at } | Self::Active { since: at } | Self::Retiring { since: at, .. } => *at,
            Self::Withdrawn { since: at, .. } | Self::Destroyed { at, .. } => *at,
        }
    }

    /// When the stage ends by itself.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Retiring { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Why the key left the JWKS, once it has.
    pub const fn end(&self) -> Option<KeyEnd> {
        match self {
            Self::Withdrawn { end, .. } | Self::Destroyed { end, .. } => Some(*end),
            _ => None,
        }
    }

    /// Whether the key signs.
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Active { .. })
    }

    /// Whether a token that expires then verifies to its end: by a key that signs, or by one that stays published for
    /// long enough.
    pub fn covers(&self, expires_at: Timestamp) -> bool {
        match self {
            Self::Active { .. } => true,
            Self::Retiring { until, .. } => expires_at <= *until,
            Self::Next { .. } | Self::Withdrawn { .. } | Self::Destroyed { .. } => false,
        }
    }
}

/// A pair that is about to be generated. It is written down before the HSM is asked, so that a key whose making was cut
/// short is found again by its `CKA_ID`, and no other key is ever taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The HSM token.
    pub hsm: HsmName,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// What it will sign with.
    pub algorithm: Algorithm,
    /// `CKA_ID`, chosen at random beforehand.
    pub cka_id: Vec<u8>,
    /// When it was announced.
    pub at: Timestamp,
    /// Whether whoever announced it is done with it, and does not know what the HSM token made of it.
    pub given_up: bool,
}

/// The moment at which a key begins to sign in the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// The `next` key.
    pub successor: HsmKey,
    /// The active key of the same tenant, HSM token, purpose and algorithm, where there is one.
    pub predecessor: Option<HsmKey>,
    /// When.
    pub at: Timestamp,
    /// The longest that tokens last which the process that hands over issues.
    pub token_lifetime: Duration,
    /// How much longer the predecessor stays published.
    pub margin: Duration,
}

/// One key that the deployment depends on, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmKey {
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// The HSM token that it lives in.
    pub hsm: HsmName,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its name: the thumbprint of a pair, a random text of a secret key.
    pub key_id: KeyId,
    /// `CKA_ID` in the HSM token.
    pub cka_id: Vec<u8>,
    /// The public half of a pair, with its algorithm.
    pub public: Option<Jwk>,
    /// Its stage.
    pub state: KeyState,
    /// When it was generated.
    pub created_at: Timestamp,
}

/// Bytes in small hex digits, as PKCS#11 tools write a `CKA_ID`.
pub fn hexadecimal(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    #[test]
    fn a_key_goes_its_way_and_no_other() {
        let next = KeyState::Next { published_at: at(0) };
        let active = KeyState::Active { since: at(1) };
        let retiring = KeyState::Retiring { since: at(2), until: at(9) };
        assert!(retiring.withdraw(at(8), KeyEnd::Expired).is_err(), "its last token has not expired");
        let withdrawn = retiring.withdraw(at(9), KeyEnd::Expired).unwrap();
        let destroyed = withdrawn.destroy(at(10)).unwrap();
        assert_eq!(destroyed, KeyState::Destroyed { at: at(10), end: KeyEnd::Expired });
        for state in [next, active, retiring, destroyed] {
            assert!(state.destroy(at(11)).is_err(), "{state:?}");
        }
        assert_eq!(active.destroy(at(3)).unwrap_err().to_string(), "a key that is active can't be destroyed");
    }

    #[test]
    fn whatever_is_published_can_be_revoked_and_only_once() {
        let next = KeyState::Next { published_at: at(0) };
        let active = KeyState::Active { since: at(0) };
        let retiring = KeyState::Retiring { since: at(0), until: at(100) };
        for state in [next, active, retiring] {
            let withdrawn = state.withdraw(at(1), KeyEnd::Revoked).unwrap();
            assert!(!withdrawn.is_published() && !withdrawn.covers(at(0)));
            assert!(withdrawn.withdraw(at(2), KeyEnd::Revoked).is_err());
        }
        assert!(active.withdraw(at(1), KeyEnd::Lost).is_err() && next.withdraw(at(1), KeyEnd::Expired).is_err());
    }

    #[test]
    fn a_retiring_key_covers_what_expires_in_its_time() {
        let retiring = KeyState::Retiring { since: at(0), until: at(100) };
        assert!(retiring.covers(at(100)) && !retiring.covers(at(101)));
    }
}
