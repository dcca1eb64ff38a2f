//! `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server` (RFC 8414).

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::{HttpState, Refusal};
use signet_core::oauth::{OAuthError, discovery};

const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub(super) async fn metadata(State(state): State<HttpState>) -> Result<Response, Refusal> {
    let snapshot = state.issuer().directory.at_hand().await.map_err(|error| {
        tracing::error!(%error, "the discovery document can't be made");
        OAuthError::unavailable()
    })?;
    let settings = &state.issuer().settings;
    let published: BTreeSet<_> = snapshot.published().map(|key| key.verifying.algorithm()).collect();
    let algorithms: Vec<_> = published.into_iter().collect();
    let document = discovery::metadata(&settings.issuer, &algorithms, &settings.current().role_scopes.known());
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::CACHE_CONTROL, CACHE)];
    Ok((headers, document.to_string()).into_response())
}
