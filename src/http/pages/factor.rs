//! `/account/factors/{id}`: to name a factor, or to remove it.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;

use super::account::factor_row;
use super::{OwnForm, PageError, Visitor, forgetting, page, see_other};
use crate::ui::{FactorPage, RemovePage};
use signet_service::factors::own::SelfServiceError;
use signet_store::FactorId;

/// `GET /account/factors/{id}`.
pub(super) async fn show(Path(id): Path<String>, visitor: Visitor) -> Result<Response, PageError> {
    factor_page(&visitor, &FactorId::new(id), Asked::Name, None).await
}

/// `POST /account/factors/{id}/name`.
pub(super) async fn rename(Path(id): Path<String>, form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let (live, id) = (visitor.signed_in()?, FactorId::new(id));
    match visitor.issuer().factors.own.rename_own_factor(live, &id, form.field("label"), &visitor.context).await {
        Ok(()) => Ok(see_other("/account?done=renamed")),
        Err(SelfServiceError::Input(text)) => factor_page(visitor, &id, Asked::Name, Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

/// `GET /account/factors/{id}/remove`.
pub(super) async fn show_removal(Path(id): Path<String>, visitor: Visitor) -> Result<Response, PageError> {
    let (live, id) = (visitor.signed_in()?, FactorId::new(id));
    // Before the step-up: nobody proves who they are for a page that is not there.
    visitor.issuer().factors.own.own_factor(live, &id).await?;
    if let Some(step_up) = visitor.step_up_first(&format!("/account/factors/{id}/remove")).await? {
        return Ok(step_up);
    }
    factor_page(&visitor, &id, Asked::Removal, None).await
}

/// `POST /account/factors/{id}/remove`.
pub(super) async fn remove(Path(id): Path<String>, form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let (live, id) = (visitor.signed_in()?, FactorId::new(id));
    match visitor.issuer().factors.own.remove_own_factor(live, &id, &visitor.context).await {
        Ok(()) => Ok(forgetting(see_other("/login?done=removed"), &visitor.state)),
        Err(SelfServiceError::Input(text)) => factor_page(visitor, &id, Asked::Removal, Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

/// What a page of a factor asks for.
enum Asked {
    Name,
    Removal,
}

async fn factor_page(
    visitor: &Visitor,
    id: &FactorId,
    asked: Asked,
    error: Option<&str>,
) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    let factor = factor_row(&visitor.issuer().factors.own.own_factor(live, id).await?);
    let who = &visitor.who().await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(match asked {
        Asked::Name => page(status, &FactorPage { who, error, factor }),
        Asked::Removal => page(status, &RemovePage { who, error, factor }),
    })
}
