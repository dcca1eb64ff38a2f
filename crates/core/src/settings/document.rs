//! The settings of a tenant in words: as they are stated, kept and shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The settings of a tenant, a section each. Where something is stated, a section that is absent stays as it is, and one that is
/// there is replaced whole: what is absent in it is as by default. Durations are a whole number and a unit: `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"tokens": {"access_lifetime": "10m"}, "roles": {"clerk": ["invoices.read"]}})))]
#[serde(deny_unknown_fields)]
pub struct SettingsDocument {
    /// How tokens are signed and how long they last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenWords>,
    /// How signing keys come and go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyWords>,
    /// What roles grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<RoleWords>,
    /// What a person must have proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyWords>,
    /// What protects sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<MfaWords>,
}

impl SettingsDocument {
    /// The names of the sections.
    pub const SECTIONS: [&'static str; 5] = ["tokens", "keys", "roles", "policy", "mfa"];

    /// Whether it states nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// This document with the sections of another one in the place of its own.
    #[must_use]
    pub fn with(self, stated: Self) -> Self {
        Self {
            tokens: stated.tokens.or(self.tokens),
            keys: stated.keys.or(self.keys),
            roles: stated.roles.or(self.roles),
            policy: stated.policy.or(self.policy),
            mfa: stated.mfa.or(self.mfa),
        }
    }
}

/// How tokens are signed and how long they last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenWords {
    /// What signing keys are for: the `alg` of tokens (RFC 7518 §3.1, RFC 8037). `ES256` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// How long an access token is good: 10s to 1d. `5m` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_lifetime: Option<String>,
    /// How long a person stays signed in by refresh tokens, however often they are used: 1m to 365d. `30d` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_lifetime: Option<String>,
    /// How long the refresh token before the newest gets the same answer again: 0s to 1m. `10s` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_retry_window: Option<String>,
}

/// How signing keys come and go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyWords {
    /// How long a key signs: 1s to 3650d, or `never` for rotation by command alone. `90d` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every: Option<String>,
    /// How long a key is published before it signs: 1s to 30d, and at least the two below together. `1h` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_ahead: Option<String>,
    /// How long verifiers may keep the JWKS: 1s to 1d. `5m` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_max_age: Option<String>,
    /// How far the clocks of servers and verifiers may be apart: 0s to 5m. `10s` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew: Option<String>,
}

/// What roles grant: a list of scopes for each role, or `claims_only` where roles are claims and limit no scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum RoleWords {
    /// Roles limit no scope.
    Claims(ClaimsOnly),
    /// A person gets no scope that none of their roles grants.
    Granting(BTreeMap<String, BTreeSet<String>>),
}

/// The word for roles that are claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClaimsOnly {
    /// Roles are claims and limit no scope.
    ClaimsOnly,
}

/// What a person must have proved: an `acr` that must be reached (`urn:signet:aal1` to `aal3`), `phishing-resistant`, and kinds of
/// factor of which one must have been shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyWords {
    /// For every person's token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
    /// The networks that the tenant may be asked from, in CIDR notation; any where there are none. Keys and metadata are everybody's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<String>,
    /// Whether tokens tell the authenticator: its kind, and its serial number or model where they are known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub authenticator_claim: bool,
    /// By a client's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, Vec<String>>,
    /// By scope.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scopes: BTreeMap<String, Vec<String>>,
    /// By role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Vec<String>>,
}

/// What protects sign-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MfaWords {
    /// What authenticator apps show above the account's name: at most 64 bytes without a colon. `Signet` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_name: Option<String>,
    /// Tries of an account that are judged before a pause: 1 to 10. 10 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10))]
    pub tries: Option<u32>,
    /// How long none is judged then: 6m to 1d, and at least six minutes for each of `tries`. `1h` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// What the name of a new user may be: `case_mapped` (RFC 8265, UsernameCaseMapped), or `case_mapped_with_blanks`, which takes one
    /// blank between words too (§3.5 there). `case_mapped` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_names: Option<String>,
    /// What the key of a PIV card must come with when it is enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piv: Option<PivWords>,
    /// What security keys know the deployment as, and which of them may be enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webauthn: Option<WebAuthnWords>,
}

/// What the key of a PIV card must come with when it is enrolled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PivWords {
    /// The root certificates of attestations, in PEM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attestation_roots: Vec<String>,
    /// Whether a key without an attestation is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_attestation: bool,
    /// The root certificates of the cards' own certificates, in PEM; none is asked for where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<String>,
}

/// What security keys know the deployment as, and which of them may be enrolled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WebAuthnWords {
    /// The domain that keys are bound to (the RP ID of WebAuthn §4). The host of the public URL by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rp_id: Option<String>,
    /// Where the pages are. The origin of the public URL by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// `required` where a key must prove its make, else `none`, the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<String>,
    /// The models (AAGUIDs) that are allowed; all that the roots vouch for where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aaguids: Vec<String>,
    /// By which roots: a PEM bundle, or the JSON payload of a FIDO metadata BLOB (FIDO Metadata Service 3.1 §3.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_roots: Option<String>,
}
