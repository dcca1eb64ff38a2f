//! The connection to one running worker: requests go out in as few writes as they allow, and answers find their callers
//! by id.
//!
//! Whoever asked is told at its deadline. Whether the worker then hangs, or its HSM is only slow, can't be known, so that
//! silence is judged by how much depends on it:
//!
//! - One request is waited for 15 seconds, or ten seconds beyond its deadline where that is longer: an operation may
//!   take 10 seconds, and the other sessions go on meanwhile.
//! - Where more requests wait than there are sessions and nothing at all was answered for a second and a half (at least
//!   half a second beyond the deadline), nothing goes on: that is a hang. Where a worker in place of one that was
//!   killed for that falls silent as well, the HSM may be slow throughout: each gets twice as long as the one before, up
//!   to 15 seconds, until requests are answered quickly again.
//! - While a key is made or destroyed only the first rule holds: that may take a minute, and others wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use zeroize::Zeroize as _;

use super::service_rate::ServiceRate;
use crate::wire::{self, Answer, FrameBuffer, LOGIN_ID, LoginReply, Operation, Request, Response, START_ID};
use signet_core::keys::HsmFailure;

const READ_BYTES: usize = 64 * 1024;

/// How long one request is waited for at least before its worker counts as hanging, and how long beyond its deadline.
const REQUEST_STUCK_AFTER: Duration = Duration::from_secs(15);
const REQUEST_GRACE: Duration = Duration::from_secs(10);

/// How long nothing at all may be answered where more wait than there are sessions, and how long beyond the deadline.
const WORKER_STUCK_AFTER: Duration = Duration::from_millis(1500);
const WORKER_GRACE: Duration = Duration::from_millis(500);

/// An answer within this time shows that the HSM is not slow throughout.
const QUICK: Duration = Duration::from_secs(1);

/// What a caller gets.
pub(super) type Outcome = Result<Answer, HsmFailure>;

/// One conversation.
#[derive(Default)]
pub(super) struct Connection {
    state: Mutex<State>,
    /// There is something to write.
    outgoing: Notify,
    unanswered: AtomicUsize,
    answered_once: AtomicBool,
    answered_quickly: AtomicBool,
    capacity: usize,
    sessions: usize,
}

#[derive(Default)]
struct State {
    last_answer: Option<Instant>,
    rate: ServiceRate,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    closed: Option<HsmFailure>,
}

#[derive(Default)]
struct Slot {
    /// Rises with each use, so that an answer that comes late meets nobody else's slot.
    generation: u32,
    in_flight: Option<InFlight>,
}

struct InFlight {
    /// Gone once the caller was told that its deadline has passed.
    caller: Option<oneshot::Sender<Outcome>>,
    asked_at: Instant,
    /// How many were asked before it and not answered.
    ahead: usize,
    patience: Duration,
    deadline: Instant,
    /// It may keep the module busy for long, so that others wait for it.
    may_hold_up: bool,
}

/// How a worker does, judged by what it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// Nothing to worry about.
    Ok,
    /// One request is not answered, whatever the others are.
    RequestStuck,
    /// Nothing at all is answered.
    WorkerStuck,
}

impl State {
    /// How many unanswered requests one more would come after, where it is likely to have its turn in time.
    fn place(&self, capacity: usize, sessions: usize, time: Duration) -> Option<usize> {
        let ahead = self.slots.len() - self.free.len();
        (ahead < capacity && self.rate.is_in_time(ahead, sessions, time)).then_some(ahead)
    }
}

impl Connection {
    /// A conversation of at most `capacity` unanswered requests, of which the worker does `sessions` at once.
    pub(super) fn new(capacity: usize, sessions: usize) -> Arc<Self> {
        Arc::new(Self { capacity, sessions, ..Self::default() })
    }

