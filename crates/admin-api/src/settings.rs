//! What is set of a tenant. The settings themselves are `signet_core::settings::SettingsDocument`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How settings are stated.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatingQuery {
    /// Say alone what would change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// A setting, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingChange {
    /// Which, such as `tokens.access_lifetime`.
    pub setting: String,
    /// What was there; absent where nothing was. A long text is told by its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What is there from now on; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What comes of settings that were stated.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"changes": [{"setting": "tokens.access_lifetime", "before": "5m", "after": "10m"}],
    "waits_for_approval": false}))]
pub struct Stated {
    /// What is otherwise than before; nothing was done where that is empty.
    pub changes: Vec<SettingChange>,
    /// Whether they hold once another person has approved them.
    pub waits_for_approval: bool,
}

/// Settings that wait for another person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"stated_by": "root (uid 0)", "stated_at": "2026-11-30T08:00:00Z",
    "changes": [{"setting": "tokens.access_lifetime", "before": "5m", "after": "10m"}]}))]
pub struct Proposal {
    /// Who stated them; or the first person who approved what an account of a machine stated.
    pub stated_by: String,
    /// When.
    #[schema(format = DateTime)]
    pub stated_at: String,
    /// What would be otherwise than it is now.
    pub changes: Vec<SettingChange>,
}

/// An approval of settings that wait.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"stated_at": "2026-11-30T08:00:00Z"}))]
pub struct Approval {
    /// When those were stated that the person saw: others are not approved.
    #[schema(format = DateTime)]
    pub stated_at: String,
}

/// What a file can state beside settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeclaredKind {
    /// Users.
    Users,
    /// Clients.
    Clients,
}

/// Which declared things are asked for.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeclaredQuery {
    /// Of which kind.
    #[param(inline)]
    pub kind: DeclaredKind,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The longest page, 1 to 1000; 100 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u16>,
}

/// Something that a file stated, and that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "018f0a8e-3c1b-7d2a-9c64-1f0e5b7a2d31"}))]
pub struct Declared {
    /// The id of the user or client.
    pub id: String,
}
