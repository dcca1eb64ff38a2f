//! `[policy]`: what a person must have proved, for every token, and for some clients, scopes and roles.

use std::collections::BTreeMap;

use super::ConfigError;
use super::section::{Map, Section};
use signet_core::mfa::{AssurancePolicy, Requirement};

pub(super) const KEYS: &[&str] = &["require", "clients", "scopes", "roles", "authenticator_claim"];

/// `[policy]`; without the section every sign-in of a password and a code suffices for everything.
pub(super) fn read(mut section: Section<'_>) -> Result<AssurancePolicy, ConfigError> {
    let words = section.list("require", "a list of words, e.g. [\"urn:signet:aal2\"],")?.unwrap_or_default();
    let everybody = Requirement::read(words.iter().map(String::as_str))
        .map_err(|error| section.unusable("require", error.to_string()))?;
    Ok(AssurancePolicy {
        everybody,
        tells_authenticator: section.flag("authenticator_claim")?.unwrap_or(false),
        clients: by_name(section.map("clients")?, "policy.clients")?,
        scopes: by_name(section.map("scopes")?, "policy.scopes")?,
        roles: by_name(section.map("roles")?, "policy.roles")?,
    })
}

fn by_name(map: Option<Map>, path: &str) -> Result<BTreeMap<String, Requirement>, ConfigError> {
    let Some(map) = map else { return Ok(BTreeMap::new()) };
    let lists = map.lists("a list of words, e.g. [\"urn:signet:aal3\"],")?;
    let read = |(name, words): (String, Vec<String>)| match Requirement::read(words.iter().map(String::as_str)) {
        Ok(requirement) => Ok((name, requirement)),
        Err(error) => Err(ConfigError::Unusable { key: format!("`{path}.{name}`"), problem: error.to_string() }),
    };
    lists.into_iter().map(read).collect()
}
