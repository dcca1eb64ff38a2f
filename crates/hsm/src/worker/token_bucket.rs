//! A limit on what is done in a second: a bucket that fills at that rate and holds one second's worth. It is empty at
//! first, so that nobody gets more by starting worker after worker.

use std::time::Instant;

use parking_lot::Mutex;

/// What is left of this second.
pub(super) struct TokenBucket {
    per_second: f64,
    left: Mutex<(f64, Instant)>,
}

impl TokenBucket {
    /// So many a second from now on; `None` where there is no limit.
    pub(super) fn new(per_second: u32, now: Instant) -> Option<Self> {
        let per_second = f64::from(per_second);
        (per_second > 0.0).then(|| Self { per_second, left: Mutex::new((0.0, now)) })
    }

    /// Takes one; `false` where none is left.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut left = self.left.lock();
        let (before, at) = *left;
        let filled = (now.saturating_duration_since(at).as_secs_f64()).mul_add(self.per_second, before);
        let filled = filled.min(self.per_second);
        let is_there = filled >= 1.0;
        *left = (if is_there { filled - 1.0 } else { filled }, at.max(now));
        is_there
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_gives_what_a_second_may() {
        let start = Instant::now();
        let bucket = TokenBucket::new(10, start).unwrap();
        let taken = |at: Instant| (0..100).filter(|_| bucket.take(at)).count();
        assert_eq!(taken(start), 0, "a worker that has just started has nothing to give");
        assert_eq!(taken(start + Duration::from_millis(510)), 5);
        assert_eq!(taken(start + Duration::from_millis(1020)), 5);
        assert_eq!(taken(start + Duration::from_secs(3600)), 10);
        // A thread that looked at the clock a little earlier.
        assert_eq!(taken(start), 0);
        assert!(TokenBucket::new(0, start).is_none());
    }
}