    /// How many requests wait for an answer.
    pub(super) fn load(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Whether this worker ever did what it was asked.
    pub(super) fn has_served(&self) -> bool {
        self.answered_once.load(Ordering::Relaxed)
    }

    /// Whether a request was done quickly since this was last asked.
    pub(super) fn take_answered_quickly(&self) -> bool {
        self.answered_quickly.load(Ordering::Relaxed) && self.answered_quickly.swap(false, Ordering::Relaxed)
    }

    /// Whether a request that has so much time would be taken now.
    pub(super) fn has_room(&self, time: Duration) -> bool {
        self.state.lock().place(self.capacity, self.sessions, time).is_some()
    }

    /// Sends a request.
    /// Errors: [`HsmFailure::Overloaded`] where so many wait that it would not have its turn in time; otherwise why the
    /// conversation has ended.
    pub(super) fn send(
        &self,
        operation: &Operation,
        patience: Duration,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Outcome>, HsmFailure> {
        let (caller, answer) = oneshot::channel();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(failure) = &state.closed {
            return Err(failure.clone());
        }
        let asked_at = Instant::now();
        let remaining = deadline.saturating_duration_since(asked_at);
        let Some(ahead) = state.place(self.capacity, self.sessions, remaining) else {
            return Err(HsmFailure::Overloaded);
        };
        let index = state.free.pop().unwrap_or_else(|| {
            state.slots.push(Slot::default());
            state.slots.len() - 1
        });
        let was_empty = state.bytes.is_empty();
        let State { bytes, slots, free, .. } = state;
        let Some(slot) = slots.get_mut(index) else { return Err(HsmFailure::Overloaded) };
        slot.generation = slot.generation.wrapping_add(1);
        let id = (u64::from(slot.generation) << 32) | u64::try_from(index).unwrap_or(u64::MAX);
        let patience_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = wire::append(bytes, &Request { id, patience_ms, operation }) {
            free.push(index);
            return Err(HsmFailure::Configuration(format!("the request: {error}")));
        }
        let may_hold_up = !operation.is_idempotent();
        slot.in_flight = Some(InFlight { caller: Some(caller), asked_at, ahead, patience, deadline, may_hold_up });
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        drop(guard);
        if was_empty {
            self.outgoing.notify_one();
        }
        Ok(answer)
    }

    /// Ends the conversation: whoever waits is told at once.
    pub(super) fn close(&self, failure: &HsmFailure) {
        let mut state = self.state.lock();
        state.closed.get_or_insert_with(|| failure.clone());
        state.bytes.zeroize();
        self.unanswered.store(0, Ordering::Relaxed);
        for caller in state.slots.iter_mut().filter_map(|slot| slot.in_flight.take()?.caller) {
            // A caller who has gone needs no answer.
            let _ = caller.send(Err(failure.clone()));
        }
        drop(state);
        self.outgoing.notify_one();
    }

    /// Tells those whose deadline has passed, and judges the silence (see the module's comment). `worker_stuck_after` is how
    /// long nothing at all may be answered: see [`worker_stuck_after`].
    pub(super) fn sweep(&self, now: Instant, worker_stuck_after: Duration) -> Health {
        let mut health = Health::Ok;
        let (mut waiting, mut oldest, mut is_held_up) = (0, now, false);
        let mut state = self.state.lock();
        for asked in state.slots.iter_mut().filter_map(|slot| slot.in_flight.as_mut()) {
            waiting += 1;
            oldest = oldest.min(asked.asked_at);
            is_held_up |= asked.may_hold_up;
            if now >= asked.deadline {
                if let Some(caller) = asked.caller.take() {
                    let _ = caller.send(Err(HsmFailure::Deadline(asked.patience)));
                }
                if now >= (asked.asked_at + REQUEST_STUCK_AFTER).max(asked.deadline + REQUEST_GRACE) {
                    health = Health::RequestStuck;
                }
            }
        }
        let silent_since = state.last_answer.map_or(oldest, |last| last.max(oldest));
        if waiting > self.sessions && !is_held_up && now.duration_since(silent_since) >= worker_stuck_after {
            health = Health::WorkerStuck;
        }
        health
    }

    /// Writes what is asked until the conversation ends. After waking it lets the other tasks run once, so that what
    /// they ask goes into the same write.
    pub(super) async fn write(&self, mut half: OwnedWriteHalf) {
        let mut bytes = Vec::new();
        loop {
            {
                let mut state = self.state.lock();
                if state.closed.is_some() {
                    return;
                }
                std::mem::swap(&mut bytes, &mut state.bytes);
            }
            if bytes.is_empty() {
                self.outgoing.notified().await;
                tokio::task::yield_now().await;
                continue;
            }
            let written = half.write_all(&bytes).await;
            bytes.fill(0);
            bytes.clear();
            if written.is_err() {
                // The reader sees the same end, and says so.
                return;
            }
        }
    }

    /// Answers a worker that is about to present its PIN.
    pub(super) fn reply_to_login(&self, reply: LoginReply) {
        let request = Request { id: LOGIN_ID, patience_ms: 0, operation: Operation::Login(reply) };
        // A word of a few hundred bytes always fits.
        let _ = wire::append(&mut self.state.lock().bytes, &request);
        self.outgoing.notify_one();
    }

    /// Reads answers until the conversation ends; gives the worker's last word, if it left one. What it says of logins goes
    /// to `logins`.
    pub(super) async fn read(
        &self,
        mut half: OwnedReadHalf,
        mut frames: FrameBuffer,
        logins: mpsc::UnboundedSender<Answer>,
    ) -> Option<HsmFailure> {
        let mut chunk = vec![0; READ_BYTES];
        let mut last_word = None;
        loop {
            while let Some(response) = frames.next::<Response>().transpose() {
                match response {
                    Ok(Response { id: START_ID, result }) => last_word = result.err().or(last_word),
                    Ok(Response { id: LOGIN_ID, result: Ok(word) }) => {
                        // Whoever answers lives as long as this reads.
                        let _ = logins.send(word);
                    }
                    Ok(response) => self.answer(response),
                    Err(error) => return last_word.or_else(|| Some(HsmFailure::Unavailable(error.to_string()))),
                }
            }
            match half.read(&mut chunk).await {
                Ok(0) | Err(_) => return last_word,
                Ok(length) => {
                    let received = chunk.get_mut(..length).unwrap_or_default();
                    frames.extend(received);
                    received.fill(0);
                }
            }
        }
    }

    fn answer(&self, response: Response) {
        let now = Instant::now();
        let asked = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let index = usize::try_from(response.id & u64::from(u32::MAX)).unwrap_or(usize::MAX);
            let generation = response.id >> 32;
            let slot = state.slots.get_mut(index).filter(|slot| u64::from(slot.generation) == generation);
            let Some(asked) = slot.and_then(|slot| slot.in_flight.take()) else { return };
            state.free.push(index);
            state.last_answer = Some(now);
            if response.result.is_ok() && !asked.may_hold_up {
                state.rate.answered(now.duration_since(asked.asked_at), asked.ahead, self.sessions);
            }
            asked
        };
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        if response.result.is_ok() && !self.has_served() {
            self.answered_once.store(true, Ordering::Relaxed);
        }
        let is_quick = response.result.is_ok() && now.duration_since(asked.asked_at) < QUICK;
        if is_quick && !self.answered_quickly.load(Ordering::Relaxed) {
            self.answered_quickly.store(true, Ordering::Relaxed);
        }
        if let Some(caller) = asked.caller {
            let _ = caller.send(response.result);
        }
    }
}

/// How long nothing at all may be answered, after so many workers in a row were killed for that.
pub(super) fn worker_stuck_after(deadline: Duration, killed: u32) -> Duration {
    let first = WORKER_STUCK_AFTER.max(deadline + WORKER_GRACE);
    first.saturating_mul(2_u32.saturating_pow(killed)).min(REQUEST_STUCK_AFTER.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ask(connection: &Connection) -> Result<oneshot::Receiver<Outcome>, HsmFailure> {
        connection.send(&Operation::Describe, SECOND, Instant::now() + SECOND)
    }

    fn done(connection: &Connection, id: u64) {
        connection.answer(Response { id, result: Ok(Answer::Done) });
    }

    fn sent(connection: &Connection) -> Vec<u64> {
        let mut frames = FrameBuffer::default();
        frames.extend(&connection.state.lock().bytes);
        std::iter::from_fn(|| frames.next::<Request>().unwrap()).map(|request| request.id).collect()
    }

    #[test]
    fn a_full_conversation_takes_no_more() {
        let connection = Connection::new(2, 1);
        let _both = [ask(&connection).unwrap(), ask(&connection).unwrap()];
        assert!(matches!(ask(&connection), Err(HsmFailure::Overloaded)));
        assert_eq!(connection.load(), 2);
    }

    #[test]
    fn answers_in_any_order_find_their_askers_and_strangers_find_nobody() {
        let connection = Connection::new(4, 1);
        let mut first = ask(&connection).unwrap();
        let mut second = ask(&connection).unwrap();
        let ids = sent(&connection);
        done(&connection, ids[1]);
        done(&connection, ids[1]);
        done(&connection, 77);
        assert!(second.try_recv().is_ok() && first.try_recv().is_err());
        connection.answer(Response { id: ids[0], result: Err(HsmFailure::DoesNotOpen) });
        assert!(matches!(first.try_recv(), Ok(Err(HsmFailure::DoesNotOpen))));
        assert_eq!(connection.load(), 0);
    }

    #[test]
    fn a_late_answer_does_not_reach_the_next_asker() {
        let connection = Connection::new(1, 1);
        drop(ask(&connection).unwrap());
        let old = sent(&connection)[0];
        done(&connection, old);
        let mut next = ask(&connection).unwrap();
        connection.answer(Response { id: old, result: Ok(Answer::Block([0; 16])) });
        assert!(next.try_recv().is_err());
    }

    #[test]
    fn the_deadline_is_told_first_and_one_slow_operation_is_waited_for() {
        let connection = Connection::new(1, 1);
        let mut answer = ask(&connection).unwrap();
        let now = Instant::now();
        assert_eq!(connection.sweep(now + 2 * SECOND, SECOND), Health::Ok);
        assert!(matches!(answer.try_recv(), Ok(Err(HsmFailure::Deadline(_)))));
        assert_eq!(connection.sweep(now + 14 * SECOND, SECOND), Health::Ok);
        assert_eq!(connection.sweep(now + 16 * SECOND, SECOND), Health::RequestStuck);
    }

    #[test]
    fn where_more_wait_than_there_are_sessions_silence_is_a_hang() {
        let connection = Connection::new(8, 1);
        let _waiting: Vec<_> = (0..3).map(|_| ask(&connection).unwrap()).collect();
        let now = Instant::now();
        assert_eq!(connection.sweep(now + SECOND, 2 * SECOND), Health::Ok);
        assert_eq!(connection.sweep(now + 3 * SECOND, 2 * SECOND), Health::WorkerStuck);
        // One answer shows that something goes on; one waiting request is what the session works at.
        done(&connection, sent(&connection)[0]);
        assert!(connection.take_answered_quickly() && !connection.take_answered_quickly());
        assert_eq!(connection.sweep(Instant::now() + SECOND, 2 * SECOND), Health::Ok);
        done(&connection, sent(&connection)[1]);
        assert_eq!(connection.sweep(Instant::now() + 5 * SECOND, 2 * SECOND), Health::Ok);
    }

    #[test]
    fn a_key_that_is_made_holds_others_up() {
        let connection = Connection::new(8, 1);
        let making = Operation::GenerateSecret { purpose: signet_core::keys::KeyPurpose::Sealing, tenant: "a".into() };
        let _made = connection.send(&making, 120 * SECOND, Instant::now() + 120 * SECOND).unwrap();
        let _waiting: Vec<_> = (0..3).map(|_| ask(&connection).unwrap()).collect();
        assert_eq!(connection.sweep(Instant::now() + 10 * SECOND, 2 * SECOND), Health::Ok);
    }

    #[test]
    fn each_worker_gets_longer_than_the_one_that_was_killed() {
        let limits: Vec<u64> = (0..6).map(|killed| worker_stuck_after(2 * SECOND, killed).as_secs()).collect();
        assert_eq!(limits, [2, 5, 10, 15, 15, 15]);
        assert_eq!(worker_stuck_after(SECOND / 10, 0), WORKER_STUCK_AFTER);
        assert_eq!(worker_stuck_after(30 * SECOND, u32::MAX).as_secs(), 30);
    }

    #[test]
    fn closing_tells_everybody() {
        let connection = Connection::new(2, 1);
        let mut answer = ask(&connection).unwrap();
        let failure = HsmFailure::Unavailable("gone".into());
        connection.close(&failure);
        assert_eq!(answer.try_recv().unwrap().unwrap_err(), failure);
        assert_eq!(ask(&connection).unwrap_err(), failure);
    }
}
