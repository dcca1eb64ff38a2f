//! Keys that are kept current: loaded again before they are stale and, seldom, when an unknown key is named.
//!
//! Loads run in tasks of their own, one at a time: a caller who goes away ends no load, and a flood of made-up key
//! names causes one load per interval. A failed load changes nothing: the last good keys stay.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::key_set::KeySet;
use super::source::{JwksError, Place};

/// How old keys become where nothing says how long they are fresh.
const DEFAULT_AGE: Duration = Duration::from_secs(300);
/// How old keys become whatever is said: a revoked key must not live for days.
const MAX_AGE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct LiveKeys {
    place: Place,
    current: ArcSwap<KeySet>,
    /// The least time between the beginnings of two loads.
    interval: Duration,
    loads: Mutex<Loads>,
}

#[derive(Debug)]
struct Loads {
    last_begun: Instant,
    /// When the keys should be loaded again.
    due: Instant,
    /// Closed once the load that is under way has ended.
    under_way: Option<watch::Receiver<()>>,
}

impl LiveKeys {
    /// Loads the keys once, and from then on for as long as somebody holds the result.
    pub(super) async fn start(place: Place, interval: Duration) -> Result<Arc<Self>, JwksError> {
        let begun = Instant::now();
        let loaded = place.load().await?;
        if loaded.keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        let due = Instant::now() + age(loaded.max_age, interval);
        let live = Arc::new(Self {
            place,
            current: ArcSwap::from_pointee(loaded.keys),
            interval,
            loads: Mutex::new(Loads { last_begun: begun, due, under_way: None }),
        });
        tokio::spawn(keep_current(Arc::downgrade(&live)));
        Ok(live)
    }

    pub(super) fn current(&self) -> arc_swap::Guard<Arc<KeySet>> {
        self.current.load()
    }

    /// Loads again, or waits for the load that is under way; returns at once where one began within the interval.
    pub(super) async fn refresh(self: &Arc<Self>) {
        if let Some(mut under_way) = self.begin_or_join() {
            // The sender sends nothing: it is dropped when the load has ended.
            let _ended = under_way.changed().await;
        }
    }

    fn begin_or_join(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = &loads.under_way
            && under_way.has_changed().is_ok()
        {
            return Some(under_way.clone());
        }
        if loads.last_begun.elapsed() < self.interval {
            return None;
        }
        let (ended, under_way) = watch::channel(());
        loads.last_begun = Instant::now();
        loads.due = loads.last_begun + self.interval;
        loads.under_way = Some(under_way.clone());
        let live = Arc::clone(self);
        tokio::spawn(async move {
            live.load().await;
            drop(ended);
        });
        Some(under_way)
    }

    async fn load(&self) {
        let age = match self.place.load().await {
            Ok(loaded) if loaded.keys.is_empty() => {
                tracing::warn!("the JWKS holds no usable key by now; the last good keys stay");
                self.interval
            }
            Ok(loaded) => {
                self.current.store(Arc::new(loaded.keys));
                age(loaded.max_age, self.interval)
            }
            Err(error) => {
                tracing::warn!(%error, "the JWKS could not be read again; the last good keys stay");
                self.interval
            }
        };
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).due = Instant::now() + age;
    }

    fn due(&self) -> Instant {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).due
    }
}

fn age(max_age: Option<Duration>, interval: Duration) -> Duration {
    max_age.unwrap_or(DEFAULT_AGE).min(MAX_AGE).max(interval)
}

/// Loads again whenever it is due; ends when nobody verifies any more.
async fn keep_current(live: Weak<LiveKeys>) {
    loop {
        let Some(due) = live.upgrade().map(|live| live.due()) else { return };
        tokio::time::sleep_until(due).await;
        let Some(live) = live.upgrade() else { return };
        if live.due() <= Instant::now() {
            live.refresh().await;
        }
    }
}
