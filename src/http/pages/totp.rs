//! `/account/totp`: a TOTP secret as a QR code and as text, and the first code, which makes it a factor.

use axum::http::StatusCode;
use axum::response::Response;

use super::{OwnForm, PageError, Visitor, page, see_other};
use crate::ui::{SignedIn, TotpPage, in_groups, qr_image};
use signet_service::factors::own::{PendingTotp, SelfServiceError};

/// `GET /account/totp`.
pub(super) async fn show(visitor: Visitor) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    if let Some(step_up) = visitor.step_up_first("/account/totp").await? {
        return Ok(step_up);
    }
    let pending = visitor.issuer().factors.own.begin_totp(live, &visitor.context).await?;
    let who = visitor.who().await?;
    Ok(totp_page(StatusCode::OK, &who, &pending, "Authenticator app", None))
}

/// `POST /account/totp`.
pub(super) async fn confirm(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let live = visitor.signed_in()?;
    let (label, carried) = (form.field("label"), form.secret_field("pending"));
    // People type codes as the app shows them: in two groups.
    let code: String = form.field("code").split(' ').collect();
    let error = match visitor.issuer().factors.own.confirm_totp(live, &carried, label, &code, &visitor.context).await {
        Ok(_) => return Ok(see_other("/account?done=added")),
        Err(SelfServiceError::WrongCode) => {
            "That code does not fit. Check that the device's clock is right, and type the code that is shown now."
                .to_owned()
        }
        Err(SelfServiceError::Input(text)) => text,
        Err(error) => return Err(error.into()),
    };
    let who = visitor.who().await?;
    let pending = visitor.issuer().factors.own.pending_totp(live, carried, &visitor.context).await?;
    Ok(totp_page(StatusCode::BAD_REQUEST, &who, &pending, label, Some(&error)))
}

fn totp_page(status: StatusCode, who: &SignedIn, pending: &PendingTotp, label: &str, error: Option<&str>) -> Response {
    let uri = pending.enrolment.otpauth_uri.expose();
    let template = TotpPage {
        who,
        error,
        label,
        carried: pending.carried.expose(),
        secret: in_groups(pending.enrolment.secret_base32.expose()),
        uri,
        image: qr_image(uri),
    };
    page(status, &template)
}
