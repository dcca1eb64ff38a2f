//! Keeps refusals that anybody can provoke from filling the audit log: the first of a kind is written at once, its
//! repetitions are counted and written once a minute as one record, which says how many they were. So many records are written in
//! a minute by all nodes together, and no more; of what is beyond, the sums are written. Time is monotonic here: a clock that is set
//! back must not keep refusals out of the audit log.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_store::PLACES_OF_NOBODY;

/// How long repetitions are only counted.
pub(super) const QUIET: Duration = Duration::from_secs(60);
/// The most records of refusals that all nodes together write in that time.
const A_MINUTE: usize = 90;
/// The most kinds that are remembered; beyond them refusals are summed up.
const MOST: usize = 10_000;
/// The words of a place: a bit for each.
const PLACE_WORDS: usize = PLACES_OF_NOBODY as usize / 64;

/// Remembers which kinds were written to the audit log lately.
pub(super) struct AuditThrottle(Mutex<State>);

struct State {
    kinds: HashMap<String, Repetitions>,
    /// Those of kinds that found no room.
    beyond: BTreeMap<(Event, Option<Reason>), Sum>,
    /// When this minute began, and how many records were written in it.
    minute: Instant,
    written: usize,
    /// Whether nothing of it was summed up yet.
    is_new: bool,
    /// How many records this node may write in a minute.
    share: usize,
}

struct Repetitions {
    at: Instant,
    repetitions: u64,
    /// Whether the first of them was written.
    is_told: bool,
    draft: AuditEvent,
    /// At which places the names were, where nobody is called so.
    names: Option<Box<[u64; PLACE_WORDS]>>,
}

/// Refusals of several kinds in one record.
struct Sum {
    tenant: String,
    refusals: u64,
}

impl Default for AuditThrottle {
    fn default() -> Self {
        Self(Mutex::new(State {
            kinds: HashMap::new(),
            beyond: BTreeMap::new(),
            minute: Instant::now(),
            written: 0,
            is_new: true,
            share: A_MINUTE,
        }))
    }
}

impl AuditThrottle {
    /// So many nodes share what may be written in a minute.
    pub(super) fn share_among(&self, nodes: usize) {
        self.lock().share = A_MINUTE.checked_div(nodes).unwrap_or(A_MINUTE).max(4);
    }

    /// Returns whether a refusal of this kind is to be written to the audit log now. If not, it is counted.
    pub(super) fn admit(&self, kind: &str, draft: &AuditEvent, now: Instant) -> bool {
        let mut state = self.lock();
        state.begin_minute(now);
        let has_room = state.written < state.share / 2;
        let is_new = state.count(kind, draft, has_room, now).is_some_and(|of| of.is_told && of.repetitions == 0);
        state.written += usize::from(is_new);
        is_new
    }

