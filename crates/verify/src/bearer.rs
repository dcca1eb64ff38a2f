//! Bearer tokens in HTTP (RFC 6750): how one is read from a request, and what a refusal answers. A token whose person
//! proved too little, or too long ago, is answered with what would do (RFC 9470).

use std::collections::BTreeSet;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Verifier, VerifyError};
use crate::{Refusal, VerifiedClaims};
use signet_jose::clock::Timestamp;

/// Why a request is not let in. Its `Display` is for the log; [`challenge`](Self::challenge) is what the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// No bearer token came.
    #[error("no bearer token")]
    NoCredentials,
    /// `Authorization` stands there twice, or without a token.
    #[error("the Authorization header is malformed")]
    MalformedRequest,
    /// The token is not accepted.
    #[error(transparent)]
    Token(#[from] VerifyError),
    /// The token lacks one of these scopes.
    #[error("the token lacks one of the scopes {}", joined(.0))]
    InsufficientScope(BTreeSet<String>),
    /// The token's subject lacks a role.
    #[error("the token lacks the role {0}")]
    InsufficientRole(String),
    /// The token's person proved too little, or too long ago (RFC 9470 §3): another sign-in mends it.
    #[error("the sign-in does not suffice: {}", .0.in_words())]
    InsufficientAuthentication(StepUp),
}

impl BearerError {
    /// 401, 400 or 403 (RFC 6750 §3.1).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoCredentials | Self::Token(_) | Self::InsufficientAuthentication(_) => StatusCode::UNAUTHORIZED,
            Self::MalformedRequest => StatusCode::BAD_REQUEST,
            Self::InsufficientScope(_) | Self::InsufficientRole(_) => StatusCode::FORBIDDEN,
        }
    }

    /// The error code of RFC 6750 §3.1; none where no token came, as §3 asks.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::NoCredentials => None,
            Self::MalformedRequest => Some("invalid_request"),
            Self::Token(_) => Some("invalid_token"),
            Self::InsufficientScope(_) | Self::InsufficientRole(_) => Some("insufficient_scope"),
            Self::InsufficientAuthentication(_) => Some("insufficient_user_authentication"),
        }
    }

    /// What the caller is told: whether to fetch a new token, not how far this one came.
    fn told(&self) -> &'static str {
        match self {
            Self::NoCredentials => "a bearer token is needed",
            Self::MalformedRequest => "send one Authorization header with Bearer and one token",
            Self::Token(VerifyError::Claims(Refusal::Expired)) => "the token has expired",
            Self::Token(_) => "the token is not valid here",
            Self::InsufficientScope(_) => "the token lacks a scope",
            Self::InsufficientRole(_) => "the token's subject may not do this",
            Self::InsufficientAuthentication(_) => "a stronger or more recent sign-in is needed",
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3). What can't stand in a header value is left out of `realm`.
    pub fn challenge(&self, realm: &str) -> HeaderValue {
        let mut challenge = format!("Bearer realm=\"{}\"", quotable(realm));
        if let Some(code) = self.code() {
            challenge.push_str(&format!(", error=\"{code}\", error_description=\"{}\"", self.told()));
        }
        if let Self::InsufficientScope(scopes) = self {
            challenge.push_str(&format!(", scope=\"{}\"", quotable(&joined(scopes))));
        }
        if let Self::InsufficientAuthentication(step_up) = self {
            if !step_up.acr_values.is_empty() {
                challenge.push_str(&format!(", acr_values=\"{}\"", quotable(&step_up.acr_values.join(" "))));
            }
            if let Some(max_age) = step_up.max_age {
                challenge.push_str(&format!(", max_age=\"{}\"", max_age.as_secs()));
            }
        }
        HeaderValue::try_from(challenge).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

fn joined(scopes: &BTreeSet<String>) -> String {
    scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// The characters that need no escape in a quoted string.
fn quotable(text: &str) -> String {
    text.chars().filter(|character| matches!(character, ' '..='~') && !matches!(character, '"' | '\\')).collect()
}

/// What a request's token must allow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Scopes that the token must have, all of them.
    pub scopes: BTreeSet<String>,
    /// Roles that the token must have, all of them.
    pub roles: BTreeSet<String>,
    /// What the person must have proved, and how lately.
    pub step_up: StepUp,
}

/// What a request's person must have proved (RFC 9470 §3). The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepUp {
    /// The acceptable values of `acr`, in the order of preference; none is asked for where this is empty.
    pub acr_values: Vec<String>,
    /// How long ago the person may have proved it, in whole seconds.
    pub max_age: Option<Duration>,
}

