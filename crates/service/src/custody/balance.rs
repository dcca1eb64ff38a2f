//! Reconciliation: what the HSM workers signed against what has a record. A difference is an alarm: somebody else used
//! a key, or the count was put back.
//!
//! For each key and kind, `signed` is the workers' tally, `recorded` the audit records (of tokens and reports) or the
//! checkpoints that are there, and `explained` what was settled: signatures that were made and got no record, each
//! time with a reason in the audit log. What is left is the difference.
//!
//! # What differs for good reasons
//!
//! - A signature that is under way. It is waited for.
//! - One that was given up: the deadline passed, the worker or its store failed. The [`Ledger`]
//!   knows how many these are at most; how many were signed in fact is seen at rest, and settled.
//! - What the process before this one had in hand, where it was killed: one process at a time is the node, and each says
//!   beforehand how much that is at most ([`Left`]).
//!
//! Settling makes the difference nought again, so that on a system at rest one signature more is seen.
//!
//! # The order of reading
//!
//! Records, then the tally, then the ledger, then the records again. A signature in the tally whose record is not
//! in the second reading was thus open in the ledger, or left by the process before; and a record in the first reading has its
//! signature in the tally.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::custody::comparison::{Comparison, add_tally};
use crate::custody::ledger::Line;
use crate::custody::record_counts::RecordCounts;
use crate::{ChangeError, Ledger};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::keys::{HsmError, HsmName, KeyTally, SignedKind};
use signet_jose::KeyId;
use signet_store::StoreError;

/// How many signatures of each kind a process may have under way, without a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InHand {
    /// Tokens.
    pub tokens: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Custody reports, statements over backups and admissions of nodes.
    pub reports: u64,
}

impl InHand {
    pub(super) const fn of(&self, kind: SignedKind) -> u64 {
        match kind {
            SignedKind::Token => self.tokens,
            SignedKind::Checkpoint => self.checkpoints,
            SignedKind::Report | SignedKind::Backup | SignedKind::Admission => self.reports,
            SignedKind::Test => 0,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            checkpoints: self.checkpoints + other.checkpoints,
            reports: self.reports + other.reports,
        }
    }
}

/// What processes that were this node before left unsettled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// What they may have had in hand when they ended without a word; `None` where each of them ended in order.
    pub in_hand: Option<InHand>,
    /// Whether one of them ended with the machine: what was counted last may be lost then.
    pub power_lost: bool,
}

/// The books of one key and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The key.
    pub kid: String,
    /// What it signed.
    pub signed: SignedKind,
    /// Signatures by the workers' count.
    pub made: u64,
    /// Those that have a record.
    pub recorded: u64,
    /// Those without one that are accounted for, by settlements in the audit log.
    pub explained: i64,
    /// How many more may be under way, or be explained when all is at rest.
    pub open: u64,
    /// What is left: more than `open`, or less than nought, is an alarm.
    pub difference: i64,
    /// Alarms that were raised and that no operator has accepted.
    pub alarm: i64,
}

impl Account {
    /// The part of the difference that nothing explains.
    pub fn unexplained(&self) -> i64 {
        let open = i64::try_from(self.open).unwrap_or(i64::MAX);
        if self.difference < 0 { self.difference } else { (self.difference - open).max(0) }
    }

    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.unexplained() == 0 && self.alarm == 0
    }
}

/// All books.
#[derive(Debug, Clone, Default)]
pub struct Reconciliation {
    /// By key and kind, those in which something was signed.
    pub accounts: Vec<Account>,
    /// What the workers counted, by key.
    pub tallies: BTreeMap<KeyId, KeyTally>,
    /// HSM tokens that could not be asked, and why.
    pub silent: Vec<(HsmName, String)>,
    /// How many audit records were gone through for it.
    pub records_read: u64,
    /// Up to which record the store keeps counts that the audit log contradicts. Only looked for where all is counted anew.
    pub false_counts: Option<i64>,
}

/// What an operator answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// How many signatures.
    pub signatures: i64,
    /// Whether kept counts that were false were dropped.
    pub dropped_counts: bool,
}

module! {
    /// Compares what the HSM tokens signed with what was recorded.
    pub struct SignatureAccounts {
        takes clock, key_admin, settings, audit, keys, store;
        calls ledger: Ledger;
        keeps recorded: tokio::sync::Mutex<RecordCounts>, left: parking_lot::Mutex<Left>;
    }
}

impl SignatureAccounts {
    /// Takes over what processes before this one left; it counts until it is settled.
    pub fn inherit(&self, left: Left) {
        *self.left.lock() = left;
    }

    /// Whether something that others left is not settled yet.
    pub fn has_inherited(&self) -> bool {
        self.left.lock().in_hand.is_some()
    }

