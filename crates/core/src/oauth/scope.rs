//! Scopes (RFC 6749 §3.3): their syntax, and which of them a token gets.

use std::collections::{BTreeMap, BTreeSet};

use super::OAuthError;
use crate::admin::{self, AdminScope, AdminScopes};

/// A set of scopes.
pub type Scopes = BTreeSet<String>;

/// What each role grants (`[roles]` in the configuration). Without that section roles are claims only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleScopes(Option<BTreeMap<String, Scopes>>);

impl RoleScopes {
    /// Roles are claims only: they limit no scope.
    pub const fn claims_only() -> Self {
        Self(None)
    }

    /// Roles grant scopes: a person gets no scope that none of their roles grants.
    pub const fn granting(roles: BTreeMap<String, Scopes>) -> Self {
        Self(Some(roles))
    }

    /// Every scope that some role grants, in order.
    pub fn known(&self) -> Vec<String> {
        let scopes: Scopes = self.0.iter().flat_map(BTreeMap::values).flatten().cloned().collect();
        scopes.into_iter().collect()
    }

    /// The scopes of the deployment that these roles grant.
    pub fn admin_scopes(&self, roles: &BTreeSet<String>) -> AdminScopes {
        let granted_by = |role| self.0.as_ref().and_then(|granted_by| granted_by.get(role));
        AdminScopes::among(roles.iter().filter_map(granted_by).flatten())
    }

    /// The roles that grant something; none where roles are claims only.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Whether roles limit scopes.
    pub const fn limits(&self) -> bool {
        self.0.is_some()
    }

    /// Of `scopes`, those that these roles grant.
    pub fn limit(&self, scopes: &Scopes, roles: &BTreeSet<String>) -> Scopes {
        let Some(granted_by) = &self.0 else {
            // What operators may do is given by name or not at all.
            return scopes.iter().filter(|scope| !admin::is_reserved(scope)).cloned().collect();
        };
        let granted: BTreeSet<&String> = roles.iter().filter_map(|role| granted_by.get(role)).flatten().collect();
        // Who may change a thing may read it.
        let admin = self.admin_scopes(roles);
        let reads = |scope: &String| AdminScope::named(scope).is_some_and(|scope| admin.includes(scope));
        scopes.iter().filter(|scope| granted.contains(scope) || reads(scope)).cloned().collect()
    }
}

/// Parses the value of `scope`: `scope-token *( SP scope-token )`.
/// Errors: [`OAuthError::InvalidScope`] for any other syntax.
pub fn parse(text: &str) -> Result<Scopes, OAuthError> {
    text.split(' ')
        .map(|token| if is_scope_token(token) { Ok(token.to_owned()) } else { Err(OAuthError::InvalidScope) })
        .collect()
}

/// Whether the text is a `scope-token`: `1*( %x21 / %x23-5B / %x5D-7E )`.
pub fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

/// The value of `scope` for a set.
pub fn join(scopes: &Scopes) -> String {
    scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// What a token gets: what is allowed and requested; all that is allowed where nothing was requested.
/// Errors: [`OAuthError::InvalidScope`] where something was requested and nothing of it is allowed.
pub fn decide(requested: Option<&Scopes>, allowed: &Scopes) -> Result<Scopes, OAuthError> {
    let Some(requested) = requested else { return Ok(allowed.clone()) };
    let granted: Scopes = requested.intersection(allowed).cloned().collect();
    if granted.is_empty() { Err(OAuthError::InvalidScope) } else { Ok(granted) }
}

/// What a refreshed token gets: "the requested scope MUST NOT include any scope not originally granted" (RFC 6749 §6).
/// Errors: [`OAuthError::InvalidScope`] for a wider request.
pub fn narrow(requested: Option<&Scopes>, granted: &Scopes) -> Result<Scopes, OAuthError> {
    match requested {
        None => Ok(granted.clone()),
        Some(requested) if requested.is_subset(granted) => Ok(requested.clone()),
        Some(_) => Err(OAuthError::InvalidScope),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        parse(text).unwrap()
    }

    #[test]
    fn syntax_is_that_of_rfc_6749() {
        assert_eq!(join(&scopes("write read")), "read write");
        for text in ["", " ", "a  b", "a\"", "a\\", "ä", "a\tb"] {
            assert_eq!(parse(text), Err(OAuthError::InvalidScope), "{text:?}");
        }
    }

    #[test]
    fn a_token_gets_what_client_and_request_have_in_common() {
        let allowed = scopes("read write");
        assert_eq!(decide(Some(&scopes("read admin")), &allowed), Ok(scopes("read")));
        assert_eq!(decide(None, &allowed), Ok(allowed.clone()));
        assert_eq!(decide(Some(&scopes("admin")), &allowed), Err(OAuthError::InvalidScope));
    }

    #[test]
    fn roles_limit_scopes_where_they_grant_any() {
        let roles = BTreeSet::from(["reader".to_owned(), "unknown".to_owned()]);
        let granting = RoleScopes::granting(BTreeMap::from([("reader".to_owned(), scopes("read"))]));
        assert_eq!(granting.limit(&scopes("read write"), &roles), scopes("read"));
        assert_eq!(RoleScopes::claims_only().limit(&scopes("read write"), &roles), scopes("read write"));
        // The deployment's scopes are never everybody's.
        assert_eq!(RoleScopes::claims_only().limit(&scopes("read admin:users"), &roles), scopes("read"));
        assert!(RoleScopes::claims_only().admin_scopes(&roles).is_empty() && granting.admin_scopes(&roles).is_empty());
    }

    #[test]
    fn a_refresh_never_widens() {
        let granted = scopes("read write");
        assert_eq!(narrow(Some(&scopes("read")), &granted), Ok(scopes("read")));
        assert_eq!(narrow(Some(&scopes("read admin")), &granted), Err(OAuthError::InvalidScope));
    }
}
