//! `/account/recovery`: recovery codes, shown once.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::HttpState;
use super::super::context::Context;
use super::login::ask_step_up;
use super::visitor::{OwnForm, Visitor};
use super::{PageError, page};
use crate::ui::RecoveryPage;
use signet_service::factors::own::SelfServiceError;

/// `GET /account/recovery`.
pub(super) async fn show(State(state): State<HttpState>, visitor: Visitor) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    if !live.is_fresh(state.signet.now()) {
        return Ok(ask_step_up("/account/recovery"));
    }
    recovery_page(&state, &visitor, &[], None).await
}

/// `POST /account/recovery`.
pub(super) async fn make(
    State(state): State<HttpState>,
    Context(context): Context,
    form: OwnForm,
) -> Result<Response, PageError> {
    match state.issuer().factors.own_tokens.make_own_recovery_codes(form.visitor.signed_in()?, &context).await {
        Ok(made) => {
            let codes: Vec<&str> = made.codes.iter().map(|code| code.expose()).collect();
            recovery_page(&state, &form.visitor, &codes, None).await
        }
        Err(SelfServiceError::Input(text)) => recovery_page(&state, &form.visitor, &[], Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

async fn recovery_page(
    state: &HttpState,
    visitor: &Visitor,
    codes: &[&str],
    error: Option<&str>,
) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    let token = state.issuer().sessions.form_token(&visitor.secret).await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, &RecoveryPage { token: &token, user: &live.user.name, error, codes }))
}
