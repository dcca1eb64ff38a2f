//! `POST /oauth2/introspect` (RFC 7662 §2).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::HttpState;
use super::body::Form;
use super::context::Context;
use super::oauth_error::{Refusal, json_answer};

pub(super) async fn introspect(
    State(state): State<HttpState>,
    Context(context): Context,
    form: Form,
) -> Result<Response, Refusal> {
    let known = state.issuer().client_authenticator.authenticate_client(&form.credentials()?, &context).await?;
    let token = form.parameters.required("token", "token is missing")?;
    let answer = state.issuer().issuing.introspection.introspect(&known, token).await?;
    Ok(json_answer(StatusCode::OK, &answer))
}
