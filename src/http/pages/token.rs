//! `/account/token`: a token of the stock becomes the factor of who holds it and shows its code.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::HttpState;
use super::super::context::Context;
use super::login::ask_step_up;
use super::visitor::{OwnForm, Visitor};
use super::{PageError, page, see_other};
use crate::ui::TokenPage;
use signet_service::factors::own::SelfServiceError;

/// `GET /account/token`.
pub(super) async fn show(State(state): State<HttpState>, visitor: Visitor) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    if !live.is_fresh(state.signet.now()) {
        return Ok(ask_step_up("/account/token"));
    }
    token_page(&state, &visitor, ("", ""), None).await
}

/// `POST /account/token`.
pub(super) async fn take(
    State(state): State<HttpState>,
    Context(context): Context,
    form: OwnForm,
) -> Result<Response, PageError> {
    let (live, serial, label) = (form.visitor.signed_in()?, form.field("serial").trim(), form.field("label").trim());
    match state
        .issuer()
        .factors
        .own_tokens
        .take_own_token(live, serial, &form.secret_field("code"), label, &context)
        .await
    {
        Ok(_) => Ok(see_other("/account?done=added")),
        Err(SelfServiceError::Input(text)) => token_page(&state, &form.visitor, (serial, label), Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

async fn token_page(
    state: &HttpState,
    visitor: &Visitor,
    (serial, label): (&str, &str),
    error: Option<&str>,
) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    let token = state.issuer().sessions.form_token(&visitor.secret).await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, &TokenPage { token: &token, user: &live.user.name, error, serial, label }))
}
