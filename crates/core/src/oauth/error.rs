//! The error vocabulary of OAuth 2.0, in the RFCs' words. `http::oauth_error` maps it to status and headers.
//!
//! What is here is what the caller is told. What the log says is said where the error is made.

use std::time::Duration;

/// An answer that refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OAuthError {
    /// "The request is missing a required parameter, includes an unsupported parameter value (other than grant type),
    /// repeats a parameter, includes multiple credentials, utilizes more than one mechanism for authenticating the
    /// client, or is otherwise malformed." (RFC 6749 §5.2)
    #[error("invalid_request: {0}")]
    InvalidRequest(&'static str),
    /// "Client authentication failed (e.g., unknown client, no client authentication included, or unsupported
    /// authentication method)." (RFC 6749 §5.2)
    #[error("invalid_client")]
    InvalidClient,
    /// "The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is
    /// invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued
    /// to another client." (RFC 6749 §5.2). There is one text for all of it: promise 5.
    #[error("invalid_grant")]
    InvalidGrant,
    /// "The authenticated client is not authorized to use this authorization grant type." (RFC 6749 §5.2)
    #[error("unauthorized_client")]
    UnauthorizedClient,
    /// "The authorization grant type is not supported by the authorization server." (RFC 6749 §5.2)
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    /// "The requested scope is invalid, unknown, malformed, or exceeds the scope granted by the resource owner."
    /// (RFC 6749 §5.2)
    #[error("invalid_scope")]
    InvalidScope,
    /// "The requested resource is invalid, missing, unknown, or malformed." (RFC 8707 §2)
    #[error("invalid_target")]
    InvalidTarget,
    /// "The authorization server is unable to meet the requirements requested by the client for the authentication of
    /// the End-User." (OpenID Connect Core Error Code `unmet_authentication_requirements` 1.0, RFC 9470 §5)
    #[error("unmet_authentication_requirements")]
    UnmetAuthenticationRequirements,
    /// "The authorization server is currently unable to handle the request due to a temporary overloading or
    /// maintenance of the server." (RFC 6749 §4.1.2.1): the HSM, the store or the audit log can't be used now.
    #[error("temporarily_unavailable")]
    TemporarilyUnavailable {
        /// How long the caller should wait.
        retry_after: Duration,
    },
}

impl OAuthError {
    /// The HSM or the store is not there for the moment.
    pub const fn unavailable() -> Self {
        Self::TemporarilyUnavailable { retry_after: Duration::from_secs(1) }
    }

    /// The value of `error`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
            Self::TemporarilyUnavailable { .. } => "temporarily_unavailable",
        }
    }

    /// The value of `error_description`: what the caller can do, and nothing about why a person was refused.
    pub const fn description(&self) -> &'static str {
        match self {
            Self::InvalidRequest(what) => what,
            Self::InvalidClient => "client authentication failed",
            Self::InvalidGrant => {
                "the credentials or the token are not accepted; after too many wrong tries a right one is not accepted for an hour \
                 either: wait, use another kind of factor, or ask an operator"
            }
            Self::UnauthorizedClient => "this client may not use this grant type, or not ask from here",
            Self::UnsupportedGrantType => "grant_type must be password, client_credentials or refresh_token",
            Self::InvalidScope => {
                "none of the requested scopes can be granted, or the request widens the granted scope"
            }
            Self::InvalidTarget => "the requested resource is not one of this client's audiences",
            Self::UnmetAuthenticationRequirements => {
                "this sign-in does not prove what the request or the policy asks for: sign in with a stronger factor"
            }
            Self::TemporarilyUnavailable { .. } => "the service can't issue tokens at the moment; try again",
        }
    }
}
