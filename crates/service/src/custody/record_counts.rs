//! What this node's chain holds of each key's signatures: records, checkpoints, settlements and alarms, counted as they come.
//!
//! What was counted is kept in the store now and then, up to a record, so that a start goes on from there. Whoever writes the
//! store can write that too: `signet custody` counts from the first record, and tells of kept counts that say something else.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::custody::ledger::Line;
use signet_core::audit::{Head, Reason};
use signet_core::keys::{HsmName, SignedKind};
use signet_jose::KeyId;
use signet_jose::clock::Timestamp;
use signet_store::audit_log::head_of;
use signet_store::{KeptCounts, KeyMention, Store, StoreError, StoreFailure};

/// What is reconciled. Test signatures are not: their payload can be mistaken for nothing.
pub(crate) const KINDS: [SignedKind; 5] =
    [SignedKind::Token, SignedKind::Checkpoint, SignedKind::Report, SignedKind::Backup, SignedKind::Admission];

/// Records that are counted by one statement, so that none takes long.
const CHUNK: i64 = 50_000;

/// A checkpoint over an earlier record may be kept after one over a later record, but not so long after.
const CHECKPOINT_STABLE: Duration = Duration::from_secs(300);

/// How often counts are kept.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// After how many records they are kept sooner.
const KEEP_AFTER: i64 = 10_000;

/// What the store holds of each key and kind, counted up to a place.
#[derive(Debug, Default)]
pub(crate) struct RecordCounts {
    up_to: Head,
    lines: BTreeMap<Line, Counts>,
    pub(crate) has_begun: bool,
    checkpoints: Checkpoints,
    /// How many records were gone through.
    pub(crate) read: u64,
    /// What is kept, as this process read or wrote it; `None` before it was looked for.
    kept: Option<Option<KeptCounts>>,
    kept_at: Option<Instant>,
    /// What of [`KeyAdmin::asked_again`](signet_core::keys::KeyAdmin::asked_again) is settled.
    pub(crate) asked_again: BTreeMap<HsmName, u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) settled: i64,
    pub(crate) alarmed: i64,
    pub(crate) accepted: i64,
}

/// Checkpoints by their header: counted once up to a place behind which none is added any more, and anew beyond it.
#[derive(Debug, Default)]
struct Checkpoints {
    stable: BTreeMap<String, u64>,
    stable_to: i64,
    advanced: Option<Instant>,
}

impl RecordCounts {
    /// Nothing counted yet, but this much settled.
    pub(crate) fn anew(asked_again: BTreeMap<HsmName, u64>) -> Self {
        Self { asked_again, ..Self::default() }
    }

