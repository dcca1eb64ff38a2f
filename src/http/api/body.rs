//! What a request says, read strictly: unknown members are refused, and no refusal repeats a value.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Refused;
use signet_admin_api::ProblemKind;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

fn refused(rejection: &JsonRejection) -> Refused {
    let status = rejection.status();
    let detail = match rejection {
        JsonRejection::JsonSyntaxError(_) => "the body is not JSON".to_owned(),
        JsonRejection::JsonDataError(error) => fits_not(&source_of(error)),
        JsonRejection::MissingJsonContentType(_) => {
            "the body must be JSON, with `Content-Type: application/json`".into()
        }
        _ if status == StatusCode::PAYLOAD_TOO_LARGE => "the body is too long".to_owned(),
        _ => "the body could not be read".to_owned(),
    };
    Refused::new(ProblemKind::Invalid, status, detail)
}

fn source_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Says what does not fit by names alone: a value may be a secret.
fn fits_not(text: &str) -> String {
    let names_alone = ["missing field", "unknown field", "duplicate field"];
    // What stands before the first colon is the path to the place, of names too.
    let (path, fault) = text.split_once(": ").filter(|(path, _)| !path.contains([' ', '`'])).unwrap_or(("", text));
    if names_alone.iter().any(|start| fault.starts_with(start)) {
        return format!("the body does not fit: {fault}");
    }
    let of = if path.is_empty() { String::new() } else { format!(" of `{path}`") };
    let place = text.rsplit_once(" at line ").map(|(_, place)| format!(" at line {place}")).unwrap_or_default();
    format!("the body does not fit: the value{of} is none that is taken there{place}; see /api/openapi.json")
}

/// The query of a request.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(unreadable("query", &rejection)),
        }
    }
}

fn unreadable(what: &str, rejection: &QueryRejection) -> Refused {
    let detail = format!("the {what} does not fit: {}", source_of(rejection));
    Refused::new(ProblemKind::Invalid, StatusCode::BAD_REQUEST, detail)
}

/// The names in a path.
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let named: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        named.map(|Path(named)| Self(named)).map_err(|_| {
            let detail = "a name in the path is not percent-encoded UTF-8";
            Refused::new(ProblemKind::Invalid, StatusCode::BAD_REQUEST, detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_repeated() {
        let told = fits_not("missing field `name` at line 1 column 2");
        assert_eq!(told, "the body does not fit: missing field `name` at line 1 column 2");
        assert!(fits_not("colour: unknown field `colour`, expected `name`").contains("unknown field `colour`"));
        for path in ["", "roles[0]: "] {
            let told = fits_not(&format!(
                "{path}invalid type: string \"hunter2: missing field\", expected a map at line 1 column 9"
            ));
            assert!(!told.contains("hunter2") && told.contains("line 1 column 9"), "{told}");
        }
    }
}