    /// Compares without writing anything. All is counted from the first record, whatever is kept.
    /// Errors: [`ChangeError`] where the store can't be read. A token that does not answer is named instead.
    pub async fn accounts(&self) -> Result<Reconciliation, ChangeError> {
        let comparison = self.compare_anew().await?;
        let false_counts = RecordCounts::false_counts(self.store.as_ref()).await?;
        Ok(Reconciliation { false_counts, ..comparison.into_reconciliation() })
    }

    /// Compares, writes differences to the log and the audit log, and settles what is explained where all is at rest. Counts on
    /// from what is kept, and keeps what is counted now and then.
    /// `settled_after`: no signature that was given up longer ago can still be made.
    /// Errors: [`ChangeError`] where the store can't be read. A token that does not answer is named instead.
    pub async fn reconcile(&self, settled_after: Duration) -> Result<Reconciliation, ChangeError> {
        let comparison = {
            let mut recorded = self.recorded.lock().await;
            recorded.go_on_from_kept(self.store.as_ref()).await?;
            let comparison = self.compare(&mut recorded, settled_after).await?;
            recorded.keep(self.store.as_ref(), false).await?;
            comparison
        };
        let told = self.judge(&comparison);
        if !told.is_empty() {
            self.audit.append(told).await?;
        }
        if comparison.is_at_rest && comparison.silent.is_empty() {
            self.close_books(&comparison).await;
        }
        Ok(comparison.into_reconciliation())
    }

    /// Keeps what was counted, so that the next start reads only what came since.
    /// Errors: [`ChangeError`] where the store can't be read or written.
    pub async fn keep_counts(&self) -> Result<(), ChangeError> {
        let mut recorded = self.recorded.lock().await;
        if recorded.is_in_use() {
            recorded.count(self.store.as_ref(), self.clock.now()).await?;
            recorded.keep(self.store.as_ref(), true).await?;
        }
        Ok(())
    }

    /// What was given up is explained now: from here on the books are exact.
    async fn close_books(&self, comparison: &Comparison) {
        let settled = &mut self.recorded.lock().await.asked_again;
        let is_more = |(hsm, count): (&HsmName, &u64)| *count > settled.get(hsm).copied().unwrap_or(0);
        let has_again = comparison.asked_again.iter().any(is_more);
        if comparison.page.has_losses() || has_again || comparison.left.in_hand.is_some() {
            tracing::info!("signatures that were given up or had an unclean end are settled; the books balance");
        }
        self.ledger.forget(&comparison.page);
        settled.clone_from(&comparison.asked_again);
        *self.left.lock() = Left::default();
    }

    /// Explains one signature that was made and has no use, such as a checkpoint that another process was faster with.
    pub(crate) async fn settle_one(&self, key: &KeyId, kind: SignedKind, reason: Reason) -> Result<(), StoreError> {
        let line = (key.clone(), kind);
        self.audit.append(vec![self.draft_settled(&line, 1, reason)]).await.map(drop)
    }

    /// Accepts the alarms of a key, or of all: a person has looked, and says why it is well. Kept counts that
    /// are false are dropped, where all keys are meant: they are counted anew then.
    /// Errors: [`ChangeError`] where the store can't be read or written, or an HSM token does not answer.
    pub async fn accept_differences(
        &self,
        key: Option<&str>,
        why: &str,
        context: &RequestContext,
    ) -> Result<Accepted, ChangeError> {
        let comparison = self.compare_anew().await?;
        if let Some((hsm, error)) = comparison.silent.first() {
            return Err(ChangeError::Conflict(format!("HSM token {hsm} does not say what it signed: {error}")));
        }
        let is_meant = |account: &&Account| account.alarm != 0 && key.is_none_or(|key| account.kid == key);
        let (mut drafts, mut accepted) = (Vec::new(), 0);
        for account in comparison.accounts.iter().filter(is_meant) {
            let line = (KeyId::new(account.kid.as_str()), account.signed);
            // What an alarm was about and is still there; what came since is for the next alarm.
            let still = account.difference.clamp(account.alarm.min(0), account.alarm.max(0));
            let settlements = [(still, Reason::Operator), (account.alarm, Reason::AlarmAccepted)];
            drafts.extend(settlements.into_iter().filter(|(count, _)| *count != 0).map(|(count, reason)| {
                let mut draft = self.draft_settled(&line, count, reason).detail(why);
                draft.context = context.clone();
                draft
            }));
            accepted += account.alarm.abs();
        }
        if !drafts.is_empty() {
            self.audit.append(drafts).await?;
        }
        let are_false = key.is_none() && RecordCounts::false_counts(self.store.as_ref()).await?.is_some();
        let dropped_counts = are_false && {
            let tenant = self.settings.tenant.as_str();
            let draft = AuditEvent::new(Event::CustodyRecounted, Outcome::Done, tenant, context).detail(why);
            self.store.forget_counts(vec![draft]).await?
        };
        Ok(Accepted { signatures: accepted, dropped_counts })
    }