    /// Keeps a refusal to be written later, the first of its kind too. For one whose reason its caller must not learn: the
    /// time that a record takes would show that the reason is a new one. Of names that are no user's it keeps where they were, which
    /// says about how many there are.
    pub(super) fn keep(&self, kind: &str, draft: &AuditEvent, place: Option<u16>, now: Instant) {
        let mut state = self.lock();
        let Some(kept) = state.count(kind, draft, false, now) else { return };
        let Some(place) = place.map(usize::from) else { return };
        let names = kept.names.get_or_insert_with(|| Box::new([0; PLACE_WORDS]));
        if let Some(word) = names.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    /// Forgets a refusal whose record could not be written, so that the next one of its kind is written.
    pub(super) fn retract(&self, kind: &str) {
        self.lock().kinds.remove(kind);
    }

    /// Returns what is to be written of repetitions by now: one event a kind that was repeated. Kinds that were not are
    /// forgotten.
    pub(super) fn due(&self, now: Instant) -> Vec<AuditEvent> {
        let mut state = self.lock();
        state.begin_minute(now);
        state.take(|told| now.duration_since(told.at) >= QUIET, now)
    }

    /// Returns what is to be written of all repetitions, whenever they began: for the server's end.
    pub(super) fn drain(&self) -> Vec<AuditEvent> {
        let mut state = self.lock();
        (state.written, state.is_new) = (0, true);
        state.take(|_| true, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    fn begin_minute(&mut self, now: Instant) {
        if now.duration_since(self.minute) >= QUIET {
            (self.minute, self.written, self.is_new) = (now, 0, true);
        }
    }

    /// Counts a refusal of a kind; `None` where there is no room for another kind.
    fn count(&mut self, kind: &str, draft: &AuditEvent, is_told: bool, now: Instant) -> Option<&mut Repetitions> {
        if !self.kinds.contains_key(kind) {
            if self.kinds.len() >= MOST {
                self.sum_up(draft, 1);
                return None;
            }
            let new = Repetitions { at: now, repetitions: 0, is_told, draft: draft.clone(), names: None };
            return Some(self.kinds.entry(kind.to_owned()).or_insert(new));
        }
        let known = self.kinds.get_mut(kind)?;
        known.repetitions += 1;
        Some(known)
    }

    fn sum_up(&mut self, draft: &AuditEvent, refusals: u64) {
        let new = || Sum { tenant: draft.tenant.clone(), refusals: 0 };
        self.beyond.entry((draft.event, draft.reason)).or_insert_with(new).refusals += refusals;
    }

    /// Takes what is due: of each kind a record, those with the most refusals first, for as long as there is room. At the beginning
    /// of a minute the rest is summed up; later in it, the rest waits for the next one.
    fn take(&mut self, is_due: impl Fn(&Repetitions) -> bool, now: Instant) -> Vec<AuditEvent> {
        self.kinds.retain(|_, told| !(told.is_told && told.repetitions == 0 && is_due(told)));
        let mut due: Vec<(u64, String)> = self
            .kinds
            .iter()
            .filter(|(_, told)| !told.is_told || is_due(told))
            .map(|(kind, told)| (told.times(), kind.clone()))
            .collect();
        due.sort_unstable_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        let room = (self.share - self.share / 4).saturating_sub(self.written);
        let mut drafts = Vec::new();
        for (place, (times, kind)) in due.into_iter().enumerate() {
            if place < room {
                drafts.extend(self.kinds.get_mut(&kind).map(|told| told.tell(now)));
            } else if self.is_new
                && let Some(told) = self.kinds.remove(&kind)
            {
                self.sum_up(&told.draft, times);
            }
        }
        if self.is_new {
            drafts.extend(self.sums());
        }
        self.is_new = false;
        self.written += drafts.len();
        drafts
    }

    /// The sums, a quarter of the share at most: the last one holds the rest.
    fn sums(&mut self) -> Vec<AuditEvent> {
        let mut sums: Vec<((Event, Option<Reason>), Sum)> = std::mem::take(&mut self.beyond).into_iter().collect();
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.refusals));
        let rest = sums.split_off(sums.len().min((self.share / 4).max(1)));
        if let Some(((_, reason), last)) = sums.last_mut()
            && !rest.is_empty()
        {
            *reason = None;
            last.refusals = rest.iter().fold(last.refusals, |all, (_, sum)| all.saturating_add(sum.refusals));
        }
        let told = |((event, reason), sum): ((Event, Option<Reason>), Sum)| {
            let told = AuditEvent::new(event, Outcome::Refused, &sum.tenant, &RequestContext::default());
            let detail = "the sum of what was refused, of which there was too much to tell each";
            AuditEvent { reason, times: Some(sum.refusals), ..told }.detail(detail.to_owned())
        };
        sums.into_iter().map(told).collect()
    }
}

impl Repetitions {
    /// For how many refusals its next record stands.
    fn times(&self) -> u64 {
        self.repetitions + u64::from(!self.is_told)
    }

    fn tell(&mut self, now: Instant) -> AuditEvent {
        let mut draft = self.draft.clone();
        let times = self.times();
        if self.repetitions > 0 {
            draft.times = Some(times);
            draft = draft.detail(match self.names.take().map(|names| names_at(&names)) {
                Some(names) => format!("repeated {} times, under about {names} names", self.repetitions),
                None => format!("repeated {} times", self.repetitions),
            });
        }
        (self.at, self.repetitions, self.is_told, self.names) = (now, 0, true, None);
        draft
    }
}

/// About how many names were at these places (linear counting: of n names at m places, m·e^(-n/m) places are left empty).
fn names_at(places: &[u64; PLACE_WORDS]) -> u64 {
    let taken: u32 = places.iter().map(|word| word.count_ones()).sum();
    let (all, empty) = (f64::from(PLACES_OF_NOBODY), f64::from(u32::from(PLACES_OF_NOBODY).saturating_sub(taken)));
    let names = if empty < 1.0 { all * all.ln() } else { all * (all / empty).ln() };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and 40,000")]
    let names = names.round() as u64;
    names.max(u64::from(taken))
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash as _, Hasher as _};

