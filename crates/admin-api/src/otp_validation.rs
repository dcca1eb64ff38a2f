//! The Yubico validation protocol's clients and keys, as operators see them.

use serde::{Deserialize, Serialize};
use signet_secret::SecretText;
use utoipa::ToSchema;

const fn yes() -> bool {
    true
}

/// Software that has OTPs verified here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": 1, "name": "vpn", "requires_signature": true, "enabled": true,
    "created_at": "2026-11-30T08:00:00Z"}))]
pub struct OtpClient {
    /// The number that it names itself by.
    pub id: u64,
    /// The API key in base64; in the answer that made it alone.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub api_key: Option<SecretText>,
    /// The name.
    pub name: String,
    /// Whether requests without a signature are refused.
    pub requires_signature: bool,
    /// Whether it may ask.
    pub enabled: bool,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// Such a client to add. The answer shows its API key this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "vpn", "requires_signature": true}))]
pub struct NewOtpClient {
    /// The name.
    pub name: String,
    /// Its number, 1 to 9999999999; the next free one where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 9_999_999_999_u64)]
    pub id: Option<u64>,
    /// An API key that it has already, in base64; a new one where none is given.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub api_key: Option<SecretText>,
    /// Whether requests without a signature are refused.
    #[serde(default)]
    pub requires_signature: bool,
    /// Whether it may ask at once.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// Whether a client may ask, or a key's OTPs are verified.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": false}))]
pub struct Enabled {
    /// From now on.
    pub enabled: bool,
}

/// A Yubico OTP key that is verified for those clients and is no user's factor; without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"public_id": "cccccccccccb", "enabled": true, "created_at": "2026-11-30T08:00:00Z",
    "last_used_at": null}))]
pub struct OtpKey {
    /// What the key types first, in modhex.
    pub public_id: String,
    /// What is printed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Whether its OTPs are verified.
    pub enabled: bool,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When an OTP of it was verified last.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
}

/// Such a key to add.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"public_id": "cccccccccccb", "private_id": "010203040506",
    "secret_key": "6d1f0c83a95be24770d2c86e1b3f9a54"}))]
pub struct NewOtpKey {
    /// What the key types first, in modhex.
    pub public_id: String,
    /// The private id: 12 hex digits.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password)]
    pub private_id: SecretText,
    /// The AES key: 32 hex digits.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password)]
    pub secret_key: SecretText,
    /// What is printed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

/// How far another server had seen a key's counters.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"counter": 772, "active": true}))]
pub struct SeenElsewhere {
    /// Counter and session counter in one number: the first times 256, and the second.
    #[schema(minimum = 0)]
    pub counter: i64,
    /// Whether the key was verified there; where not, it is disabled here, a user's factor too.
    #[serde(default = "yes")]
    pub active: bool,
}

/// What that changed here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"raised": true}))]
pub struct Raised {
    /// Whether the counter was raised: not where it was as high already, or the key is not here.
    pub raised: bool,
}
