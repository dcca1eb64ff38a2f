//! `/account/totp`: a TOTP secret as a QR code and as text, and the first code, which makes it a factor.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::HttpState;
use super::super::context::Context;
use super::login::ask_step_up;
use super::visitor::{OwnForm, Visitor};
use super::{PageError, page, see_other};
use crate::ui::{TotpPage, in_groups, qr_image};
use signet_service::factors::own::PendingTotp;
use signet_service::factors::own::SelfServiceError;

/// `GET /account/totp`.
pub(super) async fn show(
    State(state): State<HttpState>,
    Context(context): Context,
    visitor: Visitor,
) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    if !live.is_fresh(state.signet.now()) {
        return Ok(ask_step_up("/account/totp"));
    }
    let pending = state.issuer().factors.own.begin_totp(live, &context).await?;
    let token = state.issuer().sessions.form_token(&visitor.secret).await?;
    Ok(totp_page(StatusCode::OK, &token, &live.user.name, &pending, "Authenticator app", None))
}

/// `POST /account/totp`.
pub(super) async fn confirm(
    State(state): State<HttpState>,
    Context(context): Context,
    form: OwnForm,
) -> Result<Response, PageError> {
    let live = form.visitor.signed_in()?;
    let (label, carried) = (form.field("label"), form.secret_field("pending"));
    // People type codes as the app shows them: in two groups.
    let code: String = form.field("code").split(' ').collect();
    let error = match state.issuer().factors.own.confirm_totp(live, &carried, label, &code, &context).await {
        Ok(_) => return Ok(see_other("/account?done=added")),
        Err(SelfServiceError::WrongCode) => {
            "That code does not fit. Check that the device's clock is right, and type the code that is shown now."
                .to_owned()
        }
        Err(SelfServiceError::Input(text)) => text,
        Err(error) => return Err(error.into()),
    };
    let token = state.issuer().sessions.form_token(&form.visitor.secret).await?;
    let pending = state.issuer().factors.own.pending_totp(live, carried, &context).await?;
    Ok(totp_page(StatusCode::BAD_REQUEST, &token, &live.user.name, &pending, label, Some(&error)))
}

fn totp_page(
    status: StatusCode,
    token: &str,
    user: &str,
    pending: &PendingTotp,
    label: &str,
    error: Option<&str>,
) -> Response {
    let uri = pending.enrolment.otpauth_uri.expose();
    let template = TotpPage {
        token,
        user,
        error,
        label,
        carried: pending.carried.expose(),
        secret: in_groups(pending.enrolment.secret_base32.expose()),
        uri,
        image: qr_image(uri),
    };
    page(status, &template)
}
