//! Whether tokens can be issued now, by a real recent signature, the store and the audit log; and whether they can be
//! verified, which needs none of these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use crate::hsm_membership::intake::EnvelopeIntake;
use crate::key_ring::trials::Trials;
use crate::{ChangeError, RingKey, Signatures, Snapshot};
use signet_core::keys::{HsmError, HsmFailure, HsmName, TokenHealth};
use signet_jose::clock::Timestamp;

/// How old the last good signature may be.
const RECENT: Duration = Duration::from_secs(15);
/// How old it gets before a test signature is made.
const TEST_AFTER: Duration = Duration::from_secs(5);

/// How many checkpoints in a row an HSM token may be too busy for before that is a fault: the next one covers what they
/// would have.
const TOO_BUSY_FOR: u32 = 5;

/// How long a report is given again before the state is looked at anew: anybody may ask for it.
const REPORT_KEPT: Duration = Duration::from_secs(1);

/// How the last checkpoints ended.
#[derive(Default)]
struct Checkpoints {
    is_faulty: bool,
    /// How many in a row the HSM tokens were too busy for.
    turned_away: u32,
}

/// What readiness is known by. Its times are monotonic: a clock that is set back makes nothing look recent.
#[derive(Default)]
pub(crate) struct ReadinessState {
    signed: Mutex<BTreeMap<HsmName, Instant>>,
    checkpoints: Mutex<Checkpoints>,
}

impl ReadinessState {
    /// Remembers a signature that verified.
    pub(crate) fn signed(&self, hsm: &HsmName) {
        let (mut signed, now) = (self.signed.lock(), Instant::now());
        match signed.get_mut(hsm) {
            Some(last) => *last = now,
            None => {
                signed.insert(hsm.clone(), now);
            }
        }
    }

    /// Remembers how the last checkpoint ended.
    pub(crate) fn checkpointed(&self, fault: Option<&ChangeError>) {
        let mut checkpoints = self.checkpoints.lock();
        let is_busy = matches!(fault, Some(ChangeError::Hsm(HsmError { failure: HsmFailure::Overloaded, .. })));
        checkpoints.turned_away = if is_busy { checkpoints.turned_away.saturating_add(1) } else { 0 };
        if !is_busy || checkpoints.turned_away >= TOO_BUSY_FOR {
            checkpoints.is_faulty = fault.is_some();
        }
    }

    fn since_signature(&self, hsm: &HsmName) -> Option<Duration> {
        self.signed.lock().get(hsm).map(Instant::elapsed)
    }

    fn audit(&self) -> String {
        let is_faulty = self.checkpoints.lock().is_faulty;
        if is_faulty { "no checkpoint can be signed or kept" } else { "ok" }.to_owned()
    }
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, Serialize)]
pub struct ReadinessReport {
    /// Whether tokens can be issued: the same as `issuance.ready`.
    pub ready: bool,
    /// Whether tokens can be issued: an HSM token signs, and the store and the audit log are well.
    pub issuance: Part,
    /// Whether verification material can be served; it needs no HSM.
    pub verification: Part,
    /// Each HSM token, in a word: `ok`, or what is wrong.
    pub hsm: BTreeMap<HsmName, String>,
    /// The store, in a word.
    pub store: String,
    /// This node's clock beside the database's, in a word: tokens and leases of several nodes go by one time.
    pub clock: String,
    /// Whether every secret of the deployment has come to this node's HSM tokens, in words.
    pub secrets: String,
    /// The audit log, in a word: records are written with the store, so this tells of its checkpoints.
    pub audit: String,
}

/// One of the two things that a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Whether it can be had now.
    pub ready: bool,
}

module! {
    /// Says whether tokens can be issued and verified.
    pub struct Readiness {
        takes clock, directory, key_admin, hsm_health, settings, membership;
        calls signatures: Signatures, trials: Trials, intake: EnvelopeIntake, state: ReadinessState;
        keeps report: tokio::sync::Mutex<Option<(Instant, ReadinessReport)>>;
    }
}

impl Readiness {
    /// Makes a test signature on each HSM token that has not signed lately. Called every few seconds.
    pub async fn exercise_keys(&self) {
        let Ok(snapshot) = self.directory.fresh().await else { return };
        for hsm in self.key_admin.tokens() {
            let is_recent = self.state.since_signature(&hsm).is_some_and(|since| since < TEST_AFTER);
            let key = snapshot.active(self.settings.current().algorithm).find(|key| key.key.hsm == hsm);
            // A suspended token is tried when its time has come.
            let is_suspended = matches!(self.hsm_health.health(&hsm), TokenHealth::Suspended { .. });
            if let (false, false, Some(key)) = (is_recent, is_suspended, key)
                && let Err(error) = self.signatures.test_key(key).await
            {
                tracing::warn!(%hsm, %error, "the test signature failed");
            }
        }
    }

    /// The state of everything that issuance needs, at most a second old.
    pub async fn readiness(&self) -> ReadinessReport {
        let mut kept = self.report.lock().await;
        if let Some((at, report)) = kept.as_ref()
            && at.elapsed() < REPORT_KEPT
        {
            return report.clone();
        }
        let report = self.examine().await;
        // What is not well is looked at anew each time, so that nobody waits longer than it lasts.
        *kept = report.ready.then(|| (Instant::now(), report.clone()));
        report
    }

