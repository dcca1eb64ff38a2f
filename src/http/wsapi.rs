//! `GET` and `POST /wsapi/2.0/verify`: Yubico's validation protocol 2.0. Every answer of the protocol is a 200.

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::{BadForm, form_body};
use super::oauth_error::plain;
use super::{Context, HttpState};
use signet_core::mfa::yubico_validation::Fields;
use signet_core::oauth::parameters::decode;

pub(super) async fn verify(
    State(state): State<HttpState>,
    Context(context): Context,
    QueryOrForm(fields): QueryOrForm,
) -> Response {
    let body = state.issuer().otp_validation.validator.validate_otp(fields.as_ref(), &context).await;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::OK, headers, body).into_response()
}

/// Any other method, `HEAD` among them: it would spend the OTP and tell nothing of it.
pub(super) async fn spends_nothing() -> Response {
    let text = "an OTP is verified by GET or POST alone";
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", text);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,POST"));
    response
}

/// The fields of a query (GET) or of a form (POST); `None` where they can't be read.
pub(super) struct QueryOrForm(Option<Fields>);

impl FromRequest<HttpState> for QueryOrForm {
    type Rejection = BadForm;

    async fn from_request(request: Request, state: &HttpState) -> Result<Self, BadForm> {
        if request.method() == Method::POST {
            return Ok(Self(fields(&form_body(request, state).await?)));
        }
        Ok(Self(fields(request.uri().query().unwrap_or_default().as_bytes())))
    }
}

fn fields(encoded: &[u8]) -> Option<Fields> {
    let pairs = encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (pair.get(..at)?, pair.get(at + 1..).unwrap_or_default());
        Some((decode(name).ok()?, decode(value).ok()?))
    });
    Fields::collect(pairs.collect::<Option<Vec<_>>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_before_it_is_signed() {
        let read = fields(b"id=1&h=%2B%2f%3D&nonce=a%26b&x").unwrap();
        assert_eq!((read.value("h"), read.value("x")), (Some("+/="), Some("")));
        assert_eq!(read.signing_string(), "id=1&nonce=a&b&x=");
        for query in [&b"id=1&id=1"[..], b"id=1&%69d=2", b"a=%0d", b"a=%zz", b"a=\xff"] {
            assert!(fields(query).is_none());
        }
    }
}
