//! The one map from the error vocabulary to status, headers and body (RFC 6749 §5.2, RFC 6585).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use signet_core::oauth::OAuthError;
use signet_service::Unavailable;

/// An [`OAuthError`] as the answer to a request.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) OAuthError);

impl From<OAuthError> for Refusal {
    fn from(error: OAuthError) -> Self {
        Self(error)
    }
}

impl From<Unavailable> for Refusal {
    fn from(unavailable: Unavailable) -> Self {
        Self(unavailable.into())
    }
}

/// The value of `Retry-After`. Rounded up: a caller who waits as long as told is not told to wait again.
pub(super) fn retry_after(pause: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(pause.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = self.0;
        let (status, header) = match &error {
            OAuthError::InvalidRequest(_)
            | OAuthError::InvalidGrant
            | OAuthError::UnauthorizedClient
            | OAuthError::UnsupportedGrantType
            | OAuthError::InvalidScope
            | OAuthError::InvalidTarget
            | OAuthError::UnmetAuthenticationRequirements => (StatusCode::BAD_REQUEST, None),
            OAuthError::InvalidClient => {
                let challenge = HeaderValue::from_static("Basic realm=\"signet\", charset=\"UTF-8\"");
                (StatusCode::UNAUTHORIZED, Some((header::WWW_AUTHENTICATE, challenge)))
            }
            OAuthError::TemporarilyUnavailable { retry_after: pause } => {
                (StatusCode::SERVICE_UNAVAILABLE, Some((header::RETRY_AFTER, retry_after(*pause))))
            }
        };
        let mut response = plain(status, error.code(), error.description());
        response.headers_mut().extend(header);
        response
    }
}

/// An error answer that is never cached.
pub(super) fn plain(status: StatusCode, code: &str, description: &str) -> Response {
    json_answer(status, &json!({ "error": code, "error_description": description }))
}

/// A JSON answer that is never cached (RFC 6749 §5.1).
pub(super) fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
    ];
    (status, headers, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_headers_are_those_of_the_rfcs() {
        let answer = |error: OAuthError| Refusal(error).into_response();
        let client = answer(OAuthError::InvalidClient);
        assert_eq!(client.status(), 401);
        assert!(client.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic"));
        let unavailable = answer(OAuthError::TemporarilyUnavailable { retry_after: Duration::from_millis(1200) });
        assert_eq!(
            (unavailable.status().as_u16(), &unavailable.headers()[header::RETRY_AFTER]),
            (503, &"2".parse().unwrap())
        );
        let grant = answer(OAuthError::InvalidGrant);
        assert_eq!(
            (grant.status().as_u16(), &grant.headers()[header::CACHE_CONTROL]),
            (400, &"no-store".parse().unwrap())
        );
    }
}
