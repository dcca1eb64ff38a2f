//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): what creates is done once under each key. Whoever did not hear the
//! answer asks again as before, and is answered with the thing as it is now, without what is shown once.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr};

use super::refusal::OutcomeUnknown;
use super::{ApiState, Caller, Refused};
use signet_service::idempotency::{Claim, KeyedRequest, Known};
use signet_store::RequestOutcome;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that nothing was made this time.
const REPEATED: HeaderName = HeaderName::from_static("signet-repeated");
/// The longest key, in letters.
const LONGEST: usize = 255;

/// What the layer is handed: the paths whose POST creates what can be read again.
#[derive(Clone)]
pub(super) struct Once {
    pub(super) api: ApiState,
    pub(super) creating: Arc<HashSet<String>>,
}

/// The operations that create: their answer is 201, and says where the thing is.
fn creating(document: &mut OpenApi) -> impl Iterator<Item = (&String, &mut Operation)> {
    let posts = document.paths.paths.iter_mut().filter_map(|(path, item)| Some((path, item.post.as_mut()?)));
    posts.filter(|(_, post)| post.responses.responses.contains_key("201"))
}

/// Their paths.
pub(super) fn paths(document: &mut OpenApi) -> HashSet<String> {
    creating(document).map(|(path, _)| path.clone()).collect()
}

/// Writes into the document that they take a key, and that they say where the thing is.
pub(super) fn describe(document: &mut OpenApi) {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    for (_, post) in creating(document) {
        post.parameters.get_or_insert_default().push(RefOr::T(parameter()));
        if let Some(RefOr::T(answer)) = post.responses.responses.get_mut("201") {
            let headers = [
                ("Location", "Where it can be read again."),
                ("signet-repeated", "`true`: it was made before, under the same key."),
            ];
            for (name, what) in headers {
                let told = HeaderBuilder::new().schema(Some(text().build())).description(Some(what)).build();
                answer.headers.insert(name.to_owned(), RefOr::T(told));
            }
        }
    }
}

fn parameter() -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(LONGEST));
    let what = "A name for this request that no other has, such as a UUID. Asked again under it within 24 hours with the same body, \
                the answer is the thing as it is by then, without what is shown once; 409 while the first one is under way, and where \
                it was cut off and nobody knows whether it was done; 422 with another body.";
    let parameter = ParameterBuilder::new().name("Idempotency-Key").parameter_in(ParameterIn::Header);
    parameter.description(Some(what)).schema(Some(schema.pattern(Some("^[!-~]+$")).build())).build()
}

/// What a request made that was answered before.
#[derive(Debug, Clone)]
struct MadeBefore(RequestOutcome);

/// Has what creates done once under its key.
pub(super) async fn once(State(once): State<Once>, request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get(KEY).cloned() else { return next.run(request).await };
    let creates = request.method() == Method::POST
        && request.extensions().get::<MatchedPath>().is_some_and(|path| once.creating.contains(path.as_str()));
    if !creates {
        return next.run(request).await;
    }
    done_once(once.api, &key, request, next).await.unwrap_or_else(|refused| refused.into_response())
}

async fn done_once(api: ApiState, key: &HeaderValue, request: Request, next: Next) -> Result<Response, Refused> {
    let key =
        key.to_str().ok().filter(|key| (1..=LONGEST).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    let key = key.ok_or_else(|| Refused::unreadable("an Idempotency-Key is 1 to 255 visible ASCII characters"))?;
    let (parts, body) = request.into_parts();
    let caller = parts.extensions.get::<Caller>().ok_or_else(|| Refused::unreadable("who asks is not known"))?;
    let operator = caller.0.operator.clone().unwrap_or_default();
    let operation = format!("{} {}", parts.method, parts.uri.path());
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let body = body.map_err(|rejection| Refused::too_long(rejection.status()))?;
    let asked = KeyedRequest { operator: &operator, key, operation: &operation, body: &body };
    match api.issuer().requests_once.claim_request(asked).await? {
        Known::Not(claim) => Ok(to_the_end(api, claim, Request::from_parts(parts, Body::from(body)), next).await),
        Known::Done(outcome) => {
            let mut response = StatusCode::OK.into_response();
            response.extensions_mut().insert(MadeBefore(outcome));
            Ok(response)
        }
        Known::InHand => Err(Refused::conflict("a request under this Idempotency-Key is under way: ask again later")),
        Known::CutOff { begun_at } => Err(Refused::conflict(format!(
            "a request under this Idempotency-Key was begun at {begun_at} and cut off, and nobody can say whether it was done: look \
             whether the thing is there, and ask under another key if not"
        ))),
        Known::Another => Err(Refused::input(
            "this Idempotency-Key came with another request before: another request needs another key",
        )),
    }
}

/// Has a request done to its end, also where whoever asks hangs up, and writes down what became of it.
async fn to_the_end(api: ApiState, claim: Claim, request: Request, next: Next) -> Response {
    let doing = tokio::spawn(async move {
        let response = next.run(request).await;
        settle(&api, &claim, Became::of(&response)).await;
        response
    });
    match doing.await {
        Ok(response) => response,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Refused::unavailable("the server ends: look whether it was done").into_response(),
        },
    }
}

/// What became of a request, by its answer.
enum Became {
    Made(RequestOutcome),
    Nothing,
    Unknown,
}

impl Became {
    fn of(response: &Response) -> Self {
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        match location.filter(|_| response.status().is_success()) {
            Some(location) => {
                Self::Made(RequestOutcome { status: response.status().as_u16(), location: location.to_owned() })
            }
            None if response.extensions().get::<OutcomeUnknown>().is_some() => Self::Unknown,
            None => Self::Nothing,
        }
    }
}

async fn settle(api: &ApiState, claim: &Claim, became: Became) {
    let requests = &api.issuer().requests_once;
    let settled = match became {
        Became::Made(outcome) => requests.finish_request(claim, &outcome).await,
        Became::Nothing => requests.release_request(claim).await,
        // It stays in the store as one that was cut off.
        Became::Unknown => Ok(()),
    };
    if let Err(error) = settled {
        tracing::warn!(%error, "what became of a request with an Idempotency-Key could not be written down: asked again, it counts as cut off");
    }
}

/// Shows the thing where it was made before. Stands around the router as a whole, whose GET it asks by the rights of whoever asks.
pub(super) async fn show_again(request: Request, next: Next) -> Response {
    let extensions = request.extensions().clone();
    let response = next.clone().run(request).await;
    let Some(MadeBefore(outcome)) = response.extensions().get::<MadeBefore>().cloned() else { return response };
    let Ok(uri) = outcome.location.parse::<Uri>() else { return gone(&outcome).into_response() };
    let mut look = Request::new(Body::empty());
    *look.uri_mut() = uri;
    *look.extensions_mut() = extensions;
    let mut seen = next.run(look).await;
    if seen.status() == StatusCode::NOT_FOUND {
        return gone(&outcome).into_response();
    }
    let Ok(location) = HeaderValue::from_str(&outcome.location) else { return gone(&outcome).into_response() };
    if seen.status().is_success() {
        *seen.status_mut() = StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::CREATED);
        seen.headers_mut().insert(header::LOCATION, location);
        seen.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    }
    seen
}

fn gone(outcome: &RequestOutcome) -> Refused {
    Refused::conflict(format!(
        "this was done before, under the same Idempotency-Key; {} is not there any more",
        outcome.location
    ))
}
