//! Bodies that nobody read. What is left of one stands before the next request of its connection: it is read on, within bounds, so that
//! the answer reaches a caller who still sends, and the answer says that the connection ends (RFC 9112 §9.6).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

/// The most of a body that is read on, in bytes, and how long its next piece is waited for.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;
const QUIET: Duration = Duration::from_millis(500);

/// Has the answer to a request whose body was not read to its end say that the connection ends. `patience` is how long the rest is
/// read on at most.
pub(super) async fn announce(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (version, waits) = (request.version(), waits_to_be_asked(request.headers()));
    let (parts, body) = request.into_parts();
    let left = Arc::new(Mutex::new(Left { body, is_begun: false, is_over: false }));
    let mut response = next.run(Request::from_parts(parts, Body::new(Lent(left.clone())))).await;
    let (is_begun, is_over) = {
        let left = left.lock();
        (left.is_begun, left.is_over)
    };
    if is_over {
        return response;
    }
    // Whoever waits to be asked for the body never sends it.
    if is_begun || !waits {
        // Whether it came to its end changes nothing for the answer.
        let _ = tokio::time::timeout(patience, discard(Body::new(Lent(left)))).await;
    }
    // Later versions end a request's stream, and not the connection.
    if version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the body comes once its beginning is asked for (RFC 9110 §10.1.1).
fn waits_to_be_asked(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Reads a body that is too much, unwanted, or in nobody's way, and forgets it.
async fn discard(mut body: Body) {
    let mut left = MAX_DISCARDED;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(QUIET, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}

/// A body, as far as it was read.
struct Left {
    body: Body,
    is_begun: bool,
    is_over: bool,
}

/// A body that is lent to whoever answers, and can be read on after that.
struct Lent(Arc<Mutex<Left>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut left = self.0.lock();
        left.is_begun = true;
        let polled = Pin::new(&mut left.body).poll_frame(context);
        left.is_over |= matches!(polled, Poll::Ready(None)) || left.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}
