//! `POST /oauth2/introspect` (RFC 7662 §2).

use axum::http::StatusCode;
use axum::response::Response;

use super::{Form, Refusal, json_answer};

pub(super) async fn introspect(form: Form) -> Result<Response, Refusal> {
    let known = form.client().await?;
    let token = form.parameters.required("token", "token is missing")?;
    let answer = form.state.issuer().issuing.introspection.introspect(&known, token).await?;
    Ok(json_answer(StatusCode::OK, &answer))
}
