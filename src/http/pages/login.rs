//! Signing in and out, and proving again who one is. Name, password and code are asked for together.

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use url::form_urlencoded;

use super::visitor::holding;
use super::webauthn::key_answer;
use super::{OwnForm, PageError, Visitor, forgetting, page, see_other, sign_in_failure, with_retry};
use crate::ui::{LoginPage, StepUpPage};
use signet_core::mfa::{Credentials, SecondFactor};
use signet_core::secret::SecretText;
use signet_service::SignInError;

/// The value of a parameter of the URL's query.
pub(super) fn asked(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// `GET /login`.
pub(super) async fn show(visitor: Visitor, uri: Uri) -> Result<Response, PageError> {
    if visitor.live.is_some() {
        return Ok(see_other("/account"));
    }
    let notice = match asked(&uri, "done").as_deref() {
        Some("signed-out") => Some("You are signed out."),
        Some("password") => {
            Some("Your password is changed, and you are signed out everywhere. Sign in with the new one.")
        }
        Some("removed") => Some("It is removed, and you are signed out everywhere. Sign in again to go on."),
        _ => None,
    };
    let token = visitor.form_token().await?;
    let response = page(
        StatusCode::OK,
        &LoginPage {
            token: &token,
            notice,
            error: None,
            offers_keys: visitor.issuer().sign_in.security_keys.offers_keys(),
        },
    );
    Ok(if visitor.is_new { holding(response, &visitor.state, &visitor.secret) } else { response })
}

/// `POST /login`.
pub(super) async fn sign_in(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    match judge(&form).await {
        Ok(secret) => Ok(holding(see_other("/account"), &visitor.state, &secret)),
        Err(error) => {
            let token = visitor.form_token().await?;
            let (status, text) = sign_in_failure(error);
            let offers_keys = visitor.issuer().sign_in.security_keys.offers_keys();
            let template = LoginPage { token: &token, notice: None, error: Some(text), offers_keys };
            Ok(with_retry(page(status, &template), error.retry_after()))
        }
    }
}

async fn judge(form: &OwnForm) -> Result<SecretText, SignInError> {
    let (visitor, context) = (&form.visitor, &form.visitor.context);
    let (username, password) = (form.secret_field("username"), form.secret_field("password"));
    let earlier = visitor.live.as_ref();
    if let Some(answer) = key_answer(form) {
        return visitor.issuer().sessions.begin_session_by_key(&username, &password, &answer, earlier, context).await;
    }
    let otp = form.secret_field("otp");
    let credentials = Credentials { username, password, second: SecondFactor::Code(otp) };
    visitor.issuer().sessions.begin_session(&credentials, earlier, context).await
}

/// `POST /logout`.
pub(super) async fn sign_out(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    if let Some(live) = &visitor.live {
        visitor.issuer().sessions.end_session(live, &live.session.id, &visitor.context).await?;
    }
    Ok(forgetting(see_other("/login?done=signed-out"), &visitor.state))
}

/// Where a step-up goes on to: a page of the account's, or the account.
fn next_page(asked: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-');
    if asked.starts_with("/account/") && asked.bytes().all(is_plain) { asked } else { "/account" }
}

/// Where a step-up is asked for that goes on to a page; by the person's strongest factor, where that is what is needed.
pub(super) fn step_up_at(next: &str, is_stronger: bool) -> String {
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("/account/step-up?next={next}{}", if is_stronger { "&factor=strongest" } else { "" })
}

/// `GET /account/step-up`.
pub(super) async fn show_step_up(visitor: Visitor, uri: Uri) -> Result<Response, PageError> {
    let next = asked(&uri, "next").unwrap_or_default();
    let is_stronger = asked(&uri, "factor").as_deref() == Some("strongest");
    step_up_page(&visitor, StatusCode::OK, next_page(&next), is_stronger, None).await
}

/// `POST /account/step-up`.
pub(super) async fn step_up(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let live = visitor.signed_in()?;
    let next = next_page(form.field("next"));
    let password = form.secret_field("password");
    let judged = match key_answer(&form) {
        Some(answer) => visitor.issuer().sessions.step_up_by_key(live, &password, &answer, &visitor.context).await,
        None => visitor.issuer().sessions.step_up(live, password, form.secret_field("otp"), &visitor.context).await,
    };
    match judged {
        Ok(secret) => Ok(holding(see_other(next), &visitor.state, &secret)),
        Err(error) => {
            let (status, text) = step_up_failure(error);
            let is_stronger = form.field("factor") == "strongest";
            let asked_again = step_up_page(visitor, status, next, is_stronger, Some(text)).await?;
            Ok(with_retry(asked_again, error.retry_after()))
        }
    }
}

async fn step_up_page(
    visitor: &Visitor,
    status: StatusCode,
    next: &str,
    is_stronger: bool,
    error: Option<&str>,
) -> Result<Response, PageError> {
    let who = visitor.who().await?;
    let offers_keys = visitor.issuer().sign_in.security_keys.offers_keys();
    Ok(page(status, &StepUpPage { who: &who, next, is_stronger, error, offers_keys }))
}

fn step_up_failure(error: SignInError) -> (StatusCode, &'static str) {
    match sign_in_failure(error) {
        (StatusCode::BAD_REQUEST, _) => (
            StatusCode::BAD_REQUEST,
            "That did not work. Check the password, and use a code that you have not used yet. After too many wrong tries a \
             right one is not taken either for a while: wait an hour, or use another kind of code.",
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
