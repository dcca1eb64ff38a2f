//! The circuit breaker of one HSM token: whether clients' requests are sent to it.
//!
//! It opens at once on a signature that does not verify, and on a few failures in a row. While it is open, one request
//! at a time tries the token, with growing pauses after failures, so that no more than one waits for a token that
//! hangs. Once a trial was answered nobody waits in vain any more, and the token may be used where no other is healthy;
//! the breaker closes only when a signature that was asked for after it had opened was verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use signet_core::keys::HsmFailure;

/// So many failures in a row open it.
const FAILURES: u32 = 3;

/// How long after a failed trial the next one is due: each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause after signatures that did not verify: each of them costs the token its workers, and a login.
const MAX_DISTRUST: Duration = Duration::from_secs(60);

/// The breaker.
#[derive(Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// What is looked at for each request; `open` says the same with its reasons.
    is_open: AtomicBool,
    open: Mutex<Option<Open>>,
    /// A trial is under way.
    trying: Arc<AtomicBool>,
}

struct Open {
    since: Instant,
    reason: HsmFailure,
    next_trial: Instant,
    pause: Duration,
    /// A trial was answered since, and nothing failed after it.
    answers: bool,
    /// A signature did not verify: another worker is no reason to try sooner.
    is_distrusted: bool,
}

impl Open {
    fn at(now: Instant, reason: HsmFailure) -> Self {
        Self { since: now, reason, next_trial: now, pause: FIRST_PAUSE, answers: false, is_distrusted: false }
    }
}

/// One trial; another may begin when it is dropped.
pub(super) struct TrialGuard(Arc<AtomicBool>);

impl Drop for TrialGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Breaker {
    /// Whether requests are sent to the token.
    pub(super) fn is_closed(&self) -> bool {
        !self.is_open.load(Ordering::Acquire)
    }

    /// Why it is open.
    pub(super) fn reason(&self) -> Option<HsmFailure> {
        self.open.lock().as_ref().map(|open| open.reason.clone())
    }

    /// Whether the token answers although the breaker is open.
    pub(super) fn answers(&self) -> bool {
        self.open.lock().as_ref().is_some_and(|open| open.answers)
    }

    /// Begins a trial, where one is due and none is under way.
    pub(super) fn begin_trial(&self, now: Instant) -> Option<TrialGuard> {
        let is_due = self.open.lock().as_ref().is_some_and(|open| now >= open.next_trial);
        (is_due && !self.trying.swap(true, Ordering::AcqRel)).then(|| TrialGuard(Arc::clone(&self.trying)))
    }

    /// Records an answer.
    pub(super) fn answered(&self) {
        if self.is_closed() {
            if self.failures.load(Ordering::Relaxed) != 0 {
                self.failures.store(0, Ordering::Relaxed);
            }
        } else if let Some(open) = self.open.lock().as_mut() {
            open.answers = true;
        }
    }

