//! `POST /oauth2/challenge`: a nonce for a PIV card to sign.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::HttpState;
use super::body::Form;
use super::context::Context;
use super::oauth_error::{Refusal, json_answer};
use signet_core::mfa::piv::NONCE_LIFETIME;
use signet_core::oauth::GrantType;

pub(super) async fn challenge(
    State(state): State<HttpState>,
    Context(context): Context,
    form: Form,
) -> Result<Response, Refusal> {
    let known = state.issuer().client_authenticator.authenticate_client(&form.credentials()?, &context).await?;
    known.authenticated.may_use(GrantType::Password)?;
    let nonce = state.issuer().sign_in.piv.challenge(&known).await?;
    Ok(json_answer(StatusCode::OK, &json!({ "nonce": nonce.text(), "expires_in": NONCE_LIFETIME.as_secs() })))
}
