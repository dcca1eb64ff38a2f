//! The body of a form request: bounded in size and time, of the one content type, not compressed (RFC 6749 §3.2).

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{Context, HttpState, Refusal, oauth_error};
use signet_core::audit::RequestContext;
use signet_core::oauth::{OAuthError, Parameters, PresentedCredentials};
use signet_service::clients::authentication::KnownClient;

/// The parameters of a request with its `Authorization` header, and whom it asks.
pub(super) struct Form {
    pub(super) state: HttpState,
    pub(super) context: RequestContext,
    pub(super) parameters: Parameters,
    /// The web site whose script asks, where a browser says so.
    pub(super) origin: Option<String>,
    authorization: Option<String>,
}

impl Form {
    /// The client's credentials, shown in the header or in the body.
    pub(super) fn credentials(&self) -> Result<PresentedCredentials, OAuthError> {
        PresentedCredentials::read(self.authorization.as_deref(), &self.parameters)
    }

    /// The client whose credentials are shown.
    /// Errors: [`OAuthError`] where they are none, or wrong.
    pub(super) async fn client(&self) -> Result<KnownClient, OAuthError> {
        self.state.issuer().client_authenticator.authenticate_client(&self.credentials()?, &self.context).await
    }
}

/// Why a request's form can't be had.
#[derive(Debug)]
pub(super) enum BadForm {
    /// The RFC has a word for it.
    Refused(OAuthError),
    /// HTTP has a status for it, and a sentence says what to do.
    Status(StatusCode, &'static str),
}

impl From<OAuthError> for BadForm {
    fn from(error: OAuthError) -> Self {
        Self::Refused(error)
    }
}

impl IntoResponse for BadForm {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(error) => Refusal(error).into_response(),
            Self::Status(status, text) => oauth_error::plain(status, "invalid_request", text),
        }
    }
}

impl FromRequest<HttpState> for Form {
    type Rejection = BadForm;

    async fn from_request(request: Request, state: &HttpState) -> Result<Self, BadForm> {
        let (parts, body) = request.into_parts();
        let authorization = judge_head(&parts)?;
        let body = read(body, state).await?;
        let origin = parts.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned);
        let Context(context) = Context::of(&parts.extensions);
        Ok(Self { state: state.clone(), context, parameters: Parameters::parse(&body)?, origin, authorization })
    }
}

/// The `Authorization` header of a request whose head is in order.
fn judge_head(parts: &Parts) -> Result<Option<String>, BadForm> {
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(OAuthError::InvalidRequest("parameters belong in the body, not in the URL").into());
    }
    check_type(&parts.headers)?;
    Ok(single_authorization(&parts.headers)?)
}

/// The body of a form request, whatever its URL carries.
pub(super) async fn form_body(request: Request, state: &HttpState) -> Result<zeroize::Zeroizing<Vec<u8>>, BadForm> {
    let (parts, body) = request.into_parts();
    check_type(&parts.headers)?;
    read(body, state).await
}

fn check_type(headers: &HeaderMap) -> Result<(), BadForm> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(BadForm::Status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed requests are not accepted"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(());
    }
    Err(OAuthError::InvalidRequest("the request must be application/x-www-form-urlencoded").into())
}

fn single_authorization(headers: &HeaderMap) -> Result<Option<String>, OAuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().map_err(|_| OAuthError::InvalidClient)?.to_owned())),
        (Some(_), Some(_)) => Err(OAuthError::InvalidRequest("more than one Authorization header is given")),
    }
}

async fn read(body: Body, state: &HttpState) -> Result<zeroize::Zeroizing<Vec<u8>>, BadForm> {
    let collected = Limited::new(body, state.limits.body_bytes).collect();
    match tokio::time::timeout(state.limits.slow_peer, collected).await {
        Ok(Ok(collected)) => Ok(zeroize::Zeroizing::new(collected.to_bytes().to_vec())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(BadForm::Status(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large"))
        }
        Ok(Err(_)) => Err(OAuthError::InvalidRequest("the body could not be read").into()),
        Err(_) => Err(BadForm::Status(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}
