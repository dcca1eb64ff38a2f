//! `GET /oauth2/jwks` (RFC 7517 §5). It needs no HSM.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::{HttpState, Refusal};
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
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(body.as_bytes())[..16]));
    let is_known = request.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let tag = HeaderValue::from_str(&tag).map_err(|_| OAuthError::unavailable())?;
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
