//! The HTTP surface: one file per endpoint. Endpoints read a request, call one use case and write its answer; what a
//! request means is decided in `oauth` and `service`.

mod access;
mod address;
pub mod api;
mod body;
mod challenge;
mod conditions;
mod context;
mod cross_origin;
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
mod unread;
mod wsapi;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};

use body::Form;
use context::Context;
pub use host::AcceptedHosts;
use oauth_error::{Refusal, json_answer};
pub use server::{Forwarding, Limits, Listening, ServeError};

use signet_core::oauth::OAuthError;
use signet_service::{Deployment, Issuer};

const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";
const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";

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

    /// The issuer's path, under which its addresses are known; empty where it has none.
    fn base(&self) -> String {
        let url = url::Url::parse(&self.issuer().settings.issuer).ok();
        url.map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default()
    }

    /// Whether people reach the service over TLS.
    fn is_https(&self) -> bool {
        self.issuer().settings.issuer.starts_with("https:")
    }
}

/// The router with all endpoints: as they are named below the host, for a proxy that takes the issuer's path away, and below that
/// path, for one that leaves it.
pub fn router(state: HttpState) -> Router {
    let patience = state.limits.slow_peer;
    let base = state.base();
    let routes = routes(state);
    let router =
        if base.is_empty() { routes } else { Router::new().nest(&base, routes.clone()).fallback_service(routes) };
    router.layer(middleware::from_fn_with_state(patience, unread::announce))
}

fn routes(state: HttpState) -> Router {
    let base = state.base();
    let discovery = || get(discovery::metadata);
    let mut documents = Router::new()
        .route("/oauth2/jwks", get(jwks::jwks))
        .route(OPENID_CONFIGURATION, discovery())
        .route(OAUTH_METADATA, discovery());
    // Of an issuer with a path both documents stand in both places (RFC 8414 §3.1, OpenID Connect Discovery 1.0 §4.1).
    if !base.is_empty() {
        documents = documents
            .route(&format!("{OPENID_CONFIGURATION}{base}"), discovery())
            .route(&format!("{OAUTH_METADATA}{base}"), discovery());
    }
    let verify = get(wsapi::verify).post(wsapi::verify).head(wsapi::spends_nothing).fallback(wsapi::spends_nothing);
    let token = post(token::token).fallback(method_not_allowed).layer(cross_origin::preflights());
    let guarded = Router::new()
        .route("/oauth2/token", token)
        .route("/oauth2/challenge", post(challenge::challenge))
        .route("/oauth2/introspect", post(introspect::introspect))
        .route("/oauth2/revoke", post(revoke::revoke))
        .route("/wsapi/2.0/verify", verify)
        .merge(pages::routes(&base))
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(middleware::from_fn_with_state(state.clone(), admit));
    guarded
        .merge(documents.method_not_allowed_fallback(method_not_allowed).layer(cross_origin::documents()))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/readyz/issuance", get(health::readyz_issuance))
        .route("/readyz/verification", get(health::readyz_verification))
        .fallback(nothing_here)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), context::attach))
        .with_state(state)
}

/// A browser that a person sits at gets a page.
async fn nothing_here(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    match pages::are_wanted(&headers) {
        true => pages::not_found(state.base().into()).await,
        false => oauth_error::plain(StatusCode::NOT_FOUND, "invalid_request", "there is nothing at this URL"),
    }
}

/// Refuses a request from where the tenant may not be asked. Keys and metadata are everybody's, and probes ask about the process.
async fn admit(State(state): State<HttpState>, Context(context): Context, request: Request, next: Next) -> Response {
    match state.issuer().allow_lists.admits(&context).await {
        Ok(true) => next.run(request).await,
        Ok(false) if pages::are_wanted(request.headers()) => pages::not_from_here(state.base().into()).await,
        Ok(false) => {
            let text = "requests are taken from other addresses than this one";
            oauth_error::plain(StatusCode::FORBIDDEN, OAuthError::UnauthorizedClient.code(), text)
        }
        Err(unavailable) => Refusal::from(unavailable).into_response(),
    }
}

async fn method_not_allowed() -> Response {
    let text = "this URL does not take that method; the Allow header says which it takes";
    oauth_error::plain(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", text).into_response()
}
