//! `[roles]`: which scopes a role grants. Without the section roles are claims only, and scopes are not limited by them.

use std::collections::{BTreeMap, BTreeSet};

use super::ConfigError;
use super::section::Map;
use signet_core::admin::{AdminScope, is_reserved};
use signet_core::oauth::scope::is_scope_token;

/// `[roles]`: role → scopes, e.g. `reader = ["read"]`.
pub type Roles = BTreeMap<String, BTreeSet<String>>;

pub(super) fn read(map: Option<Map>) -> Result<Option<Roles>, ConfigError> {
    let Some(map) = map else { return Ok(None) };
    let roles = map.lists("an array of scopes, e.g. [\"read\", \"write\"],")?;
    let judged = roles.into_iter().map(|(role, scopes)| {
        let refuse =
            |problem: &str| ConfigError::Unusable { key: format!("`roles.{role}`"), problem: problem.to_owned() };
        if !is_scope_token(&role) || role.contains(',') {
            return Err(refuse("a role's name has printable ASCII characters, without space, comma, \" and \\"));
        }
        if !scopes.iter().all(|scope| is_scope_token(scope)) {
            return Err(refuse("a scope has printable ASCII characters, without space, \" and \\ (RFC 6749 §3.3)"));
        }
        if let Some(unknown) = scopes.iter().find(|scope| is_reserved(scope) && AdminScope::named(scope).is_none()) {
            return Err(refuse(&format!(
                "there is no scope `{unknown}`: those that begin with admin: are the deployment's"
            )));
        }
        Ok((role, scopes.into_iter().collect()))
    });
    judged.collect::<Result<Roles, _>>().map(Some)
}
