//! The software that asks for tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use signet_secret::SecretText;
use utoipa::ToSchema;

/// A grant type (RFC 6749 §4, §6).
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum GrantType {
    /// A person's password with a code, in one request.
    Password,
    /// A refresh token.
    RefreshToken,
    /// The client's own credentials.
    ClientCredentials,
}

/// A client.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"client_id": "018f0a8e-3c1b-7d2a-9c64-1f0e5b7a2d31", "name": "billing",
    "grants": ["client_credentials"], "scope": "invoices.read", "audiences": ["https://invoices.example"], "enabled": true,
    "created_at": "2026-11-30T08:00:00Z"}))]
pub struct Client {
    /// The id (RFC 6749 §2.2).
    pub client_id: String,
    /// The secret; in the answer that made it alone.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub client_secret: Option<SecretText>,
    /// The name.
    pub name: String,
    /// The grant types that it may use.
    #[schema(value_type = BTreeSet<GrantType>)]
    pub grants: BTreeSet<String>,
    /// The scopes that it may ask for, separated by blanks.
    pub scope: String,
    /// The resource servers that its tokens are for.
    pub audiences: BTreeSet<String>,
    /// The networks that it may ask from, in CIDR notation; any where there are none.
    #[serde(default)]
    pub allow_from: BTreeSet<String>,
    /// The web sites whose scripts may read what the token endpoint answers it.
    #[serde(default)]
    pub origins: BTreeSet<String>,
    /// Whether it may ask.
    pub enabled: bool,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// What may be a slip of the pen in what was just asked for: it was done as it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A client to add. The answer shows its secret this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "billing", "grants": ["client_credentials"], "scope": "invoices.read",
    "audiences": ["https://invoices.example"]}))]
pub struct NewClient {
    /// The name.
    #[schema(min_length = 1)]
    pub name: String,
    /// The grant types.
    #[schema(value_type = BTreeSet<GrantType>, min_items = 1)]
    pub grants: BTreeSet<String>,
    /// The scopes, separated by blanks.
    #[serde(default)]
    pub scope: String,
    /// The resource servers that its tokens are for, as absolute URLs; the issuer itself where there are none.
    #[serde(default)]
    pub audiences: BTreeSet<String>,
    /// The networks that it may ask from, in CIDR notation, e.g. `10.0.0.0/8`; any where there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allow_from: BTreeSet<String>,
    /// The web sites whose scripts may read what the token endpoint answers it, e.g. `https://app.example`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub origins: BTreeSet<String>,
    /// Whether a file states the client: `signet apply --prune` may remove such a one. Its secret is shown to nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub declared: bool,
}

/// What is to change of a client; what is absent stays. What was given before to a client that may have less now is not
/// renewed beyond it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"scope": "invoices.read invoices.write"}))]
pub struct ClientChange {
    /// All grant types from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeSet<GrantType>>)]
    pub grants: Option<BTreeSet<String>>,
    /// All scopes from now on, separated by blanks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// All audiences from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audiences: Option<BTreeSet<String>>,
    /// All networks from now on that it may ask from; any where the list is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_from: Option<BTreeSet<String>>,
    /// All web sites from now on whose scripts may read what the token endpoint answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<BTreeSet<String>>,
    /// Whether it may ask. `false` ends its refresh tokens at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}
