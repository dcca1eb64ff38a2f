//! `ETag`, `If-None-Match` and `If-Match` (RFC 9110 §8.8.3, §13.1): a change that depends on what was seen is made to that alone.

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::streamed::Streamed;
use super::{ApiState, Refused};
use crate::http::conditions;
use signet_admin_api::ProblemKind;

/// What a GET can answer at most, in bytes: a page of a thousand things.
const LONGEST: usize = 16 * 1024 * 1024;

/// Tags what is read, and makes no change whose condition does not hold. Changes with a condition are made one after the other.
pub(super) async fn judge(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let asked = request.headers().clone();
    let is_head = request.method() == Method::HEAD;
    if is_head || request.method() == Method::GET {
        // The answer to a HEAD is that to a GET, without its content (RFC 9110 §9.3.2).
        *request.method_mut() = Method::GET;
        let response = tagged(next.run(request).await, &asked).await;
        return if is_head { without_content(response) } else { response };
    }
    if !asked.contains_key(header::IF_MATCH) && !asked.contains_key(header::IF_NONE_MATCH) {
        return next.run(request).await;
    }
    let _one_at_a_time = state.changes.lock().await;
    let mut look = Request::new(Body::empty());
    look.uri_mut().clone_from(request.uri());
    look.extensions_mut().clone_from(request.extensions());
    let seen = tagged(next.clone().run(look).await, &HeaderMap::new()).await;
    let tag = seen.headers().get(header::ETAG).filter(|_| seen.status().is_success());
    let is_meant = !asked.contains_key(header::IF_MATCH) || conditions::is_meant(&asked, tag);
    if is_meant && !conditions::is_known(&asked, tag) {
        return next.run(request).await;
    }
    changed_meanwhile()
}

fn changed_meanwhile() -> Response {
    let detail = "what is there is not what If-Match names, or is what If-None-Match names: read it again";
    Refused::new(ProblemKind::ChangedMeanwhile, StatusCode::PRECONDITION_FAILED, detail).into_response()
}

fn without_content(mut response: Response) -> Response {
    let length = response.body().size_hint().exact();
    if let Some(length) = length.filter(|_| !response.headers().contains_key(header::CONTENT_LENGTH)) {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    *response.body_mut() = Body::empty();
    response
}

/// Adds the tag of what was read; 304 where that is what the caller knows, 412 where it is not what they mean.
async fn tagged(response: Response, asked: &HeaderMap) -> Response {
    if response.status() != StatusCode::OK || response.extensions().get::<Streamed>().is_some() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LONGEST).await else {
        let detail = "the answer is too long; ask for a smaller page";
        return Refused::input(detail).into_response();
    };
    let tag = conditions::tag_of(&bytes);
    if asked.contains_key(header::IF_MATCH) && !conditions::is_meant(asked, tag.as_ref()) {
        return changed_meanwhile();
    }
    let is_known = conditions::is_known(asked, tag.as_ref());
    parts.headers.extend(tag.map(|tag| (header::ETAG, tag)));
    if is_known {
        let mut headers = HeaderMap::new();
        headers.extend(parts.headers.remove(header::ETAG).map(|tag| (header::ETAG, tag)));
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    Response::from_parts(parts, Body::from(bytes))
}
