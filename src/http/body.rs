//! The body of a form request: bounded in size and time, of the one content type, not compressed (RFC 6749 §3.2).

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::HttpState;
use super::oauth_error::{self, Refusal};
use crate::oauth::{OAuthError, Parameters, PresentedCredentials};

/// The most of a refused body that is read on, in bytes, and how long its next piece is waited for.
const MOST_DISCARDED: usize = 16 * 1024 * 1024;
const QUIET: Duration = Duration::from_millis(500);

/// The parameters of a request with its `Authorization` header.
pub(super) struct Form {
    pub(super) parameters: Parameters,
    authorization: Option<String>,
}

impl Form {
    /// The client's credentials, shown in the header or in the body.
    pub(super) fn credentials(&self) -> Result<PresentedCredentials, OAuthError> {
        PresentedCredentials::read(self.authorization.as_deref(), &self.parameters)
    }
}

impl FromRequest<HttpState> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, state: &HttpState) -> Result<Self, Response> {
        let (parts, mut body) = request.into_parts();
        let authorization = match judge_head(&parts) {
            Ok(authorization) => authorization,
            Err(refusal) => {
                discard(&mut body, state).await;
                return Err(refusal);
            }
        };
        let body = read(body, state).await?;
        let parameters = Parameters::parse(&body).map_err(|error| Refusal(error).into_response())?;
        Ok(Self { parameters, authorization })
    }
}

/// The `Authorization` header of a request whose head is in order.
fn judge_head(parts: &Parts) -> Result<Option<String>, Response> {
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        let text = "parameters belong into the body, not into the address";
        return Err(Refusal(OAuthError::InvalidRequest(text)).into_response());
    }
    check_type(&parts.headers)?;
    single_authorization(&parts.headers)
}

fn check_type(headers: &HeaderMap) -> Result<(), Response> {
    let is_compressed = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    if is_compressed {
        let text = "compressed requests are not accepted";
        return Err(oauth_error::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", text));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(());
    }
    let text = "the request must be application/x-www-form-urlencoded";
    Err(Refusal(OAuthError::InvalidRequest(text)).into_response())
}

fn single_authorization(headers: &HeaderMap) -> Result<Option<String>, Response> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(Refusal(OAuthError::InvalidClient).into_response()),
        },
        (Some(_), Some(_)) => {
            let text = "more than one Authorization header is given";
            Err(Refusal(OAuthError::InvalidRequest(text)).into_response())
        }
    }
}

async fn read(mut body: Body, state: &HttpState) -> Result<zeroize::Zeroizing<Vec<u8>>, Response> {
    let collected = Limited::new(&mut body, state.limits.body_bytes).collect();
    match tokio::time::timeout(state.limits.slow_peer, collected).await {
        Ok(Ok(collected)) => Ok(zeroize::Zeroizing::new(collected.to_bytes().to_vec())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(&mut body, state).await;
            let text = "the request's body is too large";
            Err(oauth_error::plain(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", text))
        }
        Ok(Err(_)) => Err(Refusal(OAuthError::InvalidRequest("the body could not be read")).into_response()),
        Err(_) => {
            let text = "the body did not arrive in time";
            let mut response = oauth_error::plain(StatusCode::REQUEST_TIMEOUT, "invalid_request", text);
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
            Err(response)
        }
    }
}

/// Reads the rest of a refused body and forgets it, within bounds: where the connection closes while the peer still
/// writes, the peer's system drops the answer unread.
async fn discard(body: &mut Body, state: &HttpState) {
    let discarding = async {
        let mut left = MOST_DISCARDED;
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(QUIET, body.frame()).await {
            let length = frame.data_ref().map_or(0, bytes::Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Whether it came to its end changes nothing for the answer.
    let _ = tokio::time::timeout(state.limits.slow_peer, discarding).await;
}
