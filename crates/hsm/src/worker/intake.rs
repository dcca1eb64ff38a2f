//! Where session threads get their work. The thread that finds nothing to do reads from the stream itself, so that a
//! request needs no hand-over between threads when the worker is idle.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::outbox::Outbox;
use crate::wire::{FrameBuffer, Operation, Request};
use signet_core::keys::HsmFailure;

const READ_BYTES: usize = 64 * 1024;

/// A request that waits for its turn.
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) operation: Operation,
    patience: Duration,
    received: Instant,
}

impl Job {
    /// The failure to answer where nobody waits for the result any more.
    pub(super) fn expired(&self) -> Option<HsmFailure> {
        (self.received.elapsed() >= self.patience).then_some(HsmFailure::Deadline(self.patience))
    }
}

/// The queue that all session threads share.
pub(super) struct Intake {
    state: Mutex<State>,
    changed: Condvar,
    ended: Condvar,
    stream: Mutex<Reader>,
    /// Gone once the conversation has ended, so that the managing thread ends too.
    management: Mutex<Option<SyncSender<Box<Job>>>>,
    outbox: Arc<Outbox>,
    capacity: usize,
}

struct Reader {
    stream: UnixStream,
    frames: FrameBuffer,
    chunk: Box<[u8]>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    is_read: bool,
    is_closed: bool,
    idle: usize,
}

impl Intake {
    /// Takes over the stream with what was already received of it.
    pub(super) fn new(
        stream: UnixStream,
        frames: FrameBuffer,
        management: SyncSender<Box<Job>>,
        outbox: Arc<Outbox>,
        capacity: usize,
    ) -> Self {
        let chunk = vec![0; READ_BYTES].into_boxed_slice();
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
            stream: Mutex::new(Reader { stream, frames, chunk }),
            management: Mutex::new(Some(management)),
            outbox,
            capacity,
        }
    }

    /// A job that already waits.
    pub(super) fn waiting(&self) -> Option<Job> {
        self.take(&mut self.lock())
    }

    /// The next job, or `None` once the conversation has ended.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(job) = self.take(&mut state) {
                return Some(job);
            }
            if state.is_read {
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            }
            state.is_read = true;
            drop(state);
            let received = self.receive();
            state = self.lock();
            state.is_read = false;
            match received {
                Ok(jobs) => self.admit(&mut state, jobs),
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        eprintln!("the server's requests can't be read: {error}");
                    }
                    state.is_closed = true;
                    *self.management.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    self.changed.notify_all();
                    self.ended.notify_all();
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job, and wakes another thread for what is left: more jobs, or the stream.
    fn take(&self, state: &mut State) -> Option<Job> {
        let job = state.jobs.pop_front()?;
        if state.idle > 0 && (!state.is_read || !state.jobs.is_empty()) {
            self.changed.notify_one();
        }
        Some(job)
    }

    fn admit(&self, state: &mut State, jobs: Vec<Job>) {
        for job in jobs {
            if job.operation.is_management() {
                self.manage(Box::new(job));
            } else if state.jobs.len() >= self.capacity {
                self.outbox.send(job.id, Err(HsmFailure::Overloaded));
            } else {
                state.jobs.push_back(job);
            }
        }
    }

    fn manage(&self, job: Box<Job>) {
        let management = self.management.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match management.as_ref().map(|sender| sender.try_send(job)) {
            Some(Err(TrySendError::Full(job) | TrySendError::Disconnected(job))) => job,
            Some(Ok(())) | None => return,
        };
        self.outbox.send(refused.id, Err(HsmFailure::Overloaded));
    }

    /// Waits until the server has hung up.
    pub(super) fn wait_until_ended(&self) {
        let mut state = self.lock();
        while !state.is_closed {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for at least one byte; gives the requests that are complete.
    fn receive(&self) -> io::Result<Vec<Job>> {
        let mut guard = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let Reader { stream, frames, chunk } = &mut *guard;
        let mut jobs = Vec::new();
        // What arrived together with the first frame is work already.
        collect(frames, &mut jobs)?;
        if !jobs.is_empty() {
            return Ok(jobs);
        }
        let length = match stream.read(chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(jobs),
            Err(error) => return Err(error),
        };
        let received = chunk.get_mut(..length).unwrap_or_default();
        frames.extend(received);
        received.fill(0);
        collect(frames, &mut jobs)?;
        Ok(jobs)
    }
}

fn collect(frames: &mut FrameBuffer, jobs: &mut Vec<Job>) -> io::Result<()> {
    let received = Instant::now();
    while let Some(request) = frames.next::<Request>().map_err(io::Error::other)? {
        let patience = Duration::from_millis(request.patience_ms.into());
        jobs.push(Job { id: request.id, operation: request.operation, patience, received });
    }
    Ok(())
}
