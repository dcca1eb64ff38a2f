//! `POST /oauth2/revoke` (RFC 7009 §2).

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::HttpState;
use super::body::Form;
use super::context::Context;
use super::oauth_error::Refusal;

pub(super) async fn revoke(
    State(state): State<HttpState>,
    Context(context): Context,
    form: Form,
) -> Result<Response, Refusal> {
    let known = state.issuer().client_authenticator.authenticate_client(&form.credentials()?, &context).await?;
    let token = form.parameters.required("token", "token is missing")?;
    state.issuer().issuing.revocation.revoke(&known, token, &context).await?;
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response())
}
