//! Where session threads get their work. The thread that finds nothing to do reads from the stream itself, so that a
//! request needs no hand-over between threads when the worker is idle.
//!
//! A waiting signature goes before waiting rounds: a token needs one call of the HSM, a round of a sign-in dozens, and
//! many tokens need no sign-in. Where rounds wait, each eighth turn is theirs all the same.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::login_talk::LoginTalk;
use super::response_writer::ResponseWriter;
use crate::wire::{Answer, FrameBuffer, LOGIN_ID, LoginReply, Operation, Request};
use signet_core::keys::{HsmFailure, LoginOutcome, LoginQuestion};

const READ_BYTES: usize = 64 * 1024;

/// So many signatures are taken in a row while a round waits; then the round that has waited longest is taken.
const MAX_SIGNATURES_IN_A_ROW: u32 = 7;

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
pub(super) struct RequestQueue {
    state: Mutex<State>,
    changed: Condvar,
    ended: Condvar,
    /// Whoever waits for the word on a login may have it, or has to read on.
    login: Condvar,
    stream: Mutex<Reader>,
    /// Gone once the conversation has ended, so that the managing thread ends too.
    management: Mutex<Option<SyncSender<Box<Job>>>>,
    responses: Arc<ResponseWriter>,
    capacity: usize,
}

struct Reader {
    stream: UnixStream,
    frames: FrameBuffer,
    chunk: Box<[u8]>,
}

#[derive(Default)]
struct State {
    jobs: Waiting,
    is_read: bool,
    is_closed: bool,
    idle: usize,
    /// The server's word on the login that a thread has asked for.
    login_reply: Option<LoginReply>,
}

/// The jobs that wait for a session.
#[derive(Default)]
struct Waiting {
    signatures: VecDeque<Job>,
    rounds: VecDeque<Job>,
    /// Signatures that were taken since a round was, while one waited.
    in_a_row: u32,
}

impl Waiting {
    fn len(&self) -> usize {
        self.signatures.len() + self.rounds.len()
    }

    fn push(&mut self, job: Job) {
        let is_signature = matches!(job.operation, Operation::Sign { .. });
        if is_signature { &mut self.signatures } else { &mut self.rounds }.push_back(job);
    }

    fn pop(&mut self) -> Option<Job> {
        let has_round = !self.rounds.is_empty();
        let is_rounds_turn = self.signatures.is_empty() || has_round && self.in_a_row >= MAX_SIGNATURES_IN_A_ROW;
        self.in_a_row = if has_round && !is_rounds_turn { self.in_a_row + 1 } else { 0 };
        if is_rounds_turn { self.rounds.pop_front() } else { self.signatures.pop_front() }
    }
}

