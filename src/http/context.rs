//! Who asks, from where, and under which id: the id stands in the answer, in the log and in the audit record.

use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header, request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::Access;
use super::{HttpState, Refusal, address, host};
use signet_core::audit::RequestContext;
use signet_core::oauth::OAuthError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The context of the request, made by [`attach`].
#[derive(Debug, Clone)]
pub(super) struct Context(pub(super) RequestContext);

impl Context {
    /// The context that was put beside a request.
    pub(super) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_else(|| Self(RequestContext::default()))
    }
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

/// Gives each request its id and a deadline, and refuses one for another host. An id that the caller sends is not taken
/// over: it would be a way to write into the log.
pub(super) async fn attach(State(state): State<HttpState>, mut request: Request, next: Next) -> Response {
    let request_id = state.issuer().ids.next();
    let address = address::of(request.extensions());
    let context = RequestContext { request_id: Some(request_id.clone()), address, ..RequestContext::NONE };
    request.extensions_mut().insert(Context(context));
    let access = Access::begin(&request);
    let deadline: Duration = state.limits.request_deadline;
    let mut response = match host::refuse(&state.hosts, &request) {
        Some(refusal) => refusal,
        None => match tokio::time::timeout(deadline, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                tracing::error!(request_id, ?deadline, "a request passed its deadline");
                Refusal(OAuthError::unavailable()).into_response()
            }
        },
    };
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    protect(response.headers_mut(), state.is_https());
    access.end(&response, &request_id, address);
    response
}

/// What every answer says, whoever made it: its type is the one that it names, and whoever came over TLS comes back over TLS (RFC 6797). Other
/// hosts of the domain are not spoken for.
fn protect(headers: &mut HeaderMap, https: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}
