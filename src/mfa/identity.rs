//! Who a user and a factor are, and how far a factor is spent. The store keeps these; the factors' rules judge them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::keys::OtpHash;

/// A user's id: a UUIDv7, the `sub` of the user's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    /// An id as it was made, stored or received; it is only ever looked up.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A factor's id: a UUIDv7.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FactorId(String);

impl FactorId {
    /// An id as it was made, stored or received; it is only ever looked up.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FactorId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a factor's kind needs for its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactorDetail {
    /// RFC 6238.
    Totp(TotpState),
    /// A Yubico OTP with the factor's own AES key.
    YubicoOtp(YubicoState),
}

impl FactorDetail {
    /// The kind's name in the store, in audit records and on the command line.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Totp(_) => "totp",
            Self::YubicoOtp(_) => "yubico_otp",
        }
    }
}

/// A TOTP factor's parameters and how far it is spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotpState {
    /// The HMAC's hash.
    pub hash: OtpHash,
    /// 6 or 8.
    pub digits: u8,
    /// 30 or 60 seconds.
    pub step_seconds: u32,
    /// Steps by which the device's clock runs ahead (positive) or behind.
    pub drift: i32,
    /// The last step that was accepted; only later ones count. -1 before the first.
    pub last_step: i64,
}

/// A Yubico OTP factor's identity and how far it is spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YubicoState {
    /// The public id in modhex, unique in the tenant.
    pub public_id: String,
    /// The private id as 12 hex digits: checked against the block, and no secret by itself.
    pub private_id: [u8; 6],
    /// The last accepted `useCtr << 8 | sessionUse`; only greater ones count. -1 before the first.
    pub last_counter: i64,
}
