//! What scripts of other sites may read (CORS, Fetch §3.2): public documents, by whoever asks.

use std::time::Duration;

use axum::http::{HeaderName, Method, header};
use tower_http::cors::{Any, CorsLayer};

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
