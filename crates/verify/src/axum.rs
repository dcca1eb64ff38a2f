//! A layer and an extractor for axum, or any other tower service.
//! `examples/resource_server.rs` is a whole server with both.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::Request;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use tower_layer::Layer;
use tower_service::Service;

use super::Verifier;
use super::bearer::{BearerError, Requirements, authenticate};
use crate::{Level, VerifiedClaims};

/// Lets requests through that carry an acceptable bearer token, with its [`VerifiedClaims`] as an extension.
#[derive(Clone)]
pub struct BearerLayer {
    guard: Arc<Guard>,
}

#[derive(Clone)]
struct Guard {
    verifier: Arc<Verifier>,
    realm: String,
    requirements: Requirements,
}

impl BearerLayer {
    /// Asks for a token and for nothing that it must allow.
    pub fn new(verifier: Arc<Verifier>) -> Self {
        let guard = Guard { verifier, realm: "api".to_owned(), requirements: Requirements::default() };
        Self { guard: Arc::new(guard) }
    }

    /// The realm that a challenge names; `api` unless said otherwise.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.guard).realm = realm.into();
        self
    }

    /// The token must have this scope, too.
    #[must_use]
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.guard).requirements.scopes.insert(scope.into());
        self
    }

    /// The token must have this role, too.
    #[must_use]
    pub fn require_role(mut self, role: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.guard).requirements.roles.insert(role.into());
        self
    }

    /// The token's person must have proved this level or a higher one. A token that says less is answered with
    /// `insufficient_user_authentication` and what would do (RFC 9470 §3).
    #[must_use]
    pub fn require_level(self, level: Level) -> Self {
        self.require_acr(level.and_above())
    }

    /// The token's `acr` must be one of these.
    #[must_use]
    pub fn require_acr(mut self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let step_up = &mut Arc::make_mut(&mut self.guard).requirements.step_up;
        step_up.acr_values = values.into_iter().map(Into::into).collect();
        self
    }

    /// The person must have signed in at most so long ago, in whole seconds.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        Arc::make_mut(&mut self.guard).requirements.step_up.max_age = Some(max_age);
        self
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = BearerService<S>;

    fn layer(&self, inner: S) -> BearerService<S> {
        BearerService { inner, guard: Arc::clone(&self.guard) }
    }
}

/// What [`BearerLayer`] makes of a service.
#[derive(Clone)]
pub struct BearerService<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S, B> Service<Request<B>> for BearerService<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The service that said it is ready is the one to call; its clone takes its place.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            match authenticate(request.headers(), &guard.verifier, &guard.requirements).await {
                Ok(claims) => {
                    request.extensions_mut().insert(claims);
                    inner.call(request).await
                }
                Err(error) => {
                    tracing::info!(%error, "request refused");
                    Ok(refusal(&error, &guard.realm))
                }
            }
        })
    }
}

fn refusal(error: &BearerError, realm: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = error.status();
    response.headers_mut().insert(WWW_AUTHENTICATE, error.challenge(realm));
    response
}

/// The claims that [`BearerLayer`] put there. Without the layer nobody is let in.
impl<S: Sync> FromRequestParts<S> for VerifiedClaims {
    type Rejection = Unguarded;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Unguarded> {
        parts.extensions.get::<Self>().cloned().ok_or(Unguarded)
    }
}

/// A handler asks for [`VerifiedClaims`] on a route that no [`BearerLayer`] guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unguarded;

impl IntoResponse for Unguarded {
    fn into_response(self) -> Response {
        tracing::error!("a handler takes VerifiedClaims on a route without BearerLayer: nobody is let in");
        refusal(&BearerError::NoCredentials, "api")
    }
}
