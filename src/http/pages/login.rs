//! Signing in and out, and proving again who one is. Name, password and code are asked for together.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use url::form_urlencoded;

use super::super::HttpState;
use super::super::context::Context;
use super::visitor::{OwnForm, Visitor, forgetting, holding};
use super::webauthn::key_answer;
use super::{PageError, page, see_other, sign_in_failure, with_retry};
use crate::ui::{LoginPage, StepUpPage};
use signet_core::audit::RequestContext;
use signet_core::mfa::{Credentials, SecondFactor};
use signet_core::secret::SecretText;
use signet_service::SignInError;

/// The value of a parameter of the URL's query.
pub(super) fn asked(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// `GET /login`.
pub(super) async fn show(State(state): State<HttpState>, visitor: Visitor, uri: Uri) -> Result<Response, PageError> {
    if visitor.live.is_some() {
        return Ok(see_other("/account"));
    }
    let notice = match asked(&uri, "done").as_deref() {
        Some("signed-out") => Some("You are signed out."),
        Some("removed") => Some("It is removed, and you are signed out everywhere. Sign in again to go on."),
        _ => None,
    };
    let token = state.issuer().sessions.form_token(&visitor.secret).await?;
    let response = page(
        StatusCode::OK,
        &LoginPage {
            token: &token,
            notice,
            error: None,
            offers_keys: state.issuer().sign_in.security_keys.offers_keys(),
        },
    );
    Ok(if visitor.is_new { holding(response, &state, &visitor.secret) } else { response })
}

/// `POST /login`.
pub(super) async fn sign_in(
    State(state): State<HttpState>,
    Context(context): Context,
    form: OwnForm,
) -> Result<Response, PageError> {
    match judge(&state, &context, &form).await {
        Ok(secret) => Ok(holding(see_other("/account"), &state, &secret)),
        Err(error) => {
            let token = state.issuer().sessions.form_token(&form.visitor.secret).await?;
            let (status, text) = sign_in_failure(error);
            let offers_keys = state.issuer().sign_in.security_keys.offers_keys();
            let template = LoginPage { token: &token, notice: None, error: Some(text), offers_keys };
            Ok(with_retry(page(status, &template), error.retry_after()))
        }
    }
}

async fn judge(state: &HttpState, context: &RequestContext, form: &OwnForm) -> Result<SecretText, SignInError> {
    let (username, password) = (form.secret_field("username"), form.secret_field("password"));
    let earlier = form.visitor.live.as_ref();
    if let Some(answer) = key_answer(form) {
        return state.issuer().sessions.begin_session_by_key(&username, &password, &answer, earlier, context).await;
    }
    let otp = form.secret_field("otp");
    let credentials = Credentials { username, password, second: SecondFactor::Code(otp) };
    state.issuer().sessions.begin_session(&credentials, earlier, context).await
}

/// `POST /logout`.
pub(super) async fn sign_out(
    State(state): State<HttpState>,
    Context(context): Context,
    form: OwnForm,
) -> Result<Response, PageError> {
    if let Some(live) = &form.visitor.live {
        state.issuer().sessions.end_session(live, &live.session.id, &context).await?;
    }
    Ok(forgetting(see_other("/login?done=signed-out"), &state))
}

/// Where a step-up goes on to: a page of the account's, or the account.
fn next_page(asked: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-');
    if asked.starts_with("/account/") && asked.bytes().all(is_plain) { asked } else { "/account" }
}

/// Asks for a step-up that goes on to a page.
pub(super) fn ask_step_up(next: &str) -> Response {
    see_other(&format!(
        "/account/step-up?next={}",
        form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>()
    ))
}

/// `GET /account/step-up`.
pub(super) async fn show_step_up(
    State(state): State<HttpState>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    let asked = asked(&uri, "next").unwrap_or_default();
    let token = state.issuer().sessions.form_token(&visitor.secret).await?;
    let (next, offers_keys) = (next_page(&asked), state.issuer().sign_in.security_keys.offers_keys());
    let template = StepUpPage { token: &token, user: &live.user.name, next, error: None, offers_keys };
    Ok(page(StatusCode::OK, &template))
}

/// `POST /account/step-up`.
pub(super) async fn step_up(
    State(state): State<HttpState>,
    Context(context): Context,
    form: OwnForm,
) -> Result<Response, PageError> {
    let live = form.visitor.signed_in()?;
    let next = next_page(form.field("next"));
    let password = form.secret_field("password");
    let judged = match key_answer(&form) {
        Some(answer) => state.issuer().sessions.step_up_by_key(live, &password, &answer, &context).await,
        None => state.issuer().sessions.step_up(live, password, form.secret_field("otp"), &context).await,
    };
    match judged {
        Ok(secret) => Ok(holding(see_other(next), &state, &secret)),
        Err(error) => {
            let token = state.issuer().sessions.form_token(&form.visitor.secret).await?;
            let (status, text) = step_up_failure(error);
            let offers_keys = state.issuer().sign_in.security_keys.offers_keys();
            let template = StepUpPage { token: &token, user: &live.user.name, next, error: Some(text), offers_keys };
            Ok(with_retry(page(status, &template), error.retry_after()))
        }
    }
}

fn step_up_failure(error: SignInError) -> (StatusCode, &'static str) {
    match sign_in_failure(error) {
        (StatusCode::BAD_REQUEST, _) => (
            StatusCode::BAD_REQUEST,
            "That did not work. Check the password, and use a code that you have not used yet.",
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_up_goes_on_within_the_account_alone() {
        assert_eq!(next_page("/account/factors/0197-ab/remove"), "/account/factors/0197-ab/remove");
        for other in
            ["", "/", "//evil.example", "/account/../x", "https://evil.example", "/account/?a=b", "/account/\r\n"]
        {
            assert_eq!(next_page(other), "/account", "{other:?}");
        }
    }
}