impl StepUp {
    fn is_met_by(&self, claims: &VerifiedClaims, now: Timestamp, leeway: Duration) -> bool {
        let acr = claims.acr();
        let is_strong = self.acr_values.is_empty() || self.acr_values.iter().any(|value| acr == Some(value));
        let is_recent = self.max_age.is_none_or(|max_age| {
            // One that is still to come is not recent: a clock was wrong.
            let is_recent = |at: Timestamp| at <= now.plus(leeway) && now < at.plus(max_age).plus(leeway);
            claims.auth_time().is_some_and(is_recent)
        });
        is_strong && is_recent
    }

    fn in_words(&self) -> String {
        let acr = self.acr_values.join(" ");
        match self.max_age {
            Some(max_age) => format!("acr {acr}, at most {} s ago", max_age.as_secs()),
            None => format!("acr {acr}"),
        }
    }
}

impl Requirements {
    fn judge(&self, claims: &VerifiedClaims, verifier: &Verifier) -> Result<(), BearerError> {
        if !self.scopes.is_subset(claims.scopes()) {
            return Err(BearerError::InsufficientScope(self.scopes.clone()));
        }
        if let Some(role) = self.roles.difference(claims.roles()).next() {
            return Err(BearerError::InsufficientRole(role.clone()));
        }
        if self.step_up.is_met_by(claims, verifier.now(), verifier.policy().leeway) {
            return Ok(());
        }
        Err(BearerError::InsufficientAuthentication(self.step_up.clone()))
    }
}

/// Reads, verifies and judges the bearer token of a request.
///
/// # Errors
///
/// [`BearerError`].
pub async fn authenticate(
    headers: &HeaderMap,
    verifier: &Verifier,
    requirements: &Requirements,
) -> Result<VerifiedClaims, BearerError> {
    let claims = verifier.verify(token(headers)?).await?;
    requirements.judge(&claims, verifier)?;
    Ok(claims)
}

/// The token of `Authorization: Bearer <token>` (RFC 6750 §2.1), from exactly one header. Whatever follows the scheme
/// is the token: strange characters make it an invalid one. Tokens in a form or in the URL (§2.2, §2.3) are not looked
/// at: the latter ends up in logs.
fn token(headers: &HeaderMap) -> Result<&str, BearerError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(BearerError::NoCredentials)?;
    if values.next().is_some() {
        return Err(BearerError::MalformedRequest);
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| BearerError::MalformedRequest)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    match (scheme.eq_ignore_ascii_case("Bearer"), token.is_empty()) {
        (false, _) => Err(BearerError::NoCredentials),
        (true, true) => Err(BearerError::MalformedRequest),
        (true, false) => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn reads_one_token_from_one_header() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c"] {
            assert_eq!(token(&headers(&[value])), Ok("a.b.c"));
        }
        assert_eq!(token(&headers(&[])), Err(BearerError::NoCredentials));
        assert_eq!(token(&headers(&["Basic YTpi"])), Err(BearerError::NoCredentials));
        for value in ["Bearer", "Bearer "] {
            assert_eq!(token(&headers(&[value])), Err(BearerError::MalformedRequest), "{value}");
        }
        assert_eq!(token(&headers(&["Bearer a b"])), Ok("a b"));
        assert_eq!(token(&headers(&["Bearer a", "Bearer a"])), Err(BearerError::MalformedRequest));
    }

    #[test]
    fn a_challenge_tells_the_code_only_where_a_token_came() {
        assert_eq!(BearerError::NoCredentials.challenge("api"), "Bearer realm=\"api\"");
        assert_eq!(
            BearerError::InsufficientScope(["write".into(), "read".into()].into()).challenge("a\"\r\nb"),
            "Bearer realm=\"ab\", error=\"insufficient_scope\", error_description=\"the token lacks a scope\", \
             scope=\"read write\""
        );
    }

    #[test]
    fn a_step_up_challenge_says_what_would_do() {
        let both = StepUp { acr_values: vec!["a".into(), "b".into()], max_age: Some(Duration::from_secs(60)) };
        let challenge = BearerError::InsufficientAuthentication(both).challenge("api");
        assert_eq!(
            challenge,
            "Bearer realm=\"api\", error=\"insufficient_user_authentication\", \
             error_description=\"a stronger or more recent sign-in is needed\", acr_values=\"a b\", max_age=\"60\""
        );
    }

    #[test]
    fn the_caller_is_not_told_how_far_the_token_came() {
        let told = |error: VerifyError| BearerError::from(error).challenge("api");
        assert_eq!(told(VerifyError::UnknownKey), told(VerifyError::Claims(Refusal::Audience)));
    }
}
