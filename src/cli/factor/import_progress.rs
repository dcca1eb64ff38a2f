//! How far an import is, on one line of a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// So many tokens were judged.
    Judged(u64),
    /// So many of all were gone through, and are kept.
    Kept {
        /// Gone through.
        done: u64,
        /// All.
        of: u64,
    },
}

/// One line on a terminal that is written over; nothing where standard error is none.
pub(super) struct ProgressLine {
    is_shown: bool,
    began: Instant,
    last: Option<Instant>,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), began: Instant::now(), last: None }
    }

    pub(super) fn show(&mut self, at: Progress) {
        let is_last = matches!(at, Progress::Kept { done, of } if done == of);
        let is_due = self.last.is_none_or(|last| last.elapsed().as_millis() >= 100);
        if !self.is_shown || !(is_due || is_last) {
            return;
        }
        self.last = Some(Instant::now());
        let text = match at {
            Progress::Judged(count) => format!("judging the file: {count} tokens"),
            Progress::Kept { done, of } => bar(done, of, self.began.elapsed().as_secs_f64()),
        };
        // Nothing can be done where standard error is gone.
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{text}");
    }

    pub(super) fn end(&self) {
        if self.is_shown && self.last.is_some() {
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate for a person")]
fn bar(done: u64, of: u64, seconds: f64) -> String {
    const WIDTH: u64 = 30;
    let full = (done * WIDTH).checked_div(of).unwrap_or(WIDTH).min(WIDTH);
    let bar: String = (0..WIDTH).map(|place| if place < full { '█' } else { '·' }).collect();
    let rate = done as f64 / seconds.max(0.001);
    let left = of.saturating_sub(done) as f64 / rate.max(0.001);
    format!("{bar} {done} of {of}, {rate:.0} a second, {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up() {
        assert!(bar(0, 100, 1.0).starts_with("··"));
        assert!(bar(50, 100, 5.0).ends_with("50 of 100, 10 a second, 5 s left"));
        assert!(bar(100, 100, 5.0).starts_with(&"█".repeat(30)));
        assert!(bar(0, 0, 0.0).starts_with('█'));
    }
}
