//! Hardware tokens that nobody has yet.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use signet_secret::SecretText;
use utoipa::ToSchema;

/// A token of the stock, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"serial": "987654321", "kind": "totp", "model": "c200", "imported_at": "2026-11-30T08:00:00Z"}))]
pub struct StockToken {
    /// What is printed on it.
    pub serial: String,
    /// What kind of factor it will be.
    pub kind: String,
    /// Its model, where the imported file named it.
    pub model: Option<String>,
    /// Before when it must not be used, where its maker says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub valid_from: Option<String>,
    /// From when on it must not be used, where its maker says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub valid_until: Option<String>,
    /// When it was imported.
    #[schema(format = DateTime)]
    pub imported_at: String,
}

/// Tokens to take into the stock, in one piece.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"tokens": [{"kind": "hotp", "serial": "987654321", "secret_hex": "3132333435363738393031323334353637383930"}]}))]
pub struct NewStock {
    /// At most 200. Where one of them can't be used, none is taken.
    #[schema(min_items = 1, max_items = 200)]
    pub tokens: Vec<NewStockToken>,
}

impl NewStock {
    /// How many tokens are taken at once.
    pub const MOST: usize = 200;
}

/// A token to take into the stock, with its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewStockToken {
    /// One that shows time-based codes (RFC 6238).
    Totp(NewStockTotp),
    /// One that shows counter-based codes (RFC 4226).
    Hotp(NewStockHotp),
    /// A YubiKey's OTP slot.
    YubicoOtp(NewStockYubico),
}

/// One that shows time-based codes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStockTotp {
    /// What is printed on it.
    pub serial: String,
    /// Its maker and model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The HMAC's hash: `SHA1` (default), `SHA256`, `SHA512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^SHA(1|256|512)$")]
    pub hash: Option<String>,
    /// Digits of a code: 6 (default) or 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// Seconds of a step: 30 (default) or 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// Whether its clock is a quartz that nobody sets, as of a hardware token.
    #[serde(default)]
    pub hardware: bool,
    /// How many steps its clock is known to be ahead, -10 to 10; 0 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -10, maximum = 10)]
    pub drift: Option<i32>,
    /// Before when it must not be used (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub valid_from: Option<String>,
    /// From when on it must not be used (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub valid_until: Option<String>,
    /// The secret, in hex digits.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password)]
    pub secret_hex: SecretText,
}

/// One that shows counter-based codes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStockHotp {
    /// What is printed on it.
    pub serial: String,
    /// Its maker and model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The HMAC's hash: `SHA1` (default), `SHA256`, `SHA512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^SHA(1|256|512)$")]
    pub hash: Option<String>,
    /// Digits of a code: 6 (default) or 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// Its next counter; 0 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub counter: Option<i64>,
    /// Before when it must not be used (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub valid_from: Option<String>,
    /// From when on it must not be used (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub valid_until: Option<String>,
    /// The secret, in hex digits.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password)]
    pub secret_hex: SecretText,
}

/// A YubiKey's OTP slot.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStockYubico {
    /// What is printed on it.
    pub serial: String,
    /// Its maker and model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
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

/// What became of tokens that were to be taken into the stock.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"imported": ["987654321"], "skipped": []}))]
pub struct TakenStock {
    /// The serial numbers of those that are in the stock now.
    pub imported: BTreeSet<String>,
    /// Those that the stock or a factor had already; they stay as they were.
    pub skipped: BTreeSet<String>,
}

/// To whom a token of the stock is given.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user": "ann"}))]
pub struct Assignment {
    /// The user's name.
    pub user: String,
    /// What the user calls it; its model where nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A code that the token shows: proof that the user holds it. It is spent.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub code: Option<SecretText>,
}
