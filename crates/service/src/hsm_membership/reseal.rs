//! Resealing: what was sealed while an HSM token was away, or before it was added, is sealed for it later. See
//! `docs/decisions/0014-*`.
//!
//! What is missing stands in the store alone, so that it goes on where it ended, in whatever process. A secret that is
//! replaced meanwhile keeps the seals of its replacement.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::rows::row_of_secret;
use crate::{ChangeError, Decoys, Members};
use signet_core::keys::{HsmError, HsmFailure, HsmKey, HsmName, KeyPurpose, TenantId, TokenHealth};
use signet_store::{Generations, SecretAtRest, SecretCursor};

/// Secrets that are read at once.
const PAGE: u32 = 100;

/// The pause after each secret that the server seals anew: twenty a second, so that requests don't notice.
pub const SERVER_PAUSE: Duration = Duration::from_millis(50);

/// The pause of an operator's command: a worker hands over a hundred a second, and no more.
pub const COMMAND_PAUSE: Duration = Duration::from_millis(11);

/// How long a token's seals are not looked through again once nothing was missing: that reads all of them.
const COMPLETE_FOR: Duration = Duration::from_secs(10);

/// How long a node that died keeps the others waiting.
const LEASE_LASTS: Duration = Duration::from_secs(15);

/// When nothing was missing for each token.
#[derive(Default)]
pub(crate) struct ResealState(Mutex<HashMap<HsmName, Complete>>);

#[derive(Clone, Copy)]
struct Complete {
    /// The generations of the store that were looked at; none where something is missing by now.
    at: Option<(Generations, Instant)>,
    /// Secrets that no token opens, and that are not missing therefore.
    unopened: u64,
}

/// Whether nothing that is sealed was changed between.
fn is_sealed_alike(one: Generations, other: Generations) -> bool {
    (one.secrets, one.members) == (other.secrets, other.members)
}

impl ResealState {
    fn is_complete(&self, hsm: &HsmName, now: Generations) -> bool {
        let complete = self.0.lock().get(hsm).and_then(|known| known.at);
        complete.is_some_and(|(generations, at)| is_sealed_alike(generations, now) || at.elapsed() < COMPLETE_FOR)
    }

    fn completed(&self, hsm: &HsmName, generations: Generations, unopened: u64) {
        let complete = Complete { at: Some((generations, Instant::now())), unopened };
        self.0.lock().insert(hsm.clone(), complete);
    }

    /// Something is missing for the token: it is looked through before anything is said of it again.
    pub(crate) fn is_lacking(&self, hsm: &HsmName) {
        if let Some(known) = self.0.lock().get_mut(hsm) {
            known.at = None;
        }
    }

    /// How many secrets were not sealed for the token because no token opens them.
    pub(crate) fn unopened(&self, hsm: &HsmName) -> u64 {
        self.0.lock().get(hsm).map_or(0, |known| known.unopened)
    }
}

/// What a resealing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Secrets that were sealed for the token.
    pub extended: u64,
    /// Secrets that no token opens: tampered with, or all their keys are gone.
    pub unopened: u64,
}

module! {
    /// Seals for each HSM token what it lacks.
    pub struct Resealing {
        takes clock, key_admin, hsm_health, vault, keys, leases, nodes, membership, secrets_at_rest, secret, transports;
        calls decoys: Decoys, members: Members, state: ResealState;
    }
}

impl Resealing {
    /// Seals for an HSM token what it lacks, with a pause after each.
    /// Errors: [`ChangeError`] where no token opens or this one does not seal: what was done stays.
    pub async fn reseal(&self, hsm: &HsmName, pause: Duration) -> Result<Resealed, ChangeError> {
        Ok(self.reseal_from(hsm, None, pause, None).await?.0)
    }

    /// The same from a place on, until a moment; and where it goes on, unless nothing is lacking.
    pub(crate) async fn reseal_from(
        &self,
        hsm: &HsmName,
        mut after: Option<SecretCursor>,
        pause: Duration,
        until: Option<Instant>,
    ) -> Result<(Resealed, Option<SecretCursor>), ChangeError> {
        let mut done = Resealed::default();
        loop {
            let (secrets, last) = self.secrets_at_rest.lacking(hsm, after.as_ref(), PAGE).await?;
            let Some(last) = last else { return Ok((done, None)) };
            for secret in secrets.into_iter().filter(|secret| self.is_to_be_made(secret, hsm)) {
                match self.reseal_one(&secret, hsm).await {
                    Ok(()) => done.extended += 1,
                    Err(ChangeError::Hsm(HsmError { failure: HsmFailure::DoesNotOpen, .. })) => {
                        tracing::warn!(owner = ?secret.owner, %hsm, "a secret does not open, and is not sealed anew");
                        done.unopened += 1;
                    }
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(pause).await;
            }
            after = Some(last);
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok((done, after));
            }
        }
    }

