//! The HSM tokens of the deployment.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where an HSM token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// The deployment is bound to it.
    Member,
    /// It is configured, and the deployment does not know it.
    NotAdded,
    /// The deployment is bound to it, and it is not configured on this node.
    NotConfigured,
    /// It was taken out.
    Retired,
}

/// How the workers of an HSM token do, on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It is given requests.
    Serving,
    /// It is given none until a test signature of it has verified.
    Suspended,
    /// No worker of it answers.
    Away,
}

/// The token that the deployment is bound to, as its module describes it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Its label.
    pub label: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Its firmware version.
    pub firmware: String,
}

/// What is sealed for an HSM token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SealCount {
    /// All secrets at rest of the deployment.
    pub secrets: u64,
    /// Those that this token can open.
    pub sealed: u64,
    /// Those that no other token can open.
    pub alone: u64,
    /// Those that wait in an envelope, for its node to seal them.
    pub waiting: u64,
}

/// What is wrong with logins at an HSM token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TroubledLogins {
    /// Nodes whose PIN was refused, and to which no login was allowed since.
    pub stopped: Vec<String>,
    /// Nodes at which one login is allowed, and was not presented yet.
    pub allowed: Vec<String>,
    /// How many logins in a row ended in a way that nobody knows.
    pub unknown: u32,
    /// Whether every other node waits for an operator as well.
    pub others_wait: bool,
    /// The last that went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// An HSM token of the deployment or of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "primary", "membership": "member", "health": "serving", "token": {"label": "signet",
    "manufacturer": "SoftHSM project", "model": "SoftHSM v2", "serial": "5f1c0d2e9b7a4c31", "firmware": "2.6"},
    "signing_key": "active", "keeps_secrets": true, "seals": {"secrets": 12, "sealed": 12, "alone": 12, "waiting": 0}}))]
pub struct Hsm {
    /// Its configured name.
    pub name: String,
    /// Where it stands.
    pub membership: Membership,
    /// How it does on this node; absent where this node does not reach it, or was not asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Why it does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The token that the deployment is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenInfo>,
    /// The stage of its newest key that signs tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<String>,
    /// Whether it keeps secrets for the deployment now; a member that does not only signs, and lacks no seals.
    pub keeps_secrets: bool,
    /// What is sealed for it.
    pub seals: SealCount,
    /// What is wrong with logins there, where anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logins: Option<TroubledLogins>,
    /// How many of its keys that signed tokens are still to be destroyed, where it was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undestroyed: Option<usize>,
    /// Until when its keys are published, where it was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub published_until: Option<String>,
}

/// A key that an HSM token has for the deployment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MadeKey {
    /// The HSM token.
    pub hsm: String,
    /// What it is for.
    pub purpose: String,
    /// Its name.
    pub kid: String,
    /// Whether it was made just now.
    pub created: bool,
}

/// An HSM token that was added.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "second", "keys": [{"hsm": "second", "purpose": "token_signing",
    "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "created": true}], "keeps_secrets": true,
    "seals": {"secrets": 12, "sealed": 0, "alone": 0, "waiting": 0}, "audit_keys": "/var/lib/signet/audit.jwk"}))]
pub struct AddedHsm {
    /// Its name.
    pub name: String,
    /// Its keys, those that were there already among them.
    pub keys: Vec<MadeKey>,
    /// Whether it keeps secrets. One that does not only signs: nothing is sealed for it.
    pub keeps_secrets: bool,
    /// What is sealed for it now; what is lacking is sealed by `POST /hsm/{name}/seals`, or by the server by and by.
    pub seals: SealCount,
    /// The file on the node that its audit key was added to. Keep a copy on another machine.
    pub audit_keys: String,
}

/// Where sealing goes on.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub struct Sealing {
    /// The `next` of the answer before; from the start where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<SealingPlace>,
}

/// A place among the secrets at rest.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SealingPlace {
    /// The tenant.
    pub tenant: String,
    /// What kind of secret.
    pub kind: String,
    /// Whose.
    pub row: String,
}

/// How far sealing came. It goes on for about two seconds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"resealed": 180, "unopened": 0, "seals": {"secrets": 500, "sealed": 180, "alone": 0, "waiting": 0},
    "next": {"tenant": "default", "kind": "users.password", "row": "018f0a8e-3c1b-7d2a-9c64-1f0e5b7a2d31"}}))]
pub struct Sealed {
    /// Secrets that were sealed for it just now.
    pub resealed: u64,
    /// Secrets among those looked at that no HSM token opens.
    pub unopened: u64,
    /// What is sealed for it now.
    pub seals: SealCount,
    /// Where it goes on; absent where nothing is lacking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<SealingPlace>,
}

/// An HSM token that was taken out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "second", "removed_seals": 12, "published_until": "2026-11-30T08:10:00Z"}))]
pub struct RetiredHsm {
    /// Its name.
    pub name: String,
    /// Seals that were removed just now.
    pub removed_seals: u64,
    /// Until when its keys stay published; then its `[[hsm]]` can be removed.
    #[schema(format = DateTime)]
    pub published_until: String,
}

/// Whose logins at an HSM token are allowed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"every_node": true}))]
pub struct LoginAllowance {
    /// The ids of nodes, each of which is allowed one login; the node that is asked where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The PIN of every node is right: none is held back any more. Not together with `nodes`.
    #[serde(default)]
    pub every_node: bool,
}

/// What was allowed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "primary", "allowed": ["rack-a"], "stopped": [], "others_wait": false}))]
pub struct AllowedLogin {
    /// The HSM token's name.
    pub name: String,
    /// Nodes at which one login is allowed now.
    pub allowed: Vec<String>,
    /// Nodes that are still stopped because their PIN was refused, and are not allowed one.
    pub stopped: Vec<String>,
    /// Whether logins are still stopped on every node that is not allowed one, or was since.
    pub others_wait: bool,
}