    async fn compare_anew(&self) -> Result<Comparison, ChangeError> {
        let asked_again = self.recorded.lock().await.asked_again.clone();
        self.compare(&mut RecordCounts::anew(asked_again), Duration::ZERO).await
    }

    async fn compare(&self, recorded: &mut RecordCounts, settled_after: Duration) -> Result<Comparison, ChangeError> {
        let read_before = recorded.read;
        // The first counting may take long; the comparison is short.
        recorded.count(self.store.as_ref(), self.clock.now()).await?;
        let keys = self.keys.keys().await?;
        let page_before = self.ledger.page();
        let before = recorded.count(self.store.as_ref(), self.clock.now()).await?;
        let (tallies, silent) = self.tallies().await;
        let asked_again: BTreeMap<HsmName, u64> =
            self.key_admin.tokens().into_iter().map(|hsm| (hsm.clone(), self.key_admin.asked_again(&hsm))).collect();
        let page = self.ledger.page();
        let left = *self.left.lock();
        let after = recorded.count(self.store.as_ref(), self.clock.now()).await?;
        let is_at_rest = page.is_same_as(&page_before) && page.is_at_rest(settled_after);
        let mut comparison = Comparison {
            accounts: Vec::new(),
            settleable: Vec::new(),
            is_at_rest,
            page,
            left,
            asked_again,
            tallies,
            silent,
            has_begun: recorded.has_begun,
            records_read: recorded.read - read_before,
        };
        for line in comparison.lines(&keys, &after) {
            let again = comparison.again(&line, &keys, &recorded.asked_again);
            comparison.add(&line, &before, &after, again);
        }
        Ok(comparison)
    }

    /// What the workers of each token counted.
    async fn tallies(&self) -> (BTreeMap<KeyId, KeyTally>, Vec<(HsmName, String)>) {
        let (mut sums, mut silent) = (BTreeMap::<KeyId, KeyTally>::new(), Vec::new());
        for hsm in self.key_admin.tokens() {
            let tallies: Result<Vec<KeyTally>, HsmError> = self.key_admin.tally(&hsm).await;
            match tallies {
                Ok(tallies) => tallies.into_iter().for_each(|tally| add_tally(&mut sums, &tally)),
                Err(error) => silent.push((hsm, error.to_string())),
            }
        }
        (sums, silent)
    }

    /// The records that a comparison calls for.
    fn judge(&self, comparison: &Comparison) -> Vec<AuditEvent> {
        let mut told = Vec::new();
        if !comparison.has_begun && !comparison.is_at_rest {
            return told;
        }
        if !comparison.has_begun {
            let tenant = self.settings.tenant.as_str();
            told.push(AuditEvent::new(Event::CustodyBegun, Outcome::Done, tenant, &RequestContext::default()));
        }
        for (account, settleable) in comparison.accounts.iter().zip(&comparison.settleable) {
            let line = (KeyId::new(account.kid.as_str()), account.signed);
            let settled = comparison.settled(account, *settleable);
            if let Some((count, reason)) = settled {
                told.push(self.draft_settled(&line, count, reason));
            }
            let unexplained = if comparison.is_excused(account) { 0 } else { account.unexplained() };
            // What is told of already is not told again.
            let is_more =
                (unexplained > 0 && unexplained > account.alarm) || (unexplained < 0 && unexplained < account.alarm);
            if is_more {
                told.push(self.draft_difference(account, &line, unexplained - account.alarm));
            }
        }
        told
    }

    fn draft_settled(&self, line: &Line, signatures: i64, reason: Reason) -> AuditEvent {
        let tenant = self.settings.tenant.as_str();
        let draft = AuditEvent::new(Event::CustodySettled, Outcome::Done, tenant, &RequestContext::default());
        about(draft.because(reason), line, signatures)
    }

    fn draft_difference(&self, account: &Account, line: &Line, signatures: i64) -> AuditEvent {
        tracing::error!(
            key = %line.0, signed = line.1.name(), made = account.made, recorded = account.recorded,
            explained = account.explained, difference = account.difference,
            "ALARM: the HSM's signatures and the records differ; somebody else used the key, or a count was put back"
        );
        let reason = if signatures > 0 { Reason::SignaturesWithoutRecord } else { Reason::CountBehindRecords };
        let tenant = self.settings.tenant.as_str();
        let draft = AuditEvent::new(Event::CustodyDifference, Outcome::Failed, tenant, &RequestContext::default());
        about(draft.because(reason), line, signatures)
    }
}

fn about(mut draft: AuditEvent, line: &Line, signatures: i64) -> AuditEvent {
    draft.key = Some(line.0.to_string());
    draft.signed = Some(line.1.name().to_owned());
    draft.signatures = Some(signatures);
    draft
}
