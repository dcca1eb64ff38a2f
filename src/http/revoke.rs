//! `POST /oauth2/revoke` (RFC 7009 §2).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Form, Refusal};

pub(super) async fn revoke(form: Form) -> Result<Response, Refusal> {
    let known = form.client().await?;
    let token = form.parameters.required("token", "token is missing")?;
    form.state.issuer().issuing.revocation.revoke(&known, token, &form.context).await?;
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response())
}
