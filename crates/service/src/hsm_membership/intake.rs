//! What comes to the HSM tokens that this node reaches: envelopes are opened in the background as they come, and never first in a
//! sign-in, whose time would tell a known name. Until nothing that was there before is missing, nobody signs in here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::rows::row_of_secret;
use crate::{ChangeError, Members, Unavailable};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::keys::{Envelope, HsmError, HsmFailure, HsmKey, HsmName, KeyPurpose, TenantId, TokenHealth};
use signet_store::{StoreError, WaitingEnvelope};

/// How often the log is told what is in the way.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Envelopes, or secrets, that are read at once.
const PAGE: u32 = 100;

/// What this process knows of its intake.
#[derive(Default)]
pub(crate) struct IntakeState {
    /// Nothing is missing any more, and what is new comes as it is made.
    is_complete: AtomicBool,
    /// Something was missing, and the log is to be told when nothing is any more.
    has_waited: AtomicBool,
    /// When the log was told last what is in the way.
    told_at: Mutex<Option<Instant>>,
    /// The generations of secrets and members by which no envelope waited.
    looked_at: Mutex<Option<(i64, i64)>>,
}

module! {
    /// Opens envelopes, and says whether all secrets have come.
    pub struct EnvelopeIntake {
        takes clock, key_admin, hsm_health, vault, audit, keys, membership, secrets_at_rest, envelopes, transports;
        calls members: Members;
        keeps state: IntakeState;
    }
}

/// What became of an envelope.
enum Taken {
    /// There is a seal in its place, or another envelope.
    Sealed,
    /// It is none that this deployment wrote, or of no row.
    Refused(&'static str),
}

impl EnvelopeIntake {
    /// Takes what waits, and says in the log, once a minute, what is missing or in the way. Called several times a second.
    pub async fn take_or_tell(&self) {
        let taken = self.take_waiting().await;
        let missing = self.missing().await;
        let told = match (&taken, &missing) {
            (Ok(()), Ok(0)) => None,
            (Err(error), _) => Some(format!("envelopes for this node's HSM token wait: {error}")),
            (_, Err(error)) => Some(format!("what is missing for this node's HSM token is not known: {error}")),
            (_, Ok(missing)) => Some(format!(
                "{missing} secrets have not come to this node's HSM token yet: sign-ins are answered 503 until they have"
            )),
        };
        let mut told_at = self.state.told_at.lock();
        let is_due = told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        if let Some(told) = told.filter(|_| is_due) {
            *told_at = Some(Instant::now());
            tracing::warn!("{told}");
        }
    }

    /// Opens the envelopes that wait, where anything was changed since none did.
    /// Errors: [`ChangeError`] where store, HSM token or the deployment's secret is not at hand: what waits is taken the next time.
    pub async fn take_waiting(&self) -> Result<(), ChangeError> {
        let generations = self.membership.generations(&TenantId::default_tenant()).await?;
        let now = (generations.secrets, generations.members);
        if *self.state.looked_at.lock() == Some(now) {
            return Ok(());
        }
        let live = self.members.live_members().await?;
        let keys = self.keys.keys().await?;
        let mut is_done = true;
        for hsm in self.key_admin.tokens().into_iter().filter(|hsm| live.contains(hsm)) {
            let is_its =
                |key: &&HsmKey| key.hsm == hsm && key.purpose == KeyPurpose::Transport && key.state.is_published();
            let transports: Vec<&HsmKey> = keys.iter().filter(is_its).collect();
            if transports.is_empty() {
                continue;
            }
            if self.hsm_health.health(&hsm) == TokenHealth::Serving {
                self.take_of(&hsm, &transports).await?;
            } else {
                is_done = false;
            }
        }
        if is_done {
            *self.state.looked_at.lock() = Some(now);
        }
        Ok(())
    }

    async fn take_of(&self, hsm: &HsmName, transports: &[&HsmKey]) -> Result<(), ChangeError> {
        let mut after = None;
        loop {
            let page = self.envelopes.waiting_envelopes(hsm, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.at.clone());
            for waiting in &page {
                if let Taken::Refused(why) = self.take(hsm, transports, waiting).await? {
                    self.refuse(hsm, waiting, why).await?;
                }
            }
        }
    }

