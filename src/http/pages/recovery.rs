//! `/account/recovery`: recovery codes, shown once.

use axum::http::StatusCode;
use axum::response::Response;

use super::{OwnForm, PageError, Visitor, page};
use crate::ui::RecoveryPage;
use signet_service::factors::own::SelfServiceError;

/// `GET /account/recovery`.
pub(super) async fn show(visitor: Visitor) -> Result<Response, PageError> {
    if let Some(step_up) = visitor.step_up_first("/account/recovery").await? {
        return Ok(step_up);
    }
    recovery_page(&visitor, &[], None).await
}

/// `POST /account/recovery`.
pub(super) async fn make(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    match visitor.issuer().factors.own_tokens.make_own_recovery_codes(visitor.signed_in()?, &visitor.context).await {
        Ok(made) => {
            let codes: Vec<&str> = made.codes.iter().map(|code| code.expose()).collect();
            recovery_page(visitor, &codes, None).await
        }
        Err(SelfServiceError::Input(text)) => recovery_page(visitor, &[], Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

async fn recovery_page(visitor: &Visitor, codes: &[&str], error: Option<&str>) -> Result<Response, PageError> {
    let who = visitor.who().await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, &RecoveryPage { who: &who, error, codes }))
}
