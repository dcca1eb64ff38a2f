//! Hardware tokens that nobody has yet.

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
    /// When it was imported.
    #[schema(format = DateTime)]
    pub imported_at: String,
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