    /// Records a failure of the token's. Whether it opened the breaker.
    pub(super) fn failed(&self, failure: &HsmFailure, now: Instant) -> bool {
        let mut guard = self.open.lock();
        if let Some(open) = guard.as_mut() {
            open.answers = false;
            // Of the requests that were under way together only the first one's failure counts.
            if now >= open.next_trial {
                open.next_trial = now + open.pause;
                open.pause = (open.pause * 2).min(MAX_PAUSE.max(open.pause));
            }
            return false;
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < FAILURES {
            return false;
        }
        self.hold_open(&mut guard, Open::at(now, failure.clone()));
        true
    }

    /// Opens it at once, or keeps it open, for a signature that did not verify.
    pub(super) fn trip(&self, reason: HsmFailure, now: Instant) {
        let mut guard = self.open.lock();
        let mut tripped = Open { is_distrusted: true, ..Open::at(now, reason) };
        if let Some(open) = guard.as_ref() {
            (tripped.next_trial, tripped.pause) = (open.next_trial, open.pause);
            // Of the signatures that were under way together only the first one counts.
            if now >= open.next_trial {
                tripped.next_trial = now + open.pause;
                tripped.pause = (open.pause * 2).min(MAX_DISTRUST);
            }
        }
        self.hold_open(&mut guard, tripped);
    }

    fn hold_open(&self, guard: &mut Option<Open>, open: Open) {
        *guard = Some(open);
        self.failures.store(0, Ordering::Relaxed);
        self.is_open.store(true, Ordering::Release);
    }

    /// Another worker took the place of the one that failed: it is tried at once. After a signature that did not verify
    /// it waits for its time as well: the worker was not what failed.
    pub(super) fn renewed(&self, now: Instant) {
        if let Some(open) = self.open.lock().as_mut().filter(|open| !open.is_distrusted) {
            (open.next_trial, open.pause) = (now, FIRST_PAUSE);
        }
    }

    /// Records a signature that was asked for at `asked_at` and verified. Whether it closed the breaker.
    pub(super) fn proved(&self, asked_at: Instant) -> bool {
        if self.is_closed() {
            return false;
        }
        let mut guard = self.open.lock();
        if guard.as_ref().is_none_or(|open| asked_at < open.since) {
            return false;
        }
        *guard = None;
        self.failures.store(0, Ordering::Relaxed);
        self.is_open.store(false, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn failure() -> HsmFailure {
        HsmFailure::Deadline(MILLISECOND)
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not_let_them() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            assert!(!breaker.failed(&failure(), now) && !breaker.failed(&failure(), now));
            breaker.answered();
        }
        assert!(breaker.is_closed());
        let opened: Vec<_> = (0..4).map(|_| breaker.failed(&failure(), now)).collect();
        assert_eq!(opened, [false, false, true, false]);
        assert_eq!((breaker.is_closed(), breaker.reason()), (false, Some(failure())));
    }

    #[test]
    fn one_trial_at_a_time_with_growing_pauses() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        assert!(breaker.begin_trial(now).is_none(), "a closed one is not tried");
        for _ in 0..FAILURES {
            breaker.failed(&failure(), now);
        }
        let mut at = now;
        for pause in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let trial = breaker.begin_trial(at).unwrap();
            assert!(breaker.begin_trial(at).is_none());
            breaker.failed(&failure(), at);
            breaker.failed(&failure(), at);
            drop(trial);
            assert!(breaker.begin_trial(at + (pause - 1) * MILLISECOND).is_none());
            at += pause * MILLISECOND;
        }
        breaker.failed(&failure(), at);
        breaker.renewed(at);
        assert!(breaker.begin_trial(at).is_some(), "another worker is tried at once");
    }

    /// A token that signs wrongly all the time is logged in to once a minute, and not as fast as its workers start.
    #[test]
    fn wrong_signatures_are_tried_again_with_growing_pauses_whatever_workers_come() {
        let (breaker, mut at) = (Breaker::default(), Instant::now());
        breaker.trip(failure(), at);
        for pause in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000] {
            breaker.renewed(at);
            drop(breaker.begin_trial(at).unwrap());
            breaker.answered();
            breaker.trip(failure(), at);
            breaker.trip(failure(), at + MILLISECOND);
            breaker.renewed(at + MILLISECOND);
            assert!(!breaker.answers() && breaker.begin_trial(at + (pause - 1) * MILLISECOND).is_none(), "{pause}");
            at += pause * MILLISECOND;
        }
        assert!(breaker.proved(at) && breaker.is_closed());
    }

    #[test]
    fn only_a_signature_that_was_asked_for_later_closes_it() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        breaker.trip(failure(), now);
        breaker.answered();
        assert!(breaker.answers() && !breaker.is_closed());
        assert!(!breaker.proved(now - MILLISECOND) && !breaker.is_closed());
        assert!(breaker.proved(now + MILLISECOND) && breaker.is_closed() && breaker.reason().is_none());
    }
}
