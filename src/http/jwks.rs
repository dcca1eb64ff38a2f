//! `GET /oauth2/jwks` (RFC 7517 §5). It needs no HSM.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{HttpState, Refusal, conditions};
use signet_core::oauth::OAuthError;

/// What is served while the store can't be read: a key that was published since may be missing, so that nobody may keep it.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-cache");

pub(super) async fn jwks(State(state): State<HttpState>, request: HeaderMap) -> Result<Response, Refusal> {
    let directory = &state.issuer().directory;
    // A store that can't be read leaves the last set in service: verification needs nobody.
    let (snapshot, cache) = match directory.fresh().await {
        Ok(snapshot) => (snapshot, kept_for(state.issuer().settings.current().keys.jwks_max_age)),
        Err(error) => {
            tracing::warn!(%error, "the JWKS is served as it was last read");
            (directory.at_hand().await.map_err(|_| OAuthError::unavailable())?, NOT_KEPT)
        }
    };
    let body = snapshot.jwks().to_json().to_string();
    let tag = conditions::tag_of(body.as_bytes()).ok_or_else(OAuthError::unavailable)?;
    let is_known = conditions::is_known(&request, Some(&tag));
    let headers = [(header::CACHE_CONTROL, cache), (header::ETAG, tag)];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"))];
    Ok((headers, content_type, body).into_response())
}

/// How long verifiers may keep the document: a new key is published for longer before it signs.
fn kept_for(max_age: Duration) -> HeaderValue {
    HeaderValue::from_str(&format!("public, max-age={}", max_age.as_secs())).unwrap_or(NOT_KEPT)
}