impl RequestQueue {
    /// Takes over the stream with what was already received of it.
    pub(super) fn new(
        stream: UnixStream,
        frames: FrameBuffer,
        management: SyncSender<Box<Job>>,
        responses: Arc<ResponseWriter>,
        capacity: usize,
    ) -> Self {
        let chunk = vec![0; READ_BYTES].into_boxed_slice();
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
            login: Condvar::new(),
            stream: Mutex::new(Reader { stream, frames, chunk }),
            management: Mutex::new(Some(management)),
            responses,
            capacity,
        }
    }

    /// A job that already waits.
    pub(super) fn waiting(&self) -> Option<Job> {
        self.take(&mut self.state.lock())
    }

    /// The next job, or `None` once the conversation has ended.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(job) = self.take(&mut state) {
                return Some(job);
            }
            if state.is_read {
                state.idle += 1;
                self.changed.wait(&mut state);
                state.idle -= 1;
                continue;
            }
            self.read(&mut state);
        }
    }

    /// Reads from the stream, where nobody else does, and admits what came.
    fn read(&self, state: &mut MutexGuard<'_, State>) {
        state.is_read = true;
        let received = MutexGuard::unlocked(state, || self.receive());
        state.is_read = false;
        match received {
            Ok(jobs) => self.admit(state, jobs),
            Err(error) => {
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    eprintln!("the server's requests can't be read: {error}");
                }
                state.is_closed = true;
                *self.management.lock() = None;
                self.changed.notify_all();
                self.ended.notify_all();
            }
        }
        self.login.notify_all();
    }

    /// Takes a job, and wakes another thread for what is left: more jobs, or the stream.
    fn take(&self, state: &mut State) -> Option<Job> {
        let job = state.jobs.pop()?;
        if state.idle > 0 && (!state.is_read || state.jobs.len() > 0) {
            self.changed.notify_one();
        }
        Some(job)
    }

    fn admit(&self, state: &mut State, jobs: Vec<Job>) {
        for job in jobs {
            if let Operation::Login(reply) = job.operation {
                state.login_reply = Some(reply);
            } else if job.operation.is_management() {
                self.manage(Box::new(job));
            } else if state.jobs.len() >= self.capacity {
                self.responses.send(job.id, Err(HsmFailure::Overloaded));
            } else {
                state.jobs.push(job);
            }
        }
    }

    fn manage(&self, job: Box<Job>) {
        let management = self.management.lock();
        let refused = match management.as_ref().map(|sender| sender.try_send(job)) {
            Some(Err(TrySendError::Full(job) | TrySendError::Disconnected(job))) => job,
            Some(Ok(())) | None => return,
        };
        self.responses.send(refused.id, Err(HsmFailure::Overloaded));
    }

    /// Waits until the server has hung up.
    pub(super) fn wait_until_ended(&self) {
        let mut state = self.state.lock();
        while !state.is_closed {
            self.ended.wait(&mut state);
        }
    }

    /// Waits for at least one byte; gives the requests that are complete.
    fn receive(&self) -> io::Result<Vec<Job>> {
        let mut guard = self.stream.lock();
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

impl LoginTalk for RequestQueue {
    /// The thread that asks reads the stream itself where no other one does: all of them may wait for this login.
    fn ask(&self, question: LoginQuestion) -> Option<LoginReply> {
        self.responses.send(LOGIN_ID, Ok(Answer::LoginAsked(question)));
        let mut state = self.state.lock();
        loop {
            if let Some(reply) = state.login_reply.take() {
                return Some(reply);
            }
            if state.is_closed {
                return None;
            }
            if state.is_read {
                self.login.wait(&mut state);
                continue;
            }
            self.read(&mut state);
            // Others are to do what came with it.
            self.changed.notify_all();
        }
    }

    fn ended(&self, outcome: LoginOutcome) {
        self.responses.send(LOGIN_ID, Ok(Answer::LoginEnded(outcome)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{KeyRef, Octets};
    use signet_core::keys::KeyPurpose;
    use signet_jose::Algorithm;

    fn job(id: u64, operation: Operation) -> Job {
        Job { id, operation, patience: Duration::MAX, received: Instant::now() }
    }

    fn signature(id: u64) -> Job {
        let key = KeyRef { cka_id: Octets(vec![1]), key_id: "k".to_owned(), purpose: KeyPurpose::TokenSigning };
        job(id, Operation::Sign { key, algorithm: Algorithm::Es256, message: Octets(Vec::new()) })
    }

    fn round(id: u64) -> Job {
        let key = KeyRef { cka_id: Octets(vec![2]), key_id: "b".to_owned(), purpose: KeyPurpose::Binding };
        job(id, Operation::Derive { key, input: Octets(Vec::new()) })
    }

    fn order(waiting: &mut Waiting) -> Vec<u64> {
        std::iter::from_fn(|| waiting.pop()).map(|job| job.id).collect()
    }

    #[test]
    fn a_signature_goes_before_the_rounds_that_wait_and_the_oldest_of_a_kind_goes_first() {
        let mut waiting = Waiting::default();
        [round(1), round(2), signature(3), round(4), signature(5)].into_iter().for_each(|job| waiting.push(job));
        assert_eq!(waiting.len(), 5);
        assert_eq!(order(&mut waiting), [3, 5, 1, 2, 4]);
        assert!(waiting.pop().is_none());
    }

    #[test]
    fn no_flood_of_signatures_keeps_a_round_waiting_for_more_than_seven_of_them() {
        let mut waiting = Waiting::default();
        // Signatures that no round waited for are not held against those that come later.
        (0..20).for_each(|id| waiting.push(signature(id)));
        assert_eq!((0..10).map(|_| waiting.pop().unwrap().id).max(), Some(9));
        [round(100), round(101)].into_iter().for_each(|job| waiting.push(job));
        (20..40).for_each(|id| waiting.push(signature(id)));
        let order = order(&mut waiting);
        assert_eq!((order[7], order[15]), (100, 101), "{order:?}");
        assert_eq!(order.len(), 32);
    }
}
