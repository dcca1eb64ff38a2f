//! Answers that are longer than memory should hold: made while they are read, one part at a time.

use std::fmt::Display;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body_util::channel::{Channel, Sender};

/// Marks an answer that comes in parts: nobody collects it.
#[derive(Clone, Copy)]
pub(super) struct Streamed;

/// How long one part waits for its reader. What is read from the store is one moment of it, which nobody may hold on to.
const PATIENCE: Duration = Duration::from_secs(60);
/// Parts that may wait for the reader.
const PARTS: usize = 2;

/// What an answer's end was cut off by; the log says more.
#[derive(Debug, thiserror::Error)]
#[error("the answer can't be finished")]
pub(super) struct CutOff;

/// Where the parts go.
pub(super) struct Parts(Sender<Bytes, CutOff>);

/// The reader went away, or does not read on.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads on")]
pub(super) struct NobodyReads;

impl Parts {
    /// Hands one on, once there is room.
    /// Errors: [`NobodyReads`].
    pub(super) async fn send(&mut self, part: impl Into<Bytes> + Send) -> Result<(), NobodyReads> {
        let sent = tokio::time::timeout(PATIENCE, self.0.send_data(part.into())).await;
        sent.map_err(|_| NobodyReads)?.map_err(|_| NobodyReads)
    }

    /// Ends the answer: where it failed the connection is cut, so that no reader takes a half for the whole.
    pub(super) fn end<E: Display>(self, what: &str, outcome: Result<(), E>) {
        if let Err(error) = outcome {
            tracing::error!(%error, "{what} was cut off");
            self.0.abort(CutOff);
        }
    }
}

/// An answer of JSON lines, whose parts are sent by whoever holds the other end.
pub(super) fn json_lines() -> (Parts, Response) {
    let (sender, body) = Channel::<Bytes, CutOff>::new(PARTS);
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    response.extensions_mut().insert(Streamed);
    (Parts(sender), response)
}
