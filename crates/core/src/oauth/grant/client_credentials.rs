//! `grant_type=client_credentials` (RFC 6749 §4.4).

use std::collections::BTreeSet;

use super::{OAuthError, Parameters, Scopes};

/// Software asks for a token for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentialsRequest {
    /// The scopes asked for; all of the client's where none.
    pub scopes: Option<Scopes>,
    /// The audiences asked for (RFC 8707); all of the client's where none.
    pub resources: BTreeSet<String>,
}

impl ClientCredentialsRequest {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, OAuthError> {
        Ok(Self { scopes: super::requested_scopes(parameters)?, resources: super::requested_resources(parameters) })
    }
}
