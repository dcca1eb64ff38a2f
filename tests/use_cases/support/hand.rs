//! Time and randomness that a test holds in its hand.

use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use signet_core::random::Random;
use signet_jose::clock::{Clock, Timestamp};

/// When tests begin: 2027-01-15T08:00:00Z.
const BEGIN: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// A clock that only a test moves.
#[derive(Debug)]
pub(crate) struct HandClock(Mutex<Timestamp>);

impl HandClock {
    pub(super) fn new() -> Self {
        Self(Mutex::new(BEGIN))
    }

    pub(super) fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus(time);
    }

    pub(super) fn set(&self, to: Timestamp) {
        *self.0.lock().unwrap() = to;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// SHA-256 of a seed and a count.
#[derive(Debug)]
pub(crate) struct SeededRandom {
    seed: u8,
    count: Mutex<u64>,
}

impl SeededRandom {
    pub(super) fn new(seed: u8) -> Self {
        Self { seed, count: Mutex::new(0) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, out: &mut [u8]) {
        let mut count = self.count.lock().unwrap();
        for chunk in out.chunks_mut(32) {
            *count += 1;
            let block = Sha256::new().chain_update([self.seed]).chain_update(count.to_be_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}
