//! Security keys: `/account/key` enrols one; the sign-in and the step-up ask for one. The script of the pages carries
//! options and answers between here and the key, and decides nothing.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{OwnForm, PageError, Visitor, page, see_other};
use crate::ui::KeyPage;
use signet_service::factors::own::SelfServiceError;
use signet_service::sign_in::security_keys::{Ceremony, KeyAnswer};

/// The key's answer that a form carries; `None` where it carries none.
pub(super) fn key_answer(form: &OwnForm) -> Option<KeyAnswer> {
    let answer = form.secret_field("key");
    let is_there = !answer.expose().is_empty();
    is_there.then(|| KeyAnswer { browser: form.visitor.secret.clone(), carried: form.secret_field("ceremony"), answer })
}

fn ceremony(ceremony: &Ceremony) -> Response {
    let told = json!({ "options": ceremony.options, "carried": ceremony.carried.expose() });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, told.to_string()).into_response()
}

fn must_offer(visitor: &Visitor) -> Result<(), PageError> {
    if visitor.issuer().sign_in.security_keys.offers_keys() { Ok(()) } else { Err(PageError::NotFound) }
}

/// `POST /login/key`: what a key is asked for, beside the password where a name is given, or alone.
pub(super) async fn ask(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    must_offer(visitor)?;
    let name = form.secret_field("username");
    let name = Some(&name).filter(|name| !name.expose().is_empty());
    Ok(ceremony(&visitor.issuer().sign_in.security_keys.ask_for_key(&visitor.secret, name).await?))
}

/// `GET /account/key`.
pub(super) async fn show(visitor: Visitor) -> Result<Response, PageError> {
    must_offer(&visitor)?;
    if let Some(step_up) = visitor.step_up_first("/account/key").await? {
        return Ok(step_up);
    }
    key_page(&visitor, "Security key", None).await
}

/// `POST /account/key/options`.
pub(super) async fn make(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    must_offer(visitor)?;
    let live = visitor.signed_in()?;
    Ok(ceremony(&visitor.issuer().factors.own_keys.begin_key(live, &visitor.secret, &visitor.context).await?))
}

/// `POST /account/key`.
pub(super) async fn confirm(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    must_offer(visitor)?;
    let (live, label) = (visitor.signed_in()?, form.field("label"));
    let Some(answer) = key_answer(&form) else {
        return key_page(visitor, label, Some("No key answered: try once more.")).await;
    };
    match visitor.issuer().factors.own_keys.confirm_key(live, &answer, label, &visitor.context).await {
        Ok(_) => Ok(see_other("/account?done=added")),
        Err(SelfServiceError::Input(text)) => key_page(visitor, label, Some(&text)).await,
        Err(error) => Err(error.into()),
    }
}

async fn key_page(visitor: &Visitor, label: &str, error: Option<&str>) -> Result<Response, PageError> {
    let who = visitor.who().await?;
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, &KeyPage { who: &who, error, label }))
}
