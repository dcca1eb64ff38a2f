//! `GET /healthz` (the process) and `GET /readyz` (whether tokens can be issued, and verified, now).

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::oauth_error::plain;
use super::{HttpState, json_answer};
use signet_service::readiness::ReadinessReport;

/// What a server is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Issuance,
    Verification,
}

pub(super) async fn healthz() -> Response {
    json_answer(StatusCode::OK, &json!({ "status": "ok" }))
}

pub(super) async fn readyz(State(state): State<HttpState>, RawQuery(query): RawQuery) -> Response {
    let purpose = match query.as_deref() {
        None | Some("" | "for=issuance") => Purpose::Issuance,
        Some("for=verification") => Purpose::Verification,
        Some(_) => {
            let text = "the query is `for=issuance` or `for=verification`";
            return plain(StatusCode::BAD_REQUEST, "invalid_request", text);
        }
    };
    answer(&state.signet.readiness.readiness().await, purpose)
}

pub(super) async fn readyz_issuance(State(state): State<HttpState>) -> Response {
    answer(&state.signet.readiness.readiness().await, Purpose::Issuance)
}

pub(super) async fn readyz_verification(State(state): State<HttpState>) -> Response {
    answer(&state.signet.readiness.readiness().await, Purpose::Verification)
}

fn answer(report: &ReadinessReport, purpose: Purpose) -> Response {
    let part = match purpose {
        Purpose::Issuance => report.issuance,
        Purpose::Verification => report.verification,
    };
    let status = if part.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(status, &json!(report))
}
