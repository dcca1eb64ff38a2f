//! What this process has had signed and not accounted for yet.
//!
//! A signature is entered before it is asked for, and its entry is closed once its record is durable, or once the worker
//! has said that it did not sign. An entry that is dropped open, because the request was given up, the worker died or
//! the store failed, is *perhaps* a signature without a record: it is explained when the counts are compared at rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use signet_core::keys::SignedKind;
use signet_jose::KeyId;

/// A key with the kind of what it signs.
pub type Line = (KeyId, SignedKind);

/// The entries by key and kind.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    lines: BTreeMap<Line, Open>,
    /// How many entries were ever opened.
    opened: u64,
    last_lost: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Open {
    under_way: u64,
    perhaps: u64,
}

/// One signature that is under way.
#[derive(Debug)]
#[must_use]
pub struct Entry {
    ledger: Arc<Ledger>,
    line: Option<Line>,
}

/// The ledger at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    lines: BTreeMap<Line, Open>,
    opened: u64,
    /// How long ago the last entry was dropped open.
    since_lost: Option<Duration>,
}

impl Ledger {
    /// Enters a signature that is about to be asked for.
    pub fn open(self: &Arc<Self>, key: &KeyId, kind: SignedKind) -> Entry {
        let line = (key.clone(), kind);
        let mut entries = self.lock();
        entries.opened += 1;
        match entries.lines.get_mut(&line) {
            Some(open) => open.under_way += 1,
            None => {
                entries.lines.insert(line.clone(), Open { under_way: 1, perhaps: 0 });
            }
        }
        Entry { ledger: Arc::clone(self), line: Some(line) }
    }

    /// How many signatures perhaps have no record.
    pub fn perhaps(&self) -> u64 {
        self.lock().lines.values().map(|open| open.perhaps + open.under_way).sum()
    }

    pub(crate) fn page(&self) -> Page {
        let entries = self.lock();
        Page {
            lines: entries.lines.clone(),
            opened: entries.opened,
            since_lost: entries.last_lost.map(|lost| lost.elapsed()),
        }
    }

    /// Forgets what a page that was taken at rest held: it is explained.
    pub(crate) fn forget(&self, page: &Page) {
        let mut entries = self.lock();
        for (line, open) in &page.lines {
            if let Some(kept) = entries.lines.get_mut(line) {
                kept.perhaps = kept.perhaps.saturating_sub(open.perhaps);
            }
        }
    }

    fn end(&self, line: &Line, is_closed: bool) {
        let mut entries = self.lock();
        if !is_closed {
            entries.last_lost = Some(Instant::now());
        }
        if let Some(open) = entries.lines.get_mut(line) {
            open.under_way = open.under_way.saturating_sub(1);
            open.perhaps += u64::from(!is_closed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock()
    }
}

impl Entry {
    /// The signature has its record, or was certainly not made.
    pub fn close(mut self) {
        if let Some(line) = self.line.take() {
            self.ledger.end(&line, true);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.ledger.end(&line, false);
        }
    }
}

impl Page {
    /// How many signatures of this line have no record yet, at the most.
    pub(crate) fn open(&self, line: &Line) -> u64 {
        self.lines.get(line).map_or(0, |open| open.under_way + open.perhaps)
    }

    /// Whether nothing is under way, and nothing that was given up can still be signed.
    pub(crate) fn is_at_rest(&self, settled_after: Duration) -> bool {
        let is_idle = self.lines.values().all(|open| open.under_way == 0);
        is_idle && self.since_lost.is_none_or(|since| since >= settled_after)
    }

    /// Whether any signature is perhaps without a record.
    pub(crate) fn has_losses(&self) -> bool {
        self.lines.values().any(|open| open.perhaps > 0)
    }

    /// Whether nothing was entered between the two.
    pub(crate) const fn is_same_as(&self, other: &Self) -> bool {
        self.opened == other.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_entry_that_is_dropped_open_is_a_loss() {
        let ledger = Arc::new(Ledger::default());
        let line = (KeyId::new("k"), SignedKind::Token);
        let (closed, lost) = (ledger.open(&line.0, line.1), ledger.open(&line.0, line.1));
        assert_eq!(ledger.page().open(&line), 2);
        assert!(!ledger.page().is_at_rest(Duration::ZERO));
        closed.close();
        drop(lost);
        let page = ledger.page();
        assert_eq!(page.open(&line), 1);
        assert!(page.is_at_rest(Duration::ZERO) && !page.is_at_rest(Duration::from_secs(60)));
        ledger.forget(&page);
        assert_eq!((ledger.perhaps(), ledger.page().open(&line)), (0, 0));
    }
}