    /// Counts what was written since the last call, and returns the counts as of now.
    pub(crate) async fn count(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<BTreeMap<Line, Counts>, StoreError> {
        let head = head_of(&store.heads().await?, store.node());
        self.count_to(store, head).await?;
        let mut lines = self.lines.clone();
        for (header, count) in self.checkpoints.count(store, now).await? {
            // A checkpoint that was tampered with names nobody: `signet audit verify` finds it.
            if let Some(key) = named_key(&header) {
                lines.entry((key, SignedKind::Checkpoint)).or_default().records += count;
            }
        }
        Ok(lines)
    }

    async fn count_to(&mut self, store: &dyn Store, head: Head) -> Result<(), StoreError> {
        let mut after = self.up_to.sequence;
        while after < head.sequence {
            let up_to = head.sequence.min(after.saturating_add(CHUNK));
            for mention in store.key_mentions(after, up_to).await? {
                self.add(&mention);
            }
            self.read += up_to.abs_diff(after);
            // Its hash is known where the counting ends; until then nothing is kept.
            after = up_to;
            self.up_to = Head { sequence: up_to, ..head };
        }
        Ok(())
    }

    /// What is kept, as far as the chain goes through the record that it ends at.
    async fn found(store: &dyn Store, kept: Option<&KeptCounts>) -> Result<Option<Head>, StoreError> {
        let Some(kept) = kept else { return Ok(None) };
        let records = store.records(store.node(), kept.up_to.sequence, 1).await?;
        let is_there = records.iter().any(|it| (it.sequence, it.hash) == (kept.up_to.sequence, kept.up_to.hash));
        Ok(is_there.then_some(kept.up_to))
    }

    /// Before the first counting: takes over what is kept.
    pub(crate) async fn go_on_from_kept(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        if self.kept.is_some() {
            return Ok(());
        }
        let kept = store.kept_counts().await?;
        let counted = kept.as_ref().and_then(|kept| serde_json::from_str::<Kept>(&kept.counts).ok());
        match (Self::found(store, kept.as_ref()).await?, counted) {
            (Some(up_to), Some(counted)) => {
                self.up_to = up_to;
                self.lines = counted.lines();
                self.has_begun = counted.has_begun;
                self.checkpoints.stable_to = counted.checkpoints_to;
                self.checkpoints.stable = counted.checkpoints;
            }
            _ if kept.is_some() => {
                tracing::warn!("the kept counts of records belong to another audit chain: all are counted anew");
            }
            _ => {}
        }
        self.kept = Some(kept);
        self.kept_at = Some(Instant::now());
        Ok(())
    }

    /// Whether this process counts on from what is kept.
    pub(crate) const fn is_in_use(&self) -> bool {
        self.kept.is_some()
    }

    /// Keeps what is counted, where it is time to, or at once.
    pub(crate) async fn keep(&mut self, store: &dyn Store, at_once: bool) -> Result<(), StoreError> {
        let Some(known) = &self.kept else { return Ok(()) };
        let since = self.up_to.sequence - known.as_ref().map_or(0, |kept| kept.up_to.sequence);
        let is_time = self.kept_at.is_none_or(|at| at.elapsed() >= KEEP_EVERY) || since >= KEEP_AFTER;
        if since <= 0 || !(at_once || is_time) {
            return Ok(());
        }
        let counts = KeptCounts { up_to: self.up_to, counts: Kept::of(self).text()? };
        if store.keep_counts(known.as_ref(), &counts).await? {
            (self.kept, self.kept_at) = (Some(Some(counts)), Some(Instant::now()));
            return Ok(());
        }
        tracing::warn!("the kept counts of records were changed by somebody else: all are counted anew");
        let asked_again = std::mem::take(&mut self.asked_again);
        *self = Self { kept: Some(store.kept_counts().await?), ..Self::anew(asked_again) };
        Ok(())
    }

    /// Up to which record the store keeps counts that are not what its chain says; `None` where they are, or there are none.
    /// All is counted from the first record.
    pub(crate) async fn false_counts(store: &dyn Store) -> Result<Option<i64>, StoreError> {
        let kept = store.kept_counts().await?;
        let Some(up_to) = Self::found(store, kept.as_ref()).await? else { return Ok(None) };
        let Some(kept) = kept.and_then(|kept| serde_json::from_str::<Kept>(&kept.counts).ok()) else {
            return Ok(Some(up_to.sequence));
        };
        let mut anew = Self::default();
        anew.count_to(store, up_to).await?;
        anew.checkpoints.count_to(store, kept.checkpoints_to).await?;
        Ok((Kept::of(&anew) != kept).then_some(up_to.sequence))
    }

    fn add(&mut self, mention: &KeyMention) {
        let key = || KeyId::new(mention.key.as_str());
        let kind = mention.signed.as_deref().and_then(|name| KINDS.into_iter().find(|kind| kind.name() == name));
        match (mention.event.as_str(), kind) {
            ("token.issued" | "token.refreshed" | "token.refresh_retried", _) => {
                self.lines.entry((key(), SignedKind::Token)).or_default().records += mention.records;
            }
            ("custody.report", _) => {
                self.lines.entry((key(), SignedKind::Report)).or_default().records += mention.records;
            }
            ("store.backed_up", _) => {
                self.lines.entry((key(), SignedKind::Backup)).or_default().records += mention.records;
            }
            ("node.admitted", _) => {
                self.lines.entry((key(), SignedKind::Admission)).or_default().records += mention.records;
            }
            ("custody.settled", Some(kind)) => {
                let counts = self.lines.entry((key(), kind)).or_default();
                // What answers an alarm settles nothing.
                if mention.reason.as_deref() == Some(Reason::AlarmAccepted.name()) {
                    counts.accepted += mention.signatures;
                } else {
                    counts.settled += mention.signatures;
                }
            }
            ("custody.difference", Some(kind)) => {
                self.lines.entry((key(), kind)).or_default().alarmed += mention.signatures;
            }
            ("custody.begun", _) => self.has_begun = true,
            _ => {}
        }
    }
}

/// Counts as they are kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// By key and the name of the kind.
    keys: BTreeMap<String, BTreeMap<String, Counts>>,
    has_begun: bool,
    /// Up to which record checkpoints are counted.
    checkpoints_to: i64,
    /// By their header.
    checkpoints: BTreeMap<String, u64>,
}