    async fn examine(&self) -> ReadinessReport {
        let tokens = self.key_admin.tokens();
        let snapshot = self.directory.at_hand().await.ok();
        let hsm: BTreeMap<HsmName, String> =
            tokens.into_iter().map(|hsm| (hsm.clone(), self.hsm_state(&hsm, snapshot.as_deref()).to_owned())).collect();
        let asked_at = self.clock.now();
        let (store, clock) = match self.membership.probe(asked_at).await {
            Ok(at) => ("ok", clock_word(asked_at, at, self.clock.now())),
            Err(error) => {
                tracing::error!(%error, "the store can't be written");
                ("not available", "not known")
            }
        };
        let secrets = match self.intake.missing().await {
            Ok(0) => "ok".to_owned(),
            Ok(missing) => {
                format!("{missing} are still on their way to this node's HSM token: nobody signs in here until then")
            }
            Err(_) => "not known".to_owned(),
        };
        let audit = self.state.audit();
        // What one HSM token can't sign, another one does.
        let can_sign = hsm.values().any(|state| state == "ok");
        let ready = can_sign && [store, clock, &audit, &secrets].iter().all(|word| *word == "ok");
        let (issuance, verification) = (Part { ready }, Part { ready: snapshot.is_some() });
        let (store, clock) = (store.to_owned(), clock.to_owned());
        ReadinessReport { ready, issuance, verification, hsm, store, clock, secrets, audit }
    }

    fn hsm_state(&self, hsm: &HsmName, snapshot: Option<&Snapshot>) -> &'static str {
        if let Some(word) = self.trials.standing_word(hsm) {
            return word;
        }
        if let Err(error) = self.hsm_health.readiness(hsm) {
            tracing::warn!(%hsm, %error, "an HSM token is not ready");
            return "not available";
        }
        let is_next = |snapshot: &Snapshot| {
            let of_token = |key: &&Arc<RingKey>| key.key.hsm == *hsm;
            !snapshot.active(self.settings.current().algorithm).any(|key| of_token(&key))
                && snapshot.published().any(|key| of_token(&key))
        };
        if snapshot.is_some_and(is_next) {
            // What it signed lately was a checkpoint.
            return "its key does not sign yet";
        }
        match self.state.since_signature(hsm) {
            Some(since) if since < RECENT => "ok",
            Some(_) => "no recent signature",
            None => "no signature yet",
        }
    }
}

/// How far a node's clock and the database's may be apart.
pub const MAX_APART: Duration = Duration::from_secs(5);

/// How far the database's clock is from what this node's showed before and after it was asked: none where it is between.
pub fn apart(before: Timestamp, database: Timestamp, after: Timestamp) -> Duration {
    if database < before { before.since(database) } else { database.since(after) }
}

fn clock_word(before: Timestamp, database: Timestamp, after: Timestamp) -> &'static str {
    let apart = apart(before, database, after);
    if apart <= MAX_APART {
        return "ok";
    }
    tracing::error!(?apart, %database, "this machine's clock and the database's differ: set the one that is wrong");
    "differs from the database's"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_be_five_seconds_apart_and_a_slow_answer_is_no_difference() {
        let at = Timestamp::from_unix_seconds;
        assert_eq!(clock_word(at(100), at(103), at(109)), "ok");
        assert_eq!(clock_word(at(100), at(95), at(100)), "ok");
        assert_eq!(clock_word(at(100), at(114), at(109)), "ok");
        assert_ne!(clock_word(at(100), at(94), at(100)), "ok");
        assert_ne!(clock_word(at(100), at(115), at(109)), "ok");
    }

    fn busy() -> ChangeError {
        HsmError::new("sign", HsmFailure::Overloaded).into()
    }

    fn broken() -> ChangeError {
        HsmError::new("sign", HsmFailure::Unavailable("gone".into())).into()
    }

    #[test]
    fn a_busy_hsm_is_no_fault_of_the_audit_log_until_it_lasts() {
        let readiness = ReadinessState::default();
        for _ in 1..TOO_BUSY_FOR {
            readiness.checkpointed(Some(&busy()));
            assert_eq!(readiness.audit(), "ok");
        }
        readiness.checkpointed(None);
        readiness.checkpointed(Some(&busy()));
        assert_eq!(readiness.audit(), "ok", "one that was signed begins the count anew");
        for _ in 0..TOO_BUSY_FOR {
            readiness.checkpointed(Some(&busy()));
        }
        assert_ne!(readiness.audit(), "ok");
        readiness.checkpointed(None);
        assert_eq!(readiness.audit(), "ok");
    }

    #[test]
    fn a_fault_is_told_at_once_and_is_not_forgotten_for_being_busy() {
        let readiness = ReadinessState::default();
        readiness.checkpointed(Some(&broken()));
        assert_ne!(readiness.audit(), "ok");
        readiness.checkpointed(Some(&busy()));
        assert_ne!(readiness.audit(), "ok");
    }
}