    async fn take(
        &self,
        hsm: &HsmName,
        transports: &[&HsmKey],
        waiting: &WaitingEnvelope,
    ) -> Result<Taken, ChangeError> {
        let Some(secret) = &waiting.secret else { return Ok(Taken::Refused("it belongs to no row that is there")) };
        let Some(envelope) = Envelope::parse(&waiting.envelope) else { return Ok(Taken::Refused("it is no envelope")) };
        let row = row_of_secret(secret);
        // Before the HSM is asked: anybody can encrypt to a public key.
        if !self.transports.is_ours(&envelope, hsm, &row, secret.wrapped).await? {
            return Ok(Taken::Refused("this deployment did not write it, or not for this row"));
        }
        let Some(transport) = transports.iter().find(|key| envelope.is_for(&key.key_id)) else {
            return Ok(Taken::Refused("it is for a transport key that the HSM token does not have"));
        };
        match self.vault.take_envelope(transport, &row, secret.wrapped, &envelope.sealed).await {
            Ok(seal) => {
                self.envelopes.seal_for_envelope(hsm, secret, &waiting.envelope, &seal).await?;
                Ok(Taken::Sealed)
            }
            Err(HsmError { failure: HsmFailure::DoesNotOpen, .. }) => Ok(Taken::Refused("it does not open")),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes it, so that whoever has the secret writes another one.
    async fn refuse(&self, hsm: &HsmName, waiting: &WaitingEnvelope, why: &'static str) -> Result<(), ChangeError> {
        let at = &waiting.at;
        if !self.envelopes.refuse_envelope(hsm, at, &waiting.envelope).await? {
            return Ok(());
        }
        tracing::error!(%hsm, tenant = at.tenant, kind = at.kind, row = at.row, "ALARM: an envelope was refused and removed: {why}");
        let told = AuditEvent::new(Event::EnvelopeRefused, Outcome::Refused, &at.tenant, &RequestContext::default());
        let told =
            told.because(Reason::RefusedByRule).detail(format!("{} {} for HSM token {hsm}: {why}", at.kind, at.row));
        Ok(self.audit.append(vec![told]).await.map(drop)?)
    }

    /// Refuses to sign anybody in while secrets that were there before this node joined are still on their way.
    /// Errors: [`Unavailable`], which is answered by 503.
    pub(crate) async fn require_complete(&self) -> Result<(), Unavailable> {
        if self.state.is_complete.load(Ordering::Relaxed) || self.missing().await? == 0 {
            return Ok(());
        }
        Err(Unavailable)
    }

    /// How many secrets have not come yet: those that no HSM token of this node opens, and that other nodes' tokens do. 0 from then on,
    /// for good, once none was missing.
    /// Errors: [`StoreError`] where the store can't be read.
    pub async fn missing(&self) -> Result<u64, StoreError> {
        if self.state.is_complete.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let here: BTreeSet<HsmName> = self.key_admin.tokens().into_iter().collect();
        let vouched = self.envelopes.vouched_transports().await?;
        let (done, joining): (Vec<_>, Vec<_>) = vouched
            .into_iter()
            .filter(|transport| here.contains(&transport.hsm))
            .partition(|it| it.complete_at.is_some());
        let Some(joining) = joining.first().filter(|_| done.is_empty()) else {
            self.state.is_complete.store(true, Ordering::Relaxed);
            return Ok(0);
        };
        let missing = self.missing_for(&joining.hsm, &here).await?;
        if missing == 0 {
            self.envelopes.complete_transport(&joining.hsm, self.clock.now()).await?;
            self.state.is_complete.store(true, Ordering::Relaxed);
        } else {
            self.state.has_waited.store(true, Ordering::Relaxed);
        }
        if missing == 0 && self.state.has_waited.swap(false, Ordering::Relaxed) {
            tracing::info!(hsm = %joining.hsm, "every secret of the deployment has come to this node: people can sign in here");
        }
        Ok(missing)
    }

    async fn missing_for(&self, hsm: &HsmName, here: &BTreeSet<HsmName>) -> Result<u64, StoreError> {
        let (mut missing, mut after) = (0_u64, None);
        loop {
            let (secrets, last) = self.secrets_at_rest.lacking(hsm, after.as_ref(), PAGE).await?;
            let Some(last) = last else { return Ok(missing) };
            let are_away = secrets.iter().filter(|secret| !secret.seals.0.keys().any(|hsm| here.contains(hsm))).count();
            missing = missing.saturating_add(u64::try_from(are_away).unwrap_or(u64::MAX));
            after = Some(last);
        }
    }
}
