//! `POST /oauth2/challenge`: a nonce for a PIV card to sign.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::{Form, Refusal, json_answer};
use signet_core::mfa::piv::NONCE_LIFETIME;
use signet_core::oauth::GrantType;

pub(super) async fn challenge(form: Form) -> Result<Response, Refusal> {
    let known = form.client().await?;
    known.authenticated.may_use(GrantType::Password)?;
    let nonce = form.state.issuer().sign_in.piv.challenge(&known).await?;
    Ok(json_answer(StatusCode::OK, &json!({ "nonce": nonce.text(), "expires_in": NONCE_LIFETIME.as_secs() })))
}
