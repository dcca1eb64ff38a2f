//! What scripts of other sites may read (CORS, Fetch §3.2): public documents, by whoever asks.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::Form;

/// How long browsers may keep what a preflight said.
const KEPT: Duration = Duration::from_secs(3600);

/// Of documents that are the same for everybody. No cookie and no credential plays a part in them.
pub(super) fn documents() -> CorsLayer {
    const ASKED: [HeaderName; 1] = [header::IF_NONE_MATCH];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers(ASKED)
        .expose_headers([header::ETAG])
        .max_age(KEPT)
}

/// Of the token endpoint: any site's script may send its request, as it could by a form, and reads the answer where
/// [`readable`] says so alone.
pub(super) fn preflights() -> CorsLayer {
    let asked = AllowOrigin::predicate(|_, head| head.method == Method::OPTIONS);
    CorsLayer::new()
        .allow_origin(asked)
        .allow_methods([Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .max_age(KEPT)
}

/// Has the scripts of a site read an answer, where the client that asks may be used there.
pub(super) async fn readable(mut response: Response, form: &Form) -> Response {
    let (Some(origin), Ok(credentials)) = (&form.origin, form.credentials()) else { return response };
    let authenticator = &form.state.issuer().client_authenticator;
    if authenticator.may_be_read_by(&credentials.client_id, origin).await
        && let Ok(origin) = HeaderValue::from_str(origin)
    {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}
