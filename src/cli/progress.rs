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
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < EVERY {
            return;
        }
        *told = Instant::now();
        let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
        self.output.progress(&format!("{what}: {done} of {of} rows {verb} ({percent} %)"));
    }
}
