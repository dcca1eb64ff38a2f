//! What a request to the token endpoint asks for: a file a grant (RFC 6749 §4.3, §4.4, §6).

pub mod client_credentials;
pub mod password;
pub mod refresh_token;

pub use client_credentials::ClientCredentialsRequest;
pub use password::PasswordRequest;
pub use refresh_token::RefreshRequest;

use std::collections::BTreeSet;

use super::{OAuthError, Parameters, Scopes, scope};

/// A request to the token endpoint, by its `grant_type`.
#[derive(Debug)]
pub enum TokenRequest {
    /// A person shows a password and a code.
    Password(PasswordRequest),
    /// Software asks for itself.
    ClientCredentials(ClientCredentialsRequest),
    /// A refresh token is exchanged.
    Refresh(RefreshRequest),
}

impl TokenRequest {
    /// Reads the request.
    /// Errors: [`OAuthError`] for an unknown grant type or a missing parameter.
    pub fn read(parameters: &Parameters) -> Result<Self, OAuthError> {
        match parameters.required("grant_type", "grant_type is missing")? {
            "password" => PasswordRequest::read(parameters).map(Self::Password),
            "client_credentials" => ClientCredentialsRequest::read(parameters).map(Self::ClientCredentials),
            "refresh_token" => RefreshRequest::read(parameters).map(Self::Refresh),
            _ => Err(OAuthError::UnsupportedGrantType),
        }
    }
}

/// The requested scopes, where any are.
fn requested_scopes(parameters: &Parameters) -> Result<Option<Scopes>, OAuthError> {
    parameters.optional("scope").map(scope::parse).transpose()
}

/// The requested resources (RFC 8707 §2); none where any of the client's will do.
fn requested_resources(parameters: &Parameters) -> BTreeSet<String> {
    parameters.all("resource").map(str::to_owned).collect()
}
