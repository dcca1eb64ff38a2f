//! Keys that are kept current: loaded again before they are stale and, seldom, when an unknown key is named.
//!
//! One task loads, one load at a time: a caller who goes away ends no load, and a flood of made-up key names causes one
//! load per interval. A set without a usable key is an answer, and taken: its issuer may have revoked every key. A failed load
//! changes nothing: the last good keys stay, but no longer than they may.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::key_set::{JwksError, KeySet};
use super::source::Place;

/// How old keys become where nothing says how long they are fresh.
const DEFAULT_AGE: Duration = Duration::from_secs(300);
/// How old keys become whatever is said: a revoked key must not live for days.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The keys, and how to ask the task for newer ones. The task ends when this is dropped.
#[derive(Debug)]
pub(super) struct LiveKeys {
    state: watch::Receiver<State>,
    wanted: Arc<Notify>,
    /// The least time between the beginnings of two loads.
    interval: Duration,
    /// How long keys are used that can't be loaded again; for ever where nothing is said.
    longest: Option<Duration>,
    /// What is used after that.
    none: Arc<KeySet>,
}

#[derive(Debug)]
struct State {
    keys: Arc<KeySet>,
    /// When they were loaded.
    loaded: Instant,
    /// When the last load began.
    begun: Instant,
    is_loading: bool,
    /// How many loads have ended.
    loads: u64,
}

impl LiveKeys {
    /// Loads the keys once, and from then on for as long as somebody holds the result.
    pub(super) async fn start(place: Place, interval: Duration, longest: Option<Duration>) -> Result<Self, JwksError> {
        let begun = Instant::now();
        let loaded = place.load().await?;
        if loaded.keys.is_empty() {
            return Err(JwksError::NoUsableKey(loaded.keys.left_out().to_vec()));
        }
        let due = Instant::now() + age(loaded.max_age, interval);
        let keys = Arc::new(loaded.keys);
        let (writer, state) = watch::channel(State { keys, loaded: begun, begun, is_loading: false, loads: 0 });
        let wanted = Arc::new(Notify::new());
        tokio::spawn(keep_current(place, interval, due, Arc::clone(&wanted), writer));
        Ok(Self { state, wanted, interval, longest, none: Arc::default() })
    }

    /// The keys; none where they could not be loaded again for too long.
    pub(super) fn current(&self) -> Arc<KeySet> {
        let state = self.state.borrow();
        let is_stale = self.longest.is_some_and(|longest| state.loaded.elapsed() > longest);
        Arc::clone(if is_stale { &self.none } else { &state.keys })
    }

    /// Loads again, or waits for the load that is under way; returns at once where one began within the interval.
    pub(super) async fn refresh(&self) {
        let mut state = self.state.clone();
        let loads = {
            let now = state.borrow();
            if !now.is_loading {
                if now.begun.elapsed() < self.interval {
                    return;
                }
                self.wanted.notify_one();
            }
            now.loads
        };
        // An error means that the runtime which loaded has ended: the last good keys stay.
        let _ended = state.wait_for(|state| state.loads > loads).await;
    }
}

/// Loads whenever the keys are due or newer ones are wanted; ends when nobody verifies any more.
async fn keep_current(
    place: Place,
    interval: Duration,
    mut due: Instant,
    wanted: Arc<Notify>,
    state: watch::Sender<State>,
) {
    loop {
        tokio::select! {
            () = state.closed() => return,
            () = sleep_until(due) => {}
            () = wanted.notified() => if state.borrow().begun.elapsed() < interval { continue },
        }
        state.send_modify(|state| (state.begun, state.is_loading) = (Instant::now(), true));
        let loaded = match place.load().await {
            Ok(loaded) => {
                if loaded.keys.is_empty() {
                    tracing::warn!("the JWKS holds no usable key by now: no token is accepted");
                }
                Some(loaded)
            }
            Err(error) => {
                tracing::warn!(%error, "the JWKS could not be read again; the last good keys stay");
                None
            }
        };
        due = Instant::now() + loaded.as_ref().map_or(interval, |loaded| age(loaded.max_age, interval));
        state.send_modify(|state| {
            if let Some(loaded) = loaded {
                (state.keys, state.loaded) = (Arc::new(loaded.keys), state.begun);
            }
            (state.is_loading, state.loads) = (false, state.loads + 1);
        });
    }
}

fn age(max_age: Option<Duration>, interval: Duration) -> Duration {
    max_age.unwrap_or(DEFAULT_AGE).min(MAX_AGE).max(interval)
}
