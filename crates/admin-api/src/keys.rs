//! The keys that the deployment depends on, and their rotation.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A key. Its private half is in its HSM token and nowhere else.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "purpose": "token_signing", "algorithm": "ES256",
    "hsm": "primary", "state": "active", "since": "2026-11-30T08:00:00Z", "created_at": "2026-11-30T08:00:00Z",
    "what_follows": "in use since 2026-11-30T08:00:00Z"}))]
pub struct Key {
    /// Its name: of a pair its thumbprint (RFC 7638). Empty for one whose making was cut short.
    pub kid: String,
    /// What it is for: `token_signing`, `audit_signing`, `sealing` and others.
    pub purpose: String,
    /// What it signs with; absent for a key that does not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The HSM token that it is in.
    pub hsm: String,
    /// Its stage: `next`, `active`, `retiring`, `withdrawn`, `destroyed` or `unfinished`.
    pub state: String,
    /// Since when it is in that stage.
    #[schema(format = DateTime)]
    pub since: String,
    /// Until when it is published, where it retires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Why it left the JWKS, once it has: `expired`, `revoked` or `lost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// When the rotation moves it on to its next stage, as far as the clock decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ends_at: Option<String>,
    /// What its stage means and what comes after it, in words.
    pub what_follows: String,
}

/// What a signing algorithm is called (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(ToSchema)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
}

/// A token-signing key to generate.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"algorithm": "ES256", "hsm": "primary"}))]
pub struct NewKey {
    /// What it signs with; the configured algorithm where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SigningAlgorithm>)]
    pub algorithm: Option<String>,
    /// Bits of an RSA key: 2048, 3072 or 4096. 3072 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2048, maximum = 4096)]
    pub bits: Option<u32>,
    /// The HSM token. Of a new key it is needed where the deployment has several; a rotation is of all of them where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsm: Option<String>,
}

/// What a rotation did in one HSM token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"hsm": "primary", "created": false, "error": "HSM token primary: not available"}))]
pub struct BegunRotation {
    /// The HSM token.
    pub hsm: String,
    /// The key that comes next; absent where none could be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Whether the key was generated just now; one that is next already serves.
    pub created: bool,
    /// Why none could be made. The old key signs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a rotation did, in each HSM token that was asked for one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"hsms": [{"hsm": "primary", "created": false, "error": "HSM token primary: not available"}]}))]
pub struct BegunRotations {
    /// One for each HSM token.
    pub hsms: Vec<BegunRotation>,
}

/// What the revocation of a key breaks, or broke.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "hsm": "primary", "state": "active",
    "unexpired_tokens": 2, "audiences": ["https://invoices.example"], "clients": ["018f0a8e-3c1b-7d2a-9c64-1f0e5b7a2d31"],
    "jwks_max_age": 300, "last_expiry": "2026-11-30T08:05:00Z", "others_sign": false}))]
pub struct Consequences {
    /// The key.
    pub kid: String,
    /// Where it is.
    pub hsm: String,
    /// Its stage before.
    pub state: String,
    /// How many tokens by it have not expired, as the audit log says; some may have been revoked one by one.
    pub unexpired_tokens: u64,
    /// Who they were meant for: the resource servers to tell.
    pub audiences: BTreeSet<String>,
    /// Who asked for them.
    pub clients: BTreeSet<String>,
    /// For how long verifiers may go on with the JWKS that they have, in seconds.
    pub jwks_max_age: u64,
    /// When the last of the tokens would have expired.
    #[schema(format = DateTime)]
    pub last_expiry: String,
    /// Whether another key signs already, so that issuance is not interrupted.
    pub others_sign: bool,
}

/// What became of a revoked key's place.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"left_to_the_server": "HSM token primary: not available"}))]
pub struct Replacement {
    /// The key that signs now, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Key>,
    /// Why the revoked key is not destroyed or not replaced yet. The running server does it as soon as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to_the_server: Option<String>,
}
