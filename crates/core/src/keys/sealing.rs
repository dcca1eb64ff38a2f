//! Secrets at rest: the row that one is bound to, the ways in which it is kept, and its copies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HsmName, TenantId};
use crate::words::words;

/// The row that a sealed secret belongs to: a blob moved to another row does not open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowBinding(String);

impl RowBinding {
    /// Names a row by tenant, table, id and column. None of the parts may hold a NUL.
    pub fn new(tenant: &TenantId, table: &str, id: &str, column: &str) -> Self {
        Self(format!("signet/1\0{tenant}\0{table}\0{id}\0{column}"))
    }

    /// The row that the deployment's secret is bound to in the envelope that another node gets it in.
    pub fn of_deployment_secret() -> Self {
        Self::of_generation(1)
    }

    /// The row of a generation of the deployment's secret.
    pub fn of_generation(generation: u8) -> Self {
        Self::new(&TenantId::default_tenant(), "deployment", &generation.to_string(), "secret")
    }

    /// The row that these bytes name; `None` where they are no text.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(|text| Self(text.to_owned()))
    }

    /// The bytes that are bound.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// How a secret is kept (DESIGN: sealing). The first byte of each blob says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealMode {
    /// AES key wrap with padding; used inside the HSM only.
    Wrapped,
    /// AES-256-GCM by the HSM; opened for one use.
    Sealed,
}

impl SealMode {
    /// The mode that a blob's first byte names.
    pub fn of_blob(first: Option<&u8>) -> Option<Self> {
        match first? {
            1 => Some(Self::Sealed),
            2 => Some(Self::Wrapped),
            _ => None,
        }
    }
}

/// A secret at rest, once per HSM token: any healthy token can open its own. What is written for a token that this node does not
/// reach is no seal but an [`Envelope`](super::Envelope), which its own node makes a seal of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedCopies(pub BTreeMap<HsmName, Vec<u8>>);

words! {
    /// The hash of an OTP's HMAC.
    pub enum OtpHash {
        /// HMAC-SHA-1, RFC 4226.
        Sha1 = "SHA1",
        /// HMAC-SHA-256, RFC 6238 §1.2.
        Sha256 = "SHA256",
        /// HMAC-SHA-512, RFC 6238 §1.2.
        Sha512 = "SHA512",
    }
}

/// What a wrapped secret is, so that it unwraps to a key of the right kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtpSecretKind {
    /// An HMAC key of an OTP.
    Hmac(OtpHash),
    /// An AES-128 key of a Yubico OTP.
    Aes128,
}

impl OtpSecretKind {
    /// The byte that binds a secret to its kind. None is 0, which stands for a secret that is opened.
    pub const fn code(self) -> u8 {
        match self {
            Self::Hmac(OtpHash::Sha1) => 1,
            Self::Hmac(OtpHash::Sha256) => 2,
            Self::Hmac(OtpHash::Sha512) => 3,
            Self::Aes128 => 4,
        }
    }
}
