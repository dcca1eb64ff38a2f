//! Keeps refusals that anybody can provoke from filling the audit log: the first of a kind is told at once, its
//! repetitions are counted and told with the next one that is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// How long repetitions are only counted.
const QUIET: Duration = Duration::from_secs(60);
/// The most kinds that are remembered; a flood of more is told by the log alone.
const MOST: usize = 10_000;

/// Remembers what was told lately.
#[derive(Default)]
pub struct Repeats(Mutex<HashMap<String, Told>>);

struct Told {
    at: Timestamp,
    since: u64,
}

impl Repeats {
    /// Whether a refusal of this kind is to be told now, with how many were only counted since the last one told.
    pub fn admit(&self, kind: &str, now: Timestamp) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = told.get_mut(kind) {
            if now < last.at.plus(QUIET) {
                last.since += 1;
                return None;
            }
            let since = last.since;
            *last = Told { at: now, since: 0 };
            return Some(since);
        }
        if told.len() >= MOST {
            told.retain(|_, last| now < last.at.plus(QUIET));
        }
        if told.len() >= MOST {
            return None;
        }
        told.insert(kind.to_owned(), Told { at: now, since: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_counted_and_told_with_the_next_one() {
        let repeats = Repeats::default();
        let at = Timestamp::from_unix_seconds;
        assert_eq!(repeats.admit("a", at(0)), Some(0));
        assert_eq!(repeats.admit("a", at(1)), None);
        assert_eq!(repeats.admit("b", at(1)), Some(0));
        assert_eq!(repeats.admit("a", at(59)), None);
        assert_eq!(repeats.admit("a", at(60)), Some(2));
        assert_eq!(repeats.admit("a", at(61)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let repeats = Repeats::default();
        for kind in 0..20_000 {
            let _ = repeats.admit(&kind.to_string(), Timestamp::from_unix_seconds(0));
        }
        assert!(repeats.0.lock().unwrap().len() <= MOST);
    }
}
