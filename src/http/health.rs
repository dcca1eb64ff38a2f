//! `GET /healthz` (the process) and `GET /readyz` (whether tokens can be issued now).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::HttpState;
use super::oauth_error::json_answer;

pub(super) async fn healthz() -> Response {
    json_answer(StatusCode::OK, &json!({ "status": "ok" }))
}

pub(super) async fn readyz(State(state): State<HttpState>) -> Response {
    let report = state.signet.readiness().await;
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(status, &json!(report))
}
