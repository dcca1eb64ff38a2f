//! `POST /oauth2/token` (RFC 6749 §3.2).

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Form, Refusal, cross_origin, json_answer};
use signet_core::oauth::grant::TokenRequest;
use signet_core::oauth::scope;
use signet_service::issuing::TokenAnswer;

pub(super) async fn token(form: Form) -> Response {
    let response = answer(&form).await.unwrap_or_else(IntoResponse::into_response);
    cross_origin::readable(response, &form).await
}

async fn answer(form: &Form) -> Result<Response, Refusal> {
    let credentials = form.credentials()?;
    let request = TokenRequest::read(&form.parameters);
    // Who asks is judged before what is asked: an unknown client learns nothing of the rest.
    let answer = match request {
        Ok(request) => form.state.issuer().issuing.token(&credentials, &request, &form.context).await?,
        Err(malformed) => {
            form.state.issuer().client_authenticator.authenticate_client(&credentials, &form.context).await?;
            return Err(malformed.into());
        }
    };
    Ok(json_answer(StatusCode::OK, &as_json(&answer)))
}

/// RFC 6749 §5.1.
fn as_json(answer: &TokenAnswer) -> Value {
    let mut body = json!({
        "access_token": answer.access_token.expose(),
        "token_type": "Bearer",
        "expires_in": answer.expires_in.as_secs(),
        "scope": scope::join(&answer.scopes),
    });
    if let Some(refresh_token) = &answer.refresh_token {
        body["refresh_token"] = json!(refresh_token.expose());
    }
    if let Some(left) = answer.recovery_codes_left {
        body["recovery_codes_left"] = json!(left);
    }
    body
}
