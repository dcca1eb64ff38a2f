//! `ETag`, `If-None-Match` and `If-Match` (RFC 9110 §8.8.3, §13.1): a change that depends on what was seen is made to that alone.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::streamed::Streamed;
use super::{ApiState, Refused};
use signet_admin_api::ProblemKind;

/// What a GET can answer at most, in bytes: a page of a thousand things.
const LONGEST: usize = 16 * 1024 * 1024;

/// Tags what is read, and makes no change whose condition does not hold. Changes with a condition are made one after the other.
pub(super) async fn judge(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if request.method() == Method::GET {
        let known = request.headers().get(header::IF_NONE_MATCH).cloned();
        return tagged(next.run(request).await, known.as_ref()).await;
    }
    let Some(condition) = request.headers().get(header::IF_MATCH).cloned() else { return next.run(request).await };
    let _one_at_a_time = state.changes.lock().await;
    let mut look = Request::new(Body::empty());
    look.uri_mut().clone_from(request.uri());
    look.extensions_mut().clone_from(request.extensions());
    let seen = tagged(next.clone().run(look).await, None).await;
    if seen.status().is_success() && is_named(&condition, seen.headers().get(header::ETAG)) {
        return next.run(request).await;
    }
    let detail = "what is there is not what If-Match names: read it again";
    Refused::new(ProblemKind::ChangedMeanwhile, StatusCode::PRECONDITION_FAILED, detail).into_response()
}

/// Adds the tag of what was read; 304 where that is what the caller knows.
async fn tagged(response: Response, known: Option<&HeaderValue>) -> Response {
    if response.status() != StatusCode::OK || response.extensions().get::<Streamed>().is_some() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LONGEST).await else {
        let detail = "the answer is too long; ask for a smaller page";
        return Refused::input(detail).into_response();
    };
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..16]));
    // Base64 and quotation marks are a header's.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    if known.is_some_and(|known| is_named(known, parts.headers.get(header::ETAG))) {
        let mut headers = HeaderMap::new();
        headers.extend(parts.headers.remove(header::ETAG).map(|tag| (header::ETAG, tag)));
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// Whether a condition names a tag, or anything that is there.
fn is_named(condition: &HeaderValue, tag: Option<&HeaderValue>) -> bool {
    let (Ok(condition), Some(tag)) = (condition.to_str(), tag.and_then(|tag| tag.to_str().ok())) else { return false };
    condition.split(',').map(str::trim).any(|named| named == "*" || named == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_names_tags_or_anything() {
        let tag = HeaderValue::from_static("\"a\"");
        for (condition, holds) in [("\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("\"b\"", false), ("a", false)]
        {
            assert_eq!(is_named(&HeaderValue::from_static(condition), Some(&tag)), holds, "{condition}");
        }
        assert!(!is_named(&HeaderValue::from_static("*"), None));
    }
}
