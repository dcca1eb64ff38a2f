//! What this node's chain holds of each key's signatures: records, checkpoints, settlements and alarms, counted as they come.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use crate::custody::ledger::Line;
use signet_core::audit::Reason;
use signet_core::keys::{HsmName, SignedKind};
use signet_jose::KeyId;
use signet_jose::clock::Timestamp;
use signet_store::audit_log::head_of;
use signet_store::{KeyMention, Store, StoreError};

/// What is reconciled. Test signatures are not: their payload can be mistaken for nothing.
pub(crate) const KINDS: [SignedKind; 4] =
    [SignedKind::Token, SignedKind::Checkpoint, SignedKind::Report, SignedKind::Backup];

/// Records that are counted by one statement, so that none takes long.
const CHUNK: i64 = 50_000;

/// A checkpoint over an earlier record may be kept after one over a later record, but not so long after.
const CHECKPOINT_STABLE: Duration = Duration::from_secs(300);

/// What the store holds of each key and kind, counted up to a place.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    after: i64,
    lines: BTreeMap<Line, Counts>,
    pub(crate) has_begun: bool,
    checkpoints: Checkpoints,
    /// What of [`KeyAdmin::asked_again`](signet_core::keys::KeyAdmin::asked_again) is settled.
    pub(crate) asked_again: BTreeMap<HsmName, u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
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

impl Recorded {
    /// Counts what was written since the last call, and returns the counts as of now.
    pub(crate) async fn count(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<BTreeMap<Line, Counts>, StoreError> {
        let head = head_of(&store.heads().await?, store.node()).sequence;
        while self.after < head {
            let up_to = head.min(self.after.saturating_add(CHUNK));
            for mention in store.key_mentions(self.after, up_to).await? {
                self.add(&mention);
            }
            self.after = up_to;
        }
        let mut lines = self.lines.clone();
        for (header, count) in self.checkpoints.count(store, now).await? {
            // A checkpoint that was tampered with names nobody: `signet audit verify` finds it.
            if let Some(key) = named_key(&header) {
                lines.entry((key, SignedKind::Checkpoint)).or_default().records += count;
            }
        }
        Ok(lines)
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
