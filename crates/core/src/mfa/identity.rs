//! Who a user and a factor are, and how far a factor is spent. The store keeps these; the factors' rules judge them.

use serde::{Deserialize, Serialize};

use super::FactorKind;
use crate::keys::{OtpHash, OtpSecretKind};

crate::string_id! {
    /// A user's id: a UUIDv7, the `sub` of the user's tokens.
    pub struct UserId;

    /// A factor's id: a UUIDv7.
    pub struct FactorId;
}

/// What a factor's kind needs for its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactorDetail {
    /// RFC 6238.
    Totp(TotpState),
    /// RFC 4226.
    Hotp(HotpState),
    /// A Yubico OTP with the factor's own AES key.
    YubicoOtp(YubicoState),
    /// A Yubico OTP whose key another validation server has.
    YubicoRemote(YubicoRemoteState),
    /// A security key or passkey (W3C WebAuthn Level 3).
    WebAuthn(WebAuthnState),
    /// A key in a YubiKey's PIV slot 9a (NIST SP 800-73).
    Piv(PivState),
    /// One-time recovery codes, kept as hashes beside the factor.
    Recovery(RecoveryState),
}

impl FactorDetail {
    /// The kind.
    pub const fn kind(&self) -> FactorKind {
        match self {
            Self::Totp(_) => FactorKind::Totp,
            Self::Hotp(_) => FactorKind::Hotp,
            Self::YubicoOtp(_) => FactorKind::YubicoOtp,
            Self::YubicoRemote(_) => FactorKind::YubicoRemote,
            Self::WebAuthn(_) => FactorKind::WebAuthn,
            Self::Piv(_) => FactorKind::Piv,
            Self::Recovery(_) => FactorKind::Recovery,
        }
    }

    /// What the HSM keeps for the factor; `None` for a kind without a secret.
    pub const fn secret_kind(&self) -> Option<OtpSecretKind> {
        match self {
            Self::Totp(state) => Some(OtpSecretKind::Hmac(state.hash)),
            Self::Hotp(state) => Some(OtpSecretKind::Hmac(state.hash)),
            Self::YubicoOtp(_) => Some(OtpSecretKind::Aes128),
            Self::Recovery(_) => Some(OtpSecretKind::Hmac(super::recovery::HASH)),
            Self::YubicoRemote(_) | Self::WebAuthn(_) | Self::Piv(_) => None,
        }
    }

    /// What names the factor from outside and is unique in the tenant for its kind: a Yubico public id, a credential
    /// id, a key's thumbprint.
    pub fn handle(&self) -> Option<&str> {
        match self {
            Self::YubicoOtp(state) => Some(&state.public_id),
            Self::YubicoRemote(state) => Some(&state.public_id),
            Self::WebAuthn(state) => Some(&state.credential_id),
            Self::Piv(state) => Some(&state.key_thumbprint),
            Self::Totp(_) | Self::Hotp(_) | Self::Recovery(_) => None,
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
    /// Steps that are accepted on either side of the expected one: 1, or 2 for a hardware token's clock.
    pub window: u8,
    /// The last step that was accepted; only later ones count. -1 before the first.
    pub last_step: i64,
}

/// A HOTP factor's parameters and how far it is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotpState {
    /// The HMAC's hash.
    pub hash: OtpHash,
    /// 6 or 8.
    pub digits: u8,
    /// The lowest counter that is still acceptable: 0 for a new token. Kept beside the rest, in a column of its own.
    #[serde(skip)]
    pub next_counter: i64,
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

/// A Yubico OTP factor whose key another validation server has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct YubicoRemoteState {
    /// The public id in modhex, unique in the tenant.
    pub public_id: String,
    /// The last accepted `useCtr << 8 | sessionUse`; only greater ones count. -1 before the first. Kept beside the rest,
    /// in a column of its own.
    #[serde(skip)]
    pub last_counter: i64,
}

/// A security key's or passkey's credential and how far its counter is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebAuthnState {
    /// The credential's id in base64url, unique in the tenant.
    pub credential_id: String,
    /// The credential as the WebAuthn library keeps it, in JSON: its public key and how it was registered.
    pub credential: String,
    /// The authenticator's model, where it was attested: a UUID.
    pub aaguid: Option<String>,
    /// Whether the model was proved by an attestation that the policy trusts.
    pub attested: bool,
    /// Whether it verified the person when it was enrolled, by a PIN or a finger; it must then do so each time.
    pub verifies: bool,
    /// The last signature counter. Kept beside the rest, in a column of its own.
    #[serde(skip)]
    pub counter: i64,
}

/// A key in a PIV slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PivState {
    /// The RFC 7638 thumbprint of the public key, unique in the tenant.
    pub key_thumbprint: String,
    /// The public key: DER of a `SubjectPublicKeyInfo`, in base64.
    pub public_key: String,
    /// The YubiKey's serial number, where it was attested or told.
    pub serial: Option<u32>,
    /// Whether Yubico's attestation proved that the key was made on the device.
    pub attested: bool,
}

/// A set of one-time recovery codes. Their hashes are kept one by one, so that each is spent by one write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryState {
    /// How many codes were made.
    pub made: u32,
}
