//! The conversation with one running worker: requests go out in as few writes as they allow, answers find their
//! askers by id.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use zeroize::Zeroize as _;

use crate::hsm::wire::{self, Answer, FrameBuffer, Operation, Request, Response, START_ID};
use crate::keys::HsmFailure;

const READ_BYTES: usize = 64 * 1024;

/// What an asker gets.
pub(super) type Outcome = Result<Answer, HsmFailure>;

/// One conversation.
pub(super) struct Pipe {
    state: Mutex<State>,
    /// There is something to write.
    outgoing: Notify,
    unanswered: AtomicUsize,
    answered_once: AtomicBool,
    capacity: usize,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    closed: Option<HsmFailure>,
}

#[derive(Default)]
struct Slot {
    /// Rises with each use, so that an answer that comes late meets nobody else's slot.
    generation: u32,
    asked: Option<Asked>,
}

struct Asked {
    /// Gone once the asker was told that its deadline has passed.
    asker: Option<oneshot::Sender<Outcome>>,
    patience: Duration,
    deadline: Instant,
}

/// Why a request was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    Full,
    Closed(HsmFailure),
}

impl Pipe {
    /// A conversation of at most `capacity` unanswered requests.
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            outgoing: Notify::new(),
            unanswered: AtomicUsize::new(0),
            answered_once: AtomicBool::new(false),
            capacity,
        })
    }

    /// How many requests wait for an answer.
    pub(super) fn load(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Whether this worker ever did what it was asked.
    pub(super) fn has_served(&self) -> bool {
        self.answered_once.load(Ordering::Relaxed)
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// [`NotTaken`].
    pub(super) fn ask(
        &self,
        operation: &Operation,
        patience: Duration,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Outcome>, NotTaken> {
        let (asker, answer) = oneshot::channel();
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(failure) = &state.closed {
            return Err(NotTaken::Closed(failure.clone()));
        }
        if state.slots.len() - state.free.len() >= self.capacity {
            return Err(NotTaken::Full);
        }
        let index = state.free.pop().unwrap_or_else(|| {
            state.slots.push(Slot::default());
            state.slots.len() - 1
        });
        let was_empty = state.bytes.is_empty();
        let State { bytes, slots, free, .. } = state;
        let Some(slot) = slots.get_mut(index) else { return Err(NotTaken::Full) };
        slot.generation = slot.generation.wrapping_add(1);
        let id = (u64::from(slot.generation) << 32) | u64::try_from(index).unwrap_or(u64::MAX);
        let remaining = deadline.saturating_duration_since(Instant::now()).as_millis();
        let patience_ms = u32::try_from(remaining).unwrap_or(u32::MAX);
        if let Err(error) = append(bytes, id, patience_ms, operation) {
            free.push(index);
            return Err(NotTaken::Closed(HsmFailure::Configuration { detail: format!("the request: {error}") }));
        }
        slot.asked = Some(Asked { asker: Some(asker), patience, deadline });
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        drop(guard);
        if was_empty {
            self.outgoing.notify_one();
        }
        Ok(answer)
    }

    /// Ends the conversation: whoever waits is told at once.
    pub(super) fn close(&self, failure: &HsmFailure) {
        let askers: Vec<Asked> = {
            let mut state = self.lock();
            state.closed.get_or_insert_with(|| failure.clone());
            state.bytes.zeroize();
            state.slots.iter_mut().filter_map(|slot| slot.asked.take()).collect()
        };
        self.unanswered.store(0, Ordering::Relaxed);
        for asker in askers.into_iter().filter_map(|asked| asked.asker) {
            // An asker who has gone needs no answer.
            let _ = asker.send(Err(failure.clone()));
        }
        self.outgoing.notify_one();
    }

    /// Tells those whose deadline has passed. Says whether the worker hangs: it answers even what has expired, unless
    /// a call into its module does not come back.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut expired = Vec::new();
        let mut hangs = false;
        for asked in self.lock().slots.iter_mut().filter_map(|slot| slot.asked.as_mut()) {
            if now >= asked.deadline {
                expired.extend(asked.asker.take().map(|asker| (asker, asked.patience)));
                hangs |= now >= asked.deadline + grace(asked.patience);
            }
        }
        for (asker, patience) in expired {
            let _ = asker.send(Err(HsmFailure::Deadline(patience)));
        }
        hangs
    }

    /// Writes what is asked until the conversation ends. After waking it lets the other tasks run once, so that what
    /// they ask goes into the same write.
    pub(super) async fn write(&self, mut half: OwnedWriteHalf) {
        let mut bytes = Vec::new();
        loop {
            {
                let mut state = self.lock();
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

    /// Reads answers until the conversation ends; gives the worker's last word, if it left one.
    pub(super) async fn read(&self, mut half: OwnedReadHalf, mut frames: FrameBuffer) -> Option<HsmFailure> {
        let mut chunk = vec![0; READ_BYTES];
        let mut last_word = None;
        loop {
            while let Some(response) = frames.next::<Response>().transpose() {
                match response {
                    Ok(Response { id: START_ID, result }) => last_word = result.err().or(last_word),
                    Ok(response) => self.answer(response),
                    Err(error) => {
                        return last_word.or_else(|| Some(HsmFailure::Unavailable { detail: error.to_string() }));
                    }
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
        let asked = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let index = usize::try_from(response.id & u64::from(u32::MAX)).unwrap_or(usize::MAX);
            let generation = response.id >> 32;
            let slot = state.slots.get_mut(index).filter(|slot| u64::from(slot.generation) == generation);
            let Some(asked) = slot.and_then(|slot| slot.asked.take()) else { return };
            state.free.push(index);
            asked
        };
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        if response.result.is_ok() && !self.has_served() {
            self.answered_once.store(true, Ordering::Relaxed);
        }
        if let Some(asker) = asked.asker {
            let _ = asker.send(response.result);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long after a deadline a worker may stay silent before it counts as hanging.
fn grace(patience: Duration) -> Duration {
    (patience * 2).clamp(Duration::from_secs(1), Duration::from_secs(10))
}

fn append(bytes: &mut Vec<u8>, id: u64, patience_ms: u32, operation: &Operation) -> Result<(), wire::FrameError> {
    #[derive(serde::Serialize)]
    struct Borrowed<'a> {
        id: u64,
        patience_ms: u32,
        operation: &'a Operation,
    }
    // The same bytes as a `Request`, without a copy of the operation.
    const _: fn(Request) = |Request { id: _, patience_ms: _, operation: _ }| ();
    wire::append(bytes, &Borrowed { id, patience_ms, operation })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pipe: &Pipe, patience: Duration) -> Result<oneshot::Receiver<Outcome>, NotTaken> {
        pipe.ask(&Operation::Describe, patience, Instant::now() + patience)
    }

    fn sent(pipe: &Pipe) -> Vec<u64> {
        let mut frames = FrameBuffer::default();
        frames.extend(&pipe.lock().bytes);
        std::iter::from_fn(|| frames.next::<Request>().unwrap()).map(|request| request.id).collect()
    }

    #[test]
    fn a_full_conversation_takes_no_more() {
        let pipe = Pipe::new(2);
        let _first = ask(&pipe, Duration::from_secs(1)).unwrap();
        let _second = ask(&pipe, Duration::from_secs(1)).unwrap();
        assert!(matches!(ask(&pipe, Duration::from_secs(1)), Err(NotTaken::Full)));
        assert_eq!(pipe.load(), 2);
    }

    #[test]
    fn answers_in_any_order_find_their_askers_and_strangers_find_nobody() {
        let pipe = Pipe::new(4);
        let mut first = ask(&pipe, Duration::from_secs(1)).unwrap();
        let mut second = ask(&pipe, Duration::from_secs(1)).unwrap();
        let ids = sent(&pipe);
        pipe.answer(Response { id: ids[1], result: Ok(Answer::Done) });
        pipe.answer(Response { id: ids[1], result: Ok(Answer::Done) });
        pipe.answer(Response { id: 77, result: Ok(Answer::Done) });
        assert!(second.try_recv().is_ok() && first.try_recv().is_err());
        pipe.answer(Response { id: ids[0], result: Err(HsmFailure::DoesNotOpen) });
        assert!(matches!(first.try_recv(), Ok(Err(HsmFailure::DoesNotOpen))));
        assert_eq!(pipe.load(), 0);
    }

    #[test]
    fn a_late_answer_does_not_reach_the_next_asker() {
        let pipe = Pipe::new(1);
        drop(ask(&pipe, Duration::from_secs(1)).unwrap());
        let old = sent(&pipe)[0];
        pipe.answer(Response { id: old, result: Ok(Answer::Done) });
        let mut next = ask(&pipe, Duration::from_secs(1)).unwrap();
        pipe.answer(Response { id: old, result: Ok(Answer::Block([0; 16])) });
        assert!(next.try_recv().is_err());
    }

    #[test]
    fn the_deadline_is_told_first_and_silence_afterwards_is_a_hang() {
        let pipe = Pipe::new(1);
        let mut answer = ask(&pipe, Duration::from_secs(1)).unwrap();
        let now = Instant::now();
        assert!(!pipe.sweep(now + Duration::from_secs(2)));
        assert!(matches!(answer.try_recv(), Ok(Err(HsmFailure::Deadline(_)))));
        assert!(pipe.sweep(now + Duration::from_secs(4)));
    }

    #[test]
    fn closing_tells_everybody() {
        let pipe = Pipe::new(2);
        let mut answer = ask(&pipe, Duration::from_secs(1)).unwrap();
        let failure = HsmFailure::Unavailable { detail: "gone".into() };
        pipe.close(&failure);
        assert_eq!(answer.try_recv().unwrap().unwrap_err(), failure);
        assert!(matches!(ask(&pipe, Duration::from_secs(1)), Err(NotTaken::Closed(_))));
    }
}