    use super::*;

    fn draft() -> AuditEvent {
        AuditEvent::new(Event::SignIn, Outcome::Refused, "default", &RequestContext::default())
    }

    fn repeated(times: u64, said: u64) -> AuditEvent {
        AuditEvent { times: Some(times), ..draft() }.detail(format!("repeated {said} times"))
    }

    #[test]
    fn repetitions_are_counted_and_told_once_a_minute() {
        let (repeats, start) = (AuditThrottle::default(), Instant::now());
        assert!(repeats.admit("a", &draft(), start));
        assert!(repeats.admit("b", &draft(), start));
        assert!(!repeats.admit("a", &draft(), start) && !repeats.admit("a", &draft(), start));
        assert_eq!(repeats.due(start + QUIET / 2), []);
        assert_eq!(repeats.due(start + QUIET), [repeated(2, 2)]);
        assert!(repeats.admit("b", &draft(), start + QUIET), "what was not repeated is told anew");
        assert!(!repeats.admit("a", &draft(), start + QUIET));
        assert_eq!(repeats.drain(), [repeated(1, 1)]);
    }

    #[test]
    fn what_is_kept_is_told_with_the_next_ones_and_then_like_the_others() {
        let (repeats, start) = (AuditThrottle::default(), Instant::now());
        repeats.keep("a", &draft(), None, start);
        repeats.keep("b", &draft(), None, start);
        repeats.keep("b", &draft(), None, start);
        let mut due = repeats.due(start);
        due.sort_by_key(|draft| draft.detail.clone());
        assert_eq!(due, [draft(), repeated(2, 1)]);
        repeats.keep("a", &draft(), None, start);
        assert_eq!(repeats.due(start + QUIET / 2), []);
        assert_eq!(repeats.due(start + QUIET), [repeated(1, 1)]);
    }

    #[test]
    fn what_could_not_be_written_is_told_the_next_time() {
        let repeats = AuditThrottle::default();
        assert!(repeats.admit("a", &draft(), Instant::now()));
        repeats.retract("a");
        assert!(repeats.admit("a", &draft(), Instant::now()));
    }

    /// However many kinds there are, so many records are written in a minute, and all refusals are in their numbers.
    #[test]
    fn records_and_memory_are_bounded_and_the_sum_is_told() {
        let (throttle, start) = (AuditThrottle::default(), Instant::now());
        let (mut told, mut refused) = (0, 0);
        for minute in 0..4 {
            let mut of_minute = 0;
            for second in 0..60 {
                let now = start + QUIET * minute + Duration::from_secs(second);
                for kind in 0..100 {
                    refused += 2;
                    let at_once = throttle.admit(&format!("at once {minute} {second} {kind}"), &draft(), now);
                    of_minute += usize::from(at_once);
                    told += u64::from(at_once);
                    throttle.keep(&format!("later {minute} {second} {kind}"), &draft(), None, now);
                }
                let due = throttle.due(now);
                of_minute += due.len();
                told += due.iter().map(|draft| draft.times.unwrap_or(1)).sum::<u64>();
                assert!(throttle.lock().kinds.len() <= MOST);
            }
            assert!(of_minute <= A_MINUTE, "{of_minute} records in a minute");
        }
        told += throttle.drain().iter().map(|draft| draft.times.unwrap_or(1)).sum::<u64>();
        assert_eq!(told, refused);
    }

    #[test]
    fn it_says_about_how_many_names_were_tried() {
        for names in [1_u32, 10, 1_000, 10_000] {
            let throttle = AuditThrottle::default();
            for name in 0..names {
                let mut hasher = std::hash::DefaultHasher::new();
                name.hash(&mut hasher);
                let place = u16::try_from(hasher.finish() % u64::from(PLACES_OF_NOBODY)).unwrap();
                throttle.keep("nobody", &draft(), Some(place), Instant::now());
                throttle.keep("nobody", &draft(), Some(place), Instant::now());
            }
            let [told] = throttle.due(Instant::now()).try_into().unwrap();
            let said: u32 = told.detail.unwrap().rsplit(' ').nth(1).unwrap().parse().unwrap();
            assert!(said.abs_diff(names) <= names / 5, "{said} for {names}");
        }
    }
}
