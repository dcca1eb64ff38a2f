//! The description of the API, as it is served.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use utoipa::openapi::OpenApi;

/// The OpenAPI document in JSON, made once.
#[derive(Clone)]
pub(super) struct Served(Bytes);

impl Served {
    pub(super) fn new(document: &OpenApi) -> Self {
        // Texts, numbers and maps of texts: nothing in it can fail to become JSON.
        Self(Bytes::from(serde_json::to_vec_pretty(document).unwrap_or_default()))
    }

    pub(super) fn answer(&self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.clone()).into_response()
    }
}