    /// Whether the seal, or the envelope, can be made here and is not on its way.
    fn is_to_be_made(&self, secret: &SecretAtRest, hsm: &HsmName) -> bool {
        let here = self.key_admin.tokens();
        let opens = secret.seals.0.keys().any(|sealed| here.contains(sealed));
        opens && (here.contains(hsm) || !secret.waits)
    }

    async fn reseal_one(&self, secret: &SecretAtRest, hsm: &HsmName) -> Result<(), ChangeError> {
        let (row, lacking) = (row_of_secret(secret), std::slice::from_ref(hsm));
        let added = self.vault.reseal_for(&row, secret.wrapped, &secret.seals, lacking).await?;
        // One that was replaced meanwhile is complete, or found the next time.
        self.secrets_at_rest.extend_seals(secret, &added).await?;
        Ok(())
    }

    /// Makes up for what the tokens lack, where anything was changed since nothing was missing. Called every second.
    pub async fn reseal_where_needed(&self) {
        let serves = |hsm: &HsmName| self.hsm_health.health(hsm) == TokenHealth::Serving;
        if self.key_admin.tokens().iter().any(serves) {
            self.secret.prepare_deployment_secret().await;
        }
        if let Err(error) = self.decoys.shorten_decoys().await {
            tracing::debug!(%error, "the decoys are looked at later");
        }
        for hsm in self.key_admin.tokens() {
            let done = async {
                if self.hsm_health.health(&hsm) == TokenHealth::Serving {
                    self.transports.vouch(&hsm).await?;
                }
                self.reseal_if_needed(&hsm).await
            };
            if let Err(error) = done.await {
                tracing::debug!(%hsm, %error, "resealing goes on later");
            }
        }
        if let Err(error) = self.fill_envelopes().await {
            tracing::debug!(%error, "envelopes for other nodes' HSM tokens are made later");
        }
    }

    /// Puts into envelopes what other nodes' HSM tokens lack: what was there before they joined, and what could not be put into one
    /// when it was sealed. One node does it for each token at a time.
    async fn fill_envelopes(&self) -> Result<(), ChangeError> {
        for recipient in self.transports.elsewhere().await? {
            let hsm = &recipient.key.hsm;
            let generations = self.membership.generations(&TenantId::default_tenant()).await?;
            if self.state.is_complete(hsm, generations) || !self.holds_lease(hsm).await? {
                continue;
            }
            let done = self.reseal(hsm, COMMAND_PAUSE).await?;
            if done.extended > 0 {
                tracing::info!(%hsm, secrets = done.extended, "secrets that another node's HSM token lacked are on their way to it");
            }
            self.state.completed(hsm, generations, done.unopened);
        }
        Ok(())
    }

    async fn holds_lease(&self, hsm: &HsmName) -> Result<bool, ChangeError> {
        let (name, holder) = (format!("reseal/{hsm}"), self.nodes.node().as_str());
        Ok(self.leases.take_lease(&name, holder, self.clock.now(), LEASE_LASTS).await?)
    }

    async fn reseal_if_needed(&self, hsm: &HsmName) -> Result<(), ChangeError> {
        if self.hsm_health.health(hsm) != TokenHealth::Serving {
            return Ok(());
        }
        let generations = self.membership.generations(&TenantId::default_tenant()).await?;
        if self.state.is_complete(hsm, generations) {
            self.decoys.extend_decoys(hsm).await;
            return Ok(());
        }
        if !self.can_seal(hsm).await? {
            return Ok(());
        }
        let done = self.reseal(hsm, SERVER_PAUSE).await?;
        if done.extended > 0 {
            tracing::info!(%hsm, secrets = done.extended, "secrets that the HSM token lacked are sealed for it");
        }
        self.decoys.extend_decoys(hsm).await;
        self.state.completed(hsm, generations, done.unopened);
        Ok(())
    }

    /// Whether the token is a member that keeps secrets.
    async fn can_seal(&self, hsm: &HsmName) -> Result<bool, ChangeError> {
        let is_member = self.members.live_members().await?.contains(hsm);
        Ok(is_member && keeps_secrets(&self.keys.keys().await?, hsm))
    }
}

/// Whether every kind of secret can be sealed for an HSM token; one without a sealing key only signs, and is complete
/// without seals.
pub(crate) fn keeps_secrets(keys: &[HsmKey], hsm: &HsmName) -> bool {
    keys.iter().any(|key| key.hsm == *hsm && key.purpose == KeyPurpose::Sealing && key.state.is_active())
}