impl Kept {
    fn of(recorded: &RecordCounts) -> Self {
        let mut keys = BTreeMap::<String, BTreeMap<String, Counts>>::new();
        for ((key, kind), counts) in &recorded.lines {
            keys.entry(key.to_string()).or_default().insert(kind.name().to_owned(), *counts);
        }
        Self {
            keys,
            has_begun: recorded.has_begun,
            checkpoints_to: recorded.checkpoints.stable_to,
            checkpoints: recorded.checkpoints.stable.clone(),
        }
    }

    fn lines(&self) -> BTreeMap<Line, Counts> {
        let line = |key: &str, name: &str| {
            KINDS.into_iter().find(|kind| kind.name() == name).map(|kind| (KeyId::new(key), kind))
        };
        let of_key = |(key, kinds): (&String, &BTreeMap<String, Counts>)| {
            kinds.iter().filter_map(|(kind, counts)| Some((line(key, kind)?, *counts))).collect::<Vec<_>>()
        };
        self.keys.iter().flat_map(of_key).collect()
    }

    fn text(&self) -> Result<String, StoreError> {
        let failed = |_| StoreFailure::Corrupt("counts of records").during("keep the counts of records");
        serde_json::to_string(self).map_err(failed)
    }
}

/// The `kid` of an encoded JWS header.
fn named_key(header: &str) -> Option<KeyId> {
    let header: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    Some(KeyId::new(header.get("kid")?.as_str()?))
}

impl Checkpoints {
    async fn count(&mut self, store: &dyn Store, now: Timestamp) -> Result<BTreeMap<String, u64>, StoreError> {
        if self.advanced.is_none_or(|advanced| advanced.elapsed() >= CHECKPOINT_STABLE) {
            self.advance(store, now.minus(CHECKPOINT_STABLE)).await?;
            self.advanced = Some(Instant::now());
        }
        let mut counts = self.stable.clone();
        for (header, count) in store.checkpoint_headers(self.stable_to, i64::MAX).await? {
            *counts.entry(header).or_default() += count;
        }
        Ok(counts)
    }

    /// Counts those that are older than `until` for good.
    async fn advance(&mut self, store: &dyn Store, until: Timestamp) -> Result<(), StoreError> {
        let mut high = store.last_checkpoint(store.node()).await?.map_or(0, |last| last.sequence);
        let mut low = self.stable_to;
        while low < high {
            let middle = low + (high - low + 1) / 2;
            match store.checkpoints(store.node(), middle, 1).await?.first() {
                Some(found) if found.at <= until => low = found.sequence.clamp(middle, high),
                _ => high = middle - 1,
            }
        }
        self.count_to(store, low).await
    }

    async fn count_to(&mut self, store: &dyn Store, low: i64) -> Result<(), StoreError> {
        while self.stable_to < low {
            let up_to = low.min(self.stable_to.saturating_add(CHUNK));
            for (header, count) in store.checkpoint_headers(self.stable_to, up_to).await? {
                *self.stable.entry(header).or_default() += count;
            }
            self.stable_to = up_to;
        }
        Ok(())
    }
}
