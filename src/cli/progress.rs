//! How far a long command is: said once a second, and where something ends.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Output;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(1);

/// Tells how many rows are done.
pub(super) struct RowProgress<'o> {
    output: &'o Output,
    told: Mutex<Instant>,
}

impl<'o> RowProgress<'o> {
    /// Begins, and is silent for the first second.
    pub(super) fn new(output: &'o Output) -> Self {
        Self { output, told: Mutex::new(Instant::now()) }
    }

    /// Tells it where it is time: `done` of `of` rows of `what` are `verb`, e.g. `copied`.
    pub(super) fn tell(&self, what: &str, verb: &str, done: u64, of: u64) {
        if !self.is_time() {
            return;
        }
        let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
        self.output.progress(&format!("{what}: {done} of {of} rows {verb} ({percent} %)"));
    }

    /// Tells it where it is time, and nobody knows how many there are.
    pub(super) fn count(&self, what: &str, verb: &str, done: u64) {
        if self.is_time() {
            self.output.progress(&format!("{what}: {done} rows {verb}"));
        }
    }

    fn is_time(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = told.elapsed() >= EVERY;
        if is_time {
            *told = Instant::now();
        }
        is_time
    }
}
