//! `/account/password`: a person's new password.

use axum::http::StatusCode;
use axum::response::Response;

use super::{OwnForm, PageError, Visitor, forgetting, page, see_other};
use crate::ui::PasswordPage;
use signet_service::factors::own::SelfServiceError;

/// `GET /account/password`.
pub(super) async fn show(visitor: Visitor) -> Result<Response, PageError> {
    if let Some(step_up) = visitor.step_up_first("/account/password").await? {
        return Ok(step_up);
    }
    password_page(&visitor, None).await
}

/// `POST /account/password`.
pub(super) async fn change(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let (live, new, again) = (visitor.signed_in()?, form.secret_field("password"), form.secret_field("again"));
    // Both come from the one who asks: the comparison tells nobody anything.
    if new.expose() != again.expose() {
        return password_page(visitor, Some("The two are not the same: type the new password twice.")).await;
    }
    match visitor.issuer().own_password.change(live, &new, &visitor.context).await {
        Ok(()) => Ok(forgetting(see_other("/login?done=password"), &visitor.state)),
        Err(SelfServiceError::Input(text)) => password_page(visitor, Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

async fn password_page(visitor: &Visitor, error: Option<&str>) -> Result<Response, PageError> {
    let who = visitor.who().await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, &PasswordPage { who: &who, error }))
}
