//! The keys that a deployment depends on, and the states of a tenant's key ring.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jose::{Jwk, KeyId};

/// The name of one tenant, e.g. `default`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(String);

impl TenantId {
    /// A tenant's name as configured or stored.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The tenant whose issuer is `server.public_url`.
    pub fn default_tenant() -> Self {
        Self("default".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The configured name of one HSM token (`[[hsm]] name`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HsmName(String);

impl HsmName {
    /// A name as configured or stored.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HsmName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a key is for. A key has one purpose, and its HSM attributes allow nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// Signs tokens (a pair).
    TokenSigning,
    /// Signs checkpoints of the audit chain (a pair).
    AuditSigning,
    /// Wraps OTP secrets: AES-256, `CKA_WRAP` and `CKA_UNWRAP` only.
    Wrapping,
    /// Seals what is stored: AES-256-GCM, `CKA_ENCRYPT` and `CKA_DECRYPT` only.
    Sealing,
    /// Binds wrapped secrets to their rows and derives tokens: HMAC-SHA-256, `CKA_SIGN` only.
    Binding,
}

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: [Self; 5] = [Self::TokenSigning, Self::AuditSigning, Self::Wrapping, Self::Sealing, Self::Binding];

    /// The name in the store, in labels and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenSigning => "token_signing",
            Self::AuditSigning => "audit_signing",
            Self::Wrapping => "wrapping",
            Self::Sealing => "sealing",
            Self::Binding => "binding",
        }
    }

    /// Whether the key is a pair with a public half.
    pub const fn is_pair(self) -> bool {
        matches!(self, Self::TokenSigning | Self::AuditSigning)
    }
}

/// A key's stage in its ring: `next → active → retiring → destroyed`.
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
    /// Gone from the HSM.
    Destroyed {
        /// When it was destroyed.
        at: Timestamp,
    },
}

impl KeyState {
    /// Whether the key stands in the JWKS.
    pub const fn is_published(&self) -> bool {
        !matches!(self, Self::Destroyed { .. })
    }

    /// The stage's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Next { .. } => "next",
            Self::Active { .. } => "active",
            Self::Retiring { .. } => "retiring",
            Self::Destroyed { .. } => "destroyed",
        }
    }

    /// When the stage began.
    pub const fn since(&self) -> Timestamp {
        match self {
            Self::Next { published_at: at } | Self::Active { since: at } | Self::Retiring { since: at, .. } => *at,
            Self::Destroyed { at } => *at,
        }
    }

    /// When the stage ends by itself.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Retiring { until, .. } => Some(*until),
            Self::Next { .. } | Self::Active { .. } | Self::Destroyed { .. } => None,
        }
    }

    /// Whether the key signs.
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Active { .. })
    }
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
