//! Answers on their way to the server, many in one write.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use parking_lot::Mutex;
use zeroize::Zeroize as _;

use crate::wire::{self, Answer, Response};
use signet_core::keys::HsmFailure;

/// More waiting answers than this are written at once, whatever follows.
const MAX_WAITING: usize = 16;

/// What all threads write to.
pub(super) struct ResponseWriter {
    waiting: Mutex<Waiting>,
    stream: Mutex<UnixStream>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    answers: usize,
}

impl ResponseWriter {
    /// Writes to this stream.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { waiting: Mutex::default(), stream: Mutex::new(stream) }
    }

    /// Adds an answer without writing it; says whether it is time to write.
    pub(super) fn add(&self, id: u64, result: Result<Answer, HsmFailure>) -> bool {
        let mut waiting = self.waiting.lock();
        if let Err(error) = wire::append(&mut waiting.bytes, &Response { id, result }) {
            let failure = HsmFailure::Module { function: "the answer".into(), code: error.to_string() };
            // An answer of two short texts always fits.
            let _ = wire::append(&mut waiting.bytes, &Response { id, result: Err(failure) });
        }
        waiting.answers += 1;
        waiting.answers >= MAX_WAITING
    }

    /// Adds an answer and writes all.
    pub(super) fn send(&self, id: u64, result: Result<Answer, HsmFailure>) {
        self.add(id, result);
        self.flush();
    }

    /// Writes what waits. A broken stream is noticed by whoever reads from it.
    pub(super) fn flush(&self) {
        self.write(&mut self.stream.lock());
    }

    /// Writes what waits and ends the conversation at once, so that nobody mistakes a later answer for a healthy
    /// worker's. The server sees the end, and so does the thread that reads.
    pub(super) fn hang_up(&self) {
        let mut stream = self.stream.lock();
        self.write(&mut stream);
        // A stream that is broken already has ended as well.
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn write(&self, stream: &mut UnixStream) {
        let mut bytes = {
            let mut waiting = self.waiting.lock();
            waiting.answers = 0;
            std::mem::take(&mut waiting.bytes)
        };
        if bytes.is_empty() {
            return;
        }
        let written = stream.write_all(&bytes);
        bytes.zeroize();
        if written.is_err() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
