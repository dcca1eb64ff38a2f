//! The HTTP surface: one file per endpoint. Endpoints read a request, call one use case and write its answer; what a
//! request means is decided in `oauth` and `service`.

mod address;
pub mod api;
mod body;
mod challenge;
mod context;
mod discovery;
mod health;
mod host;
mod introspect;
mod jwks;
mod oauth_error;
mod pages;
mod proxy_protocol;
mod revoke;
pub mod server;
mod token;
mod wsapi;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};

use body::Form;
use context::Context;
pub use host::AcceptedHosts;
use oauth_error::{Refusal, json_answer};
pub use server::{Forwarding, Limits, Listening, ServeError};

use signet_service::{Deployment, Issuer};

/// What every endpoint is handed.
#[derive(Clone)]
pub struct HttpState {
    /// The deployment, with its issuers.
    pub signet: Arc<Deployment>,
    /// The limits on requests.
    pub limits: Limits,
    /// The names under which the service may be asked.
    pub hosts: Arc<AcceptedHosts>,
}

impl HttpState {
    /// The issuer that a request is for.
    fn issuer(&self) -> &Issuer {
        self.signet.issuers.default_issuer()
    }

    /// Whether people reach the service over TLS.
    fn is_https(&self) -> bool {
        self.issuer().settings.issuer.starts_with("https:")
    }
}

/// The router with all endpoints.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/oauth2/token", post(token::token))
        .route("/oauth2/challenge", post(challenge::challenge))
        .route("/oauth2/introspect", post(introspect::introspect))
        .route("/oauth2/revoke", post(revoke::revoke))
        .route("/oauth2/jwks", get(jwks::jwks))
        .route("/wsapi/2.0/verify", get(wsapi::verify).post(wsapi::verify))
        .route("/.well-known/openid-configuration", get(discovery::metadata))
        .route("/.well-known/oauth-authorization-server", get(discovery::metadata))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/readyz/issuance", get(health::readyz_issuance))
        .route("/readyz/verification", get(health::readyz_verification))
        .merge(pages::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), context::attach))
        .with_state(state)
}

async fn not_found() -> Response {
    oauth_error::plain(StatusCode::NOT_FOUND, "invalid_request", "there is nothing at this URL")
}

async fn method_not_allowed() -> Response {
    let text = "this URL does not take that method; the Allow header says which it takes";
    oauth_error::plain(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", text).into_response()
}
