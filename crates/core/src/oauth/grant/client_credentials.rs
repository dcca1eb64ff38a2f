//! `grant_type=client_credentials` (RFC 6749 §4.4).

use super::{OAuthError, Parameters, Scopes};

/// Software asks for a token for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentialsRequest {
    /// The scopes asked for; all of the client's where none.
    pub scopes: Option<Scopes>,
    /// The audience asked for (RFC 8707).
    pub resource: Option<String>,
}

impl ClientCredentialsRequest {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, OAuthError> {
        Ok(Self { scopes: super::requested_scopes(parameters)?, resource: super::requested_resource(parameters) })
    }
}
