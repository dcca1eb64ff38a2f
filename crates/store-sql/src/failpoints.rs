//! Places where a test has the process end, as `kill -9` ends it. A program that is built to be used has none: the feature
//! `failpoints` is asked for by tests alone.

/// A place in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// It has begun, and its node's row is locked.
    Begun,
    /// All is written, and nothing is durable.
    BeforeCommit,
    /// It is durable, and nobody was answered.
    Committed,
}

/// Ends the process where `SIGNET_FAILPOINT` names this place and how many times it is to be reached: `before_commit:25`.
#[cfg(feature = "failpoints")]
pub(super) fn reach(point: Point) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static LEFT: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let order = std::env::var("SIGNET_FAILPOINT").ok()?;
        let (name, times) = order.split_once(':')?;
        Some((name.to_owned(), AtomicU64::new(times.parse().ok()?)))
    });
    let Some((name, left)) = &*LEFT else { return };
    let reached = match point {
        Point::Begun => "begun",
        Point::BeforeCommit => "before_commit",
        Point::Committed => "committed",
    };
    if name == reached && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // It does not return where it works, and there is nothing to do where it does not.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(feature = "failpoints"))]
pub(super) const fn reach(_: Point) {}
