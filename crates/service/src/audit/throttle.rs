//! Keeps refusals that anybody can provoke from filling the audit log: the first of a kind is written at once, its
//! repetitions are counted and written once a minute as one record. Time is monotonic here: a clock that is set back
//! must not keep refusals out of the audit log.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use signet_core::audit::AuditEvent;

/// How long repetitions are only counted.
pub(super) const QUIET: Duration = Duration::from_secs(60);
/// The most kinds that are remembered; beyond them refusals go into the log alone.
const MOST: usize = 10_000;

/// Remembers which kinds were written to the audit log lately.
#[derive(Default)]
pub(super) struct AuditThrottle(Mutex<HashMap<String, Repetitions>>);

struct Repetitions {
    at: Instant,
    repetitions: u64,
    /// Whether the first of them was written.
    is_told: bool,
    draft: AuditEvent,
}

impl AuditThrottle {
    /// Returns whether a refusal of this kind is to be written to the audit log now. If not, it is counted.
    pub(super) fn admit(&self, kind: &str, draft: &AuditEvent, now: Instant) -> bool {
        let mut told = self.lock();
        if let Some(last) = told.get_mut(kind) {
            last.repetitions += 1;
            return false;
        }
        if told.len() >= MOST {
            tracing::warn!(?draft.event, ?draft.reason, "refused; too many kinds of refusals to tell the audit log of each");
            return false;
        }
        told.insert(kind.to_owned(), Repetitions { at: now, repetitions: 0, is_told: true, draft: draft.clone() });
        true
    }

    /// Keeps a refusal to be written later, the first of its kind too. For one whose reason its caller must not learn: the
    /// time that a record takes would show that the reason is a new one.
    pub(super) fn keep(&self, kind: &str, draft: &AuditEvent, now: Instant) {
        if self.admit(kind, draft, now)
            && let Some(kept) = self.lock().get_mut(kind)
        {
            kept.is_told = false;
        }
    }

    /// Forgets a refusal whose record could not be written, so that the next one of its kind is written.
    pub(super) fn retract(&self, kind: &str) {
        self.lock().remove(kind);
    }

    /// Returns what is to be written of repetitions by now: one event a kind that was repeated. Kinds that were not are
    /// forgotten.
    pub(super) fn due(&self, now: Instant) -> Vec<AuditEvent> {
        self.take(|told| now.duration_since(told.at) >= QUIET, now)
    }

    /// Returns what is to be written of all repetitions, whenever they began: for the server's end.
    pub(super) fn drain(&self) -> Vec<AuditEvent> {
        self.take(|_| true, Instant::now())
    }

    fn take(&self, is_due: impl Fn(&Repetitions) -> bool, now: Instant) -> Vec<AuditEvent> {
        let mut drafts = Vec::new();
        self.lock().retain(|_, told| {
            if told.is_told && !is_due(told) {
                return true;
            }
            let draft = told.draft.clone();
            match (told.is_told, told.repetitions) {
                (true, 0) => return false,
                (false, 0) => drafts.push(draft),
                (_, repetitions) => drafts.push(draft.detail(format!("repeated {repetitions} times"))),
            }
            (told.at, told.repetitions, told.is_told) = (now, 0, true);
            true
        });
        drafts
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Repetitions>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_core::audit::{Event, Outcome, RequestContext};

    fn draft() -> AuditEvent {
        AuditEvent::new(Event::SignIn, Outcome::Refused, "default", &RequestContext::default())
    }

    #[test]
    fn repetitions_are_counted_and_told_once_a_minute() {
        let (repeats, start) = (AuditThrottle::default(), Instant::now());
        assert!(repeats.admit("a", &draft(), start));
        assert!(repeats.admit("b", &draft(), start));
        assert!(!repeats.admit("a", &draft(), start) && !repeats.admit("a", &draft(), start));
        assert_eq!(repeats.due(start + QUIET / 2), []);
        assert_eq!(repeats.due(start + QUIET), [draft().detail("repeated 2 times")]);
        assert!(repeats.admit("b", &draft(), start + QUIET), "what was not repeated is told anew");
        assert!(!repeats.admit("a", &draft(), start + QUIET));
        assert_eq!(repeats.drain(), [draft().detail("repeated 1 times")]);
    }

    #[test]
    fn what_is_kept_is_told_with_the_next_ones_and_then_like_the_others() {
        let (repeats, start) = (AuditThrottle::default(), Instant::now());
        repeats.keep("a", &draft(), start);
        repeats.keep("b", &draft(), start);
        repeats.keep("b", &draft(), start);
        let mut due = repeats.due(start);
        due.sort_by_key(|draft| draft.detail.clone());
        assert_eq!(due, [draft(), draft().detail("repeated 1 times")]);
        repeats.keep("a", &draft(), start);
        assert_eq!(repeats.due(start + QUIET / 2), []);
        assert_eq!(repeats.due(start + QUIET), [draft().detail("repeated 1 times")]);
    }

    #[test]
    fn what_could_not_be_written_is_told_the_next_time() {
        let repeats = AuditThrottle::default();
        assert!(repeats.admit("a", &draft(), Instant::now()));
        repeats.retract("a");
        assert!(repeats.admit("a", &draft(), Instant::now()));
    }

    #[test]
    fn memory_is_bounded() {
        let repeats = AuditThrottle::default();
        for kind in 0..20_000 {
            repeats.admit(&kind.to_string(), &draft(), Instant::now());
        }
        assert!(repeats.lock().len() <= MOST);
    }
}
