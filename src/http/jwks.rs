//! `GET /oauth2/jwks` (RFC 7517 §5). It needs no HSM.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::HttpState;
use super::oauth_error::Refusal;
use crate::oauth::OAuthError;

/// How long verifiers may keep the document: a new key must be published at least so long before it signs.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub(super) async fn jwks(State(state): State<HttpState>, request: HeaderMap) -> Result<Response, Refusal> {
    let directory = state.signet.directory();
    // A store that can't be read leaves the last set in service: verification needs nobody.
    let snapshot = match directory.fresh().await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::warn!(%error, "the JWKS is served as it was last read");
            directory.at_hand().await.map_err(|_| OAuthError::unavailable())?
        }
    };
    let body = snapshot.jwks().to_json().to_string();
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(body.as_bytes())[..16]));
    let is_known = request.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let tag = HeaderValue::from_str(&tag).map_err(|_| OAuthError::unavailable())?;
    let headers = [(header::CACHE_CONTROL, CACHE), (header::ETAG, tag)];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"))];
    Ok((headers, content_type, body).into_response())
}
