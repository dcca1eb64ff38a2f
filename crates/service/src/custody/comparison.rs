//! One comparison of what the HSM workers signed with what has a record: what is different, and what explains that.

use std::collections::{BTreeMap, BTreeSet};

use crate::custody::balance::{Account, Left, Reconciliation};
use crate::custody::ledger::{Line, Page};
use crate::custody::record_counts::{Counts, KINDS};
use signet_core::audit::Reason;
use signet_core::keys::{HsmKey, HsmName, KeyTally, SignedKind};
use signet_jose::KeyId;

/// One comparison, before anything is written of it.
pub(super) struct Comparison {
    pub(super) accounts: Vec<Account>,
    /// Of each account, how much `open` holds that was given up or left by others, and can be settled.
    pub(super) settleable: Vec<u64>,
    pub(super) is_at_rest: bool,
    pub(super) page: Page,
    pub(super) left: Left,
    pub(super) asked_again: BTreeMap<HsmName, u64>,
    pub(super) tallies: BTreeMap<KeyId, KeyTally>,
    pub(super) silent: Vec<(HsmName, String)>,
    pub(super) has_begun: bool,
    pub(super) records_read: u64,
}

impl Comparison {
    /// The keys and kinds to compare: those of tokens that answered, and all that a worker signed with.
    pub(super) fn lines(&self, keys: &[HsmKey], recorded: &BTreeMap<Line, Counts>) -> BTreeSet<Line> {
        let is_silent = |key: &KeyId| {
            let hsm = keys.iter().find(|known| known.key_id == *key).map(|known| &known.hsm);
            hsm.is_none_or(|hsm| !self.asked_again.contains_key(hsm) || self.silent.iter().any(|(it, _)| it == hsm))
        };
        let known = recorded.keys().filter(|line| !is_silent(&line.0)).cloned();
        let counted = self.tallies.values().flat_map(|tally| {
            KINDS.into_iter().filter(|kind| tally.signed(*kind) > 0).map(|kind| (tally.key_id.clone(), kind))
        });
        known.chain(counted).filter(|line| KINDS.contains(&line.1)).collect()
    }

    /// Signatures of the key's token that were asked of a second worker and are not settled.
    pub(super) fn again(&self, line: &Line, keys: &[HsmKey], settled: &BTreeMap<HsmName, u64>) -> u64 {
        let Some(key) = keys.iter().find(|key| key.key_id == line.0) else { return 0 };
        let now = self.asked_again.get(&key.hsm).copied().unwrap_or(0);
        now.saturating_sub(settled.get(&key.hsm).copied().unwrap_or(0))
    }

    pub(super) fn add(
        &mut self,
        line: &Line,
        before: &BTreeMap<Line, Counts>,
        after: &BTreeMap<Line, Counts>,
        again: u64,
    ) {
        let (before, after) =
            (before.get(line).copied().unwrap_or_default(), after.get(line).copied().unwrap_or_default());
        let made = self.tallies.get(&line.0).map_or(0, |tally| tally.signed(line.1));
        let left = |counts: Counts| signed(made).saturating_sub(signed(counts.records)).saturating_sub(counts.settled);
        let inherited = self.left.in_hand.map_or(0, |in_hand| in_hand.of(line.1));
        let settleable = self.page.open(line) + again + inherited;
        // Fewer than were recorded before they were counted: records that came since explain nothing.
        let difference = if left(before) < 0 { left(before) } else { left(after).max(0) };
        self.settleable.push(settleable);
        self.accounts.push(Account {
            kid: line.0.to_string(),
            signed: line.1,
            made,
            recorded: after.records,
            explained: after.settled,
            open: settleable,
            difference,
            alarm: after.alarmed - after.accepted,
        });
    }

    /// Whether the whole of a difference has a good reason: counting begins now, or the machine lost its power, and
    /// with it the last second of the count.
    pub(super) fn is_excused(&self, account: &Account) -> bool {
        !self.has_begun || (account.difference < 0 && self.left.power_lost)
    }

    /// What of a difference is settled now, and why: only at rest, when nothing is under way.
    pub(super) fn settled(&self, account: &Account, settleable: u64) -> Option<(i64, Reason)> {
        if !self.is_at_rest || account.difference == 0 {
            return None;
        }
        if !self.has_begun {
            return Some((account.difference, Reason::Baseline));
        }
        if account.difference < 0 {
            return self.left.power_lost.then_some((account.difference, Reason::PowerLost));
        }
        let count = account.difference.min(signed(settleable));
        let reason = if self.left.in_hand.is_some() { Reason::UncleanEnd } else { Reason::RequestLost };
        (count > 0).then_some((count, reason))
    }

    pub(super) fn into_reconciliation(self) -> Reconciliation {
        Reconciliation {
            accounts: self.accounts,
            tallies: self.tallies,
            silent: self.silent,
            records_read: self.records_read,
            false_counts: None,
        }
    }
}

/// Adds the count of one worker to the sums of a token's.
pub(super) fn add_tally(sums: &mut BTreeMap<KeyId, KeyTally>, tally: &KeyTally) {
    let sum = sums.entry(tally.key_id.clone()).or_insert_with(|| KeyTally::new(tally.key_id.clone()));
    for kind in SignedKind::ALL {
        *sum.signed_mut(kind) += tally.signed(kind);
    }
    sum.refused += tally.refused;
    sum.first_at = [sum.first_at, tally.first_at].into_iter().flatten().min();
    sum.last_at = sum.last_at.max(tally.last_at);
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
