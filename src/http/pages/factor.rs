//! `/account/factors/{id}`: to name a factor, or to remove it.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::super::HttpState;
use super::super::context::Context;
use super::account::factor_row;
use super::login::ask_step_up;
use super::visitor::{OwnForm, Visitor, forgetting};
use super::{PageError, page, see_other};
use crate::ui::{FactorPage, RemovePage};
use signet_service::factors::own::SelfServiceError;
use signet_store::FactorId;

/// `GET /account/factors/{id}`.
pub(super) async fn show(
    State(state): State<HttpState>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, PageError> {
    factor_page(&state, &visitor, &FactorId::new(id), Asked::Name, None).await
}

/// `POST /account/factors/{id}/name`.
pub(super) async fn rename(
    State(state): State<HttpState>,
    Context(context): Context,
    Path(id): Path<String>,
    form: OwnForm,
) -> Result<Response, PageError> {
    let (live, id) = (form.visitor.signed_in()?, FactorId::new(id));
    match state.issuer().factors.own.rename_own_factor(live, &id, form.field("label"), &context).await {
        Ok(()) => Ok(see_other("/account?done=renamed")),
        Err(SelfServiceError::Input(text)) => factor_page(&state, &form.visitor, &id, Asked::Name, Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

/// `GET /account/factors/{id}/remove`.
pub(super) async fn show_removal(
    State(state): State<HttpState>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, PageError> {
    let (live, id) = (visitor.signed_in()?, FactorId::new(id));
    // Before the step-up: nobody proves who they are for a page that is not there.
    state.issuer().factors.own.own_factor(live, &id).await?;
    if !live.is_fresh(state.signet.now()) {
        return Ok(ask_step_up(&format!("/account/factors/{id}/remove")));
    }
    factor_page(&state, &visitor, &id, Asked::Removal, None).await
}

/// `POST /account/factors/{id}/remove`.
pub(super) async fn remove(
    State(state): State<HttpState>,
    Context(context): Context,
    Path(id): Path<String>,
    form: OwnForm,
) -> Result<Response, PageError> {
    let (live, id) = (form.visitor.signed_in()?, FactorId::new(id));
    match state.issuer().factors.own.remove_own_factor(live, &id, &context).await {
        Ok(()) => Ok(forgetting(see_other("/login?done=removed"), &state)),
        Err(SelfServiceError::Input(text)) => {
            factor_page(&state, &form.visitor, &id, Asked::Removal, Some(&text)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// What a page of a factor asks for.
enum Asked {
    Name,
    Removal,
}

async fn factor_page(
    state: &HttpState,
    visitor: &Visitor,
    id: &FactorId,
    asked: Asked,
    error: Option<&str>,
) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    let factor = factor_row(&state.issuer().factors.own.own_factor(live, id).await?);
    let token = state.issuer().sessions.form_token(&visitor.secret).await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let (token, user): (&str, &str) = (&token, &live.user.name);
    Ok(match asked {
        Asked::Name => page(status, &FactorPage { token, user, error, factor }),
        Asked::Removal => page(status, &RemovePage { token, user, error, factor }),
    })
}
