//! What a user signs in with beside the password.

use serde::{Deserialize, Serialize};
use signet_secret::SecretText;
use utoipa::ToSchema;

/// A factor, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "018f0a8e-3c1b-7d2a-9c64-1f0e5b7a2d31", "kind": "totp", "label": "phone", "serial": null,
    "state": "enabled", "created_at": "2026-11-30T08:00:00Z", "last_used_at": null}))]
pub struct Factor {
    /// The id.
    pub id: String,
    /// The user, where factors of several are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `totp`, `hotp`, `yubico_otp`, `yubico_remote`, `piv`, `webauthn`, `recovery`.
    pub kind: String,
    /// What the user calls it.
    pub label: String,
    /// The serial number that is printed on it.
    pub serial: Option<String>,
    /// A YubiKey's public id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_id: Option<String>,
    /// The thumbprint of a PIV card's key (RFC 7638).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_thumbprint: Option<String>,
    /// Whether its make is proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<bool>,
    /// A security key's AAGUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `enabled`, `disabled` or `pending`: it waits for another person. After a restore `wants_two_codes` or `wants_next_code`: it
    /// proves its user by two codes in a row.
    pub state: String,
    /// Who asked for it, while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub valid_until: Option<String>,
    /// When it was enrolled.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it proved its user last.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
}

/// A factor to enrol.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"kind": "totp", "label": "phone"}))]
pub enum NewFactor {
    /// A time-based code of an app or a hardware token (RFC 6238).
    Totp(NewTotp),
    /// A counter-based code of a token with a button (RFC 4226).
    Hotp(NewHotp),
    /// Recovery codes: each good for one sign-in without the token. The answer shows them this once.
    Recovery(NewRecovery),
    /// A YubiKey's OTP slot with its own AES key; no cloud is asked.
    YubicoOtp(NewYubicoOtp),
    /// A YubiKey's OTP slot whose AES key another validation server has (`yubico_validation`).
    YubicoRemote(NewYubicoRemote),
    /// The key of a PIV card's slot 9a. What it must come with, `mfa.piv` says.
    Piv(NewPiv),
}

/// A time-based code.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTotp {
    /// What the user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The HMAC's hash: `SHA1` (default), `SHA256`, `SHA512`. Many apps know SHA1 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^SHA(1|256|512)$")]
    pub hash: Option<String>,
    /// Digits of a code: 6 (default) or 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// Seconds of a step: 30 (default) or 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// Whether it is a hardware token, whose clock nobody sets.
    #[serde(default)]
    pub hardware: bool,
    /// The serial number that is printed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The secret that it has already, in base32. Where none is given one is made, and the answer shows it this once.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub secret_base32: Option<SecretText>,
}

/// A counter-based code.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHotp {
    /// What the user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The HMAC's hash: `SHA1` (default), `SHA256`, `SHA512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^SHA(1|256|512)$")]
    pub hash: Option<String>,
    /// Digits of a code: 6 (default) or 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// The token's next counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub counter: Option<i64>,
    /// The serial number that is printed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The secret that it has already, in base32. Where none is given one is made, and the answer shows it this once.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub secret_base32: Option<SecretText>,
}

/// Recovery codes, of which nothing is to be said.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRecovery {}

/// A YubiKey's OTP slot.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewYubicoOtp {
    /// What the user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The public id in modhex: what the key types first.
    pub public_id: String,
    /// The private id: 12 hex digits.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password)]
    pub private_id: SecretText,
    /// The AES key: 32 hex digits.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password)]
    pub secret_key: SecretText,
}

/// A YubiKey's OTP slot that is known elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewYubicoRemote {
    /// What the user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The public id in modhex: what the key types first.
    pub public_id: String,
}

/// The key of a PIV card's slot 9a: its certificate, its public key or its attestation. Each is PEM, or DER in base64.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPiv {
    /// What the user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The certificate of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The public key (SubjectPublicKeyInfo).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The card's attestation of the key. Enough by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<String>,
    /// Certificates between the key's or the attestation's and the root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intermediates: Vec<String>,
    /// The serial number that is printed on the card, where no attestation tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

/// A factor that was enrolled, with what is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "018f0a8e-3c1b-7d2a-9c64-1f0e5b7a2d31", "kind": "totp", "label": "phone", "serial": null,
    "state": "enabled", "created_at": "2026-11-30T08:00:00Z", "last_used_at": null, "secret_base32": "JBSWY3DPEHPK3PXP",
    "otpauth_uri": "otpauth://totp/Signet:ann?secret=JBSWY3DPEHPK3PXP&issuer=Signet"}))]
pub struct Enrolled {
    /// The factor.
    #[serde(flatten)]
    pub factor: Factor,
    /// The fresh secret, in base32.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub secret_base32: Option<SecretText>,
    /// The same for an app to scan.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub otpauth_uri: Option<SecretText>,
    /// Recovery codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<String>>,
    /// Whether a PIV card asks for a touch each time, where its attestation says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_touch: Option<bool>,
}

/// Codes that stand in for a lost token for some time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"valid_seconds": 86400, "codes": 1}))]
pub struct NewReplacement {
    /// How long the codes hold, in seconds; at most 14 days.
    #[schema(minimum = 1, maximum = 1_209_600)]
    pub valid_seconds: u32,
    /// How many codes, each good for one sign-in: 1 to 30.
    #[schema(minimum = 1, maximum = 30)]
    pub codes: u32,
}

/// What is to change of a factor; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"label": "work phone"}))]
pub struct FactorChange {
    /// What the user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether it proves its user. `false` ends the user's sessions and refresh tokens at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Two codes that a token shows one after the other.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"first": "287082", "second": "359152"}))]
pub struct TwoCodes {
    /// The one that it shows first.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password)]
    pub first: SecretText,
    /// The next one.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password)]
    pub second: SecretText,
}
