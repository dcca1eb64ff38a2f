//! How fast one worker answers, and whether one more request would have its turn in time.
//!
//! A queue that is longer than the deadline is worse than a short one: whatever comes to its head has hardly any time
//! left, and the HSM works for callers who have gone. What would wait for more than three quarters of its time is refused
//! at once, so that an overload is answered with 503 and the HSM's whole throughput still becomes tokens.

use std::time::Duration;

/// The part of a request's time in which it is to be answered; the rest is for what the mean does not know.
const DEADLINE_FRACTION: f64 = 0.75;

/// The weight of a new measurement in the mean (an exponentially weighted moving average).
const EWMA_WEIGHT: f64 = 1.0 / 8.0;

/// So many waiting requests for each session are always taken: a worker that was slow for a moment shows by them that it
/// is quick again.
const MIN_QUEUE_PER_SESSION: usize = 4;

/// How fast one worker answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ServiceRate {
    /// Seconds from one answer to the next while requests wait; nothing before the first answer.
    interval: Option<f64>,
}

impl ServiceRate {
    /// Records an answer that took so long behind so many others, which `sessions` work off.
    pub(super) fn answered(&mut self, took: Duration, ahead: usize, sessions: usize) {
        let turns = u32::try_from(ahead.saturating_add(1).max(sessions)).unwrap_or(u32::MAX);
        let interval = took.as_secs_f64() / f64::from(turns);
        self.interval = Some(self.interval.map_or(interval, |mean| mean + (interval - mean) * EWMA_WEIGHT));
    }

    /// Whether a request behind so many others is likely to be answered in time.
    pub(super) fn is_in_time(&self, ahead: usize, sessions: usize, time: Duration) -> bool {
        let turns = f64::from(u32::try_from(ahead).unwrap_or(u32::MAX)) + 1.0;
        let wait = self.interval.map_or(0.0, |interval| interval * turns);
        ahead < sessions.saturating_mul(MIN_QUEUE_PER_SESSION) || wait <= time.as_secs_f64() * DEADLINE_FRACTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const OPERATION: Duration = Duration::from_millis(20);

    /// A queue that grows as long as it is let, at four sessions of 20 ms: 200 a second.
    fn longest_queue(rate: ServiceRate, time: Duration) -> usize {
        (0..100_000).find(|ahead| !rate.is_in_time(*ahead, 4, time)).unwrap_or(usize::MAX)
    }

    #[test]
    fn a_queue_is_as_long_as_the_time_is_enough_for() {
        let mut rate = ServiceRate::default();
        assert_eq!(longest_queue(rate, SECOND), usize::MAX, "nothing is known yet");
        for ahead in 0..300_u32 {
            rate.answered(OPERATION * ahead.max(3).div_ceil(4), ahead as usize, 4);
        }
        let longest = longest_queue(rate, 2 * SECOND);
        assert!((285..=310).contains(&longest), "{longest}");
    }

    #[test]
    fn idle_sessions_count() {
        let mut rate = ServiceRate::default();
        (0..100).for_each(|_| rate.answered(OPERATION, 0, 4));
        let longest = longest_queue(rate, 2 * SECOND);
        assert!((299..=301).contains(&longest), "{longest}");
    }

    #[test]
    fn a_worker_that_was_slow_for_a_moment_is_soon_trusted_again() {
        let mut rate = ServiceRate::default();
        (0..100).for_each(|_| rate.answered(2 * SECOND, 3, 4));
        assert!(!rate.is_in_time(16, 4, SECOND), "a queue is not joined");
        assert!(rate.is_in_time(15, 4, SECOND), "some are always taken");
        (0..60).for_each(|_| rate.answered(OPERATION, 3, 4));
        assert!(rate.is_in_time(50, 4, SECOND));
    }
}
