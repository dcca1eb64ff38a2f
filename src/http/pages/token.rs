//! `/account/token`: a token of the stock becomes the factor of who holds it and shows its code.

use axum::http::StatusCode;
use axum::response::Response;

use super::{OwnForm, PageError, Visitor, page, see_other};
use crate::ui::TokenPage;
use signet_service::factors::own::SelfServiceError;

/// `GET /account/token`.
pub(super) async fn show(visitor: Visitor) -> Result<Response, PageError> {
    if let Some(step_up) = visitor.step_up_first("/account/token").await? {
        return Ok(step_up);
    }
    token_page(&visitor, ("", ""), None).await
}

/// `POST /account/token`.
pub(super) async fn take(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let (live, serial, label) = (visitor.signed_in()?, form.field("serial").trim(), form.field("label").trim());
    let code = form.secret_field("code");
    match visitor.issuer().factors.own_tokens.take_own_token(live, serial, &code, label, &visitor.context).await {
        Ok(_) => Ok(see_other("/account?done=added")),
        Err(SelfServiceError::Input(text)) => token_page(visitor, (serial, label), Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

async fn token_page(
    visitor: &Visitor,
    (serial, label): (&str, &str),
    error: Option<&str>,
) -> Result<Response, PageError> {
    let who = visitor.who().await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, &TokenPage { who: &who, error, serial, label }))
}
