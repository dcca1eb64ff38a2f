//! What was and what is, where somebody changed something.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What a change found, or left. What it did not touch is absent, and no secret has a place here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Whether it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// A user's roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<BTreeSet<String>>,
    /// Roles that wait for another person's approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<BTreeSet<String>>,
    /// What a factor is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A factor's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Who asked for what waits for another person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// A client's grant types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<BTreeSet<String>>,
    /// A client's scopes, space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// A client's audiences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiences: Option<BTreeSet<String>>,
    /// The networks that a client may ask from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_from: Option<BTreeSet<String>>,
    /// The web sites whose scripts may read what a client is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origins: Option<BTreeSet<String>>,
    /// Whether a rule holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
}

impl Facts {
    /// That something counts, or does not.
    pub fn enabled(enabled: bool) -> Self {
        Self { enabled: Some(enabled), ..Self::default() }
    }
}
