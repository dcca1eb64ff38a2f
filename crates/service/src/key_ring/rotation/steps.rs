//! The steps of a rotation. Each is one conditional write of the store, before or after one act of an HSM token, and can
//! be done again from the start by any process.

use crate::key_ring::key_maker::KeyRequest;
use crate::key_ring::rotation::plan::{LEFT_BEHIND, Step};
use crate::{ChangeError, KeyMaker, RingKey, Signatures};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::keys::{AnnouncedKey, HandOver, HsmError, HsmFailure, HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState};
use signet_jose::{KeyId, VerifyingKey};

module! {
    /// Does the steps of a rotation.
    pub struct KeyChanges {
        takes clock, key_admin, settings, keys;
        calls key_maker: KeyMaker, signatures: Signatures;
    }
}

impl KeyChanges {
    /// Does one step. A step that another process did meanwhile is done.
    pub(crate) async fn rotate_by(&self, step: &Step, context: &RequestContext) -> Result<(), ChangeError> {
        match step {
            Step::HandOver { successor, predecessor } => {
                self.hand_over(successor, predecessor.as_deref(), context).await?;
            }
            Step::Generate { hsm, algorithm, rsa_bits, beside } => {
                let wanted = KeyRequest::signing(hsm, *algorithm, *rsa_bits, *beside, LEFT_BEHIND);
                if let Some(made) = self.key_maker.generate_wanted(&wanted, context).await? {
                    tracing::info!(key = %made.key_id, %hsm, state = made.state.name(), "a signing key was generated");
                }
            }
            Step::Withdraw(key) => self.withdraw(key, KeyEnd::Expired, context).await?,
            Step::Destroy(key) => self.destroy_withdrawn(key, context).await?,
            Step::Sweep(announced) => self.sweep(announced, context).await?,
        }
        Ok(())
    }

    /// Has the successor sign from now on; `false` where the ring changed meanwhile. A successor that does not sign in
    /// its HSM token never gets there.
    pub(crate) async fn hand_over(
        &self,
        successor: &HsmKey,
        predecessor: Option<&HsmKey>,
        context: &RequestContext,
    ) -> Result<bool, ChangeError> {
        self.try_successor(successor, context).await?;
        let tenant = successor.tenant.as_str();
        let place = format!("in HSM token {}", successor.hsm);
        let mut told = vec![told_of(Event::KeyActivated, successor, tenant, context).detail(place.clone())];
        if let Some(key) = predecessor {
            let after = format!("{place}, after {}", successor.key_id);
            told.push(told_of(Event::KeyRetired, key, tenant, context).detail(after));
        }
        let change = HandOver {
            successor: successor.clone(),
            predecessor: predecessor.cloned(),
            at: self.clock.now(),
            token_lifetime: self.settings.current().access_lifetime,
            margin: self.settings.current().keys.margin(),
        };
        let is_done = self.keys.hand_over(&change, told).await?;
        if is_done {
            tracing::info!(key = %successor.key_id, hsm = %successor.hsm, "the key signs from now on");
        }
        Ok(is_done)
    }

    /// Finds the key in its HSM token and has it sign for a test. One that is not there, or not in custody, is taken out
    /// of the JWKS: it has signed nothing.
    async fn try_successor(&self, key: &HsmKey, context: &RequestContext) -> Result<(), ChangeError> {
        let faults = self.key_admin.check(&key.hsm, std::slice::from_ref(key)).await?;
        if let Some((_, error)) = faults.into_iter().next() {
            if matches!(error.failure, HsmFailure::KeyMissing(_) | HsmFailure::CustodyRefused { .. }) {
                self.withdraw(key, KeyEnd::Lost, context).await?;
            }
            return Err(error.into());
        }
        let public =
            key.public.clone().ok_or_else(|| ChangeError::Conflict("the key has no public half".to_owned()))?;
        let ready = RingKey { key: key.clone(), verifying: VerifyingKey::new(public) };
        Ok(self.signatures.test_key(&ready).await?)
    }

    /// Takes a key out of the JWKS. Nothing is done where it left its stage meanwhile.
    pub(crate) async fn withdraw(
        &self,
        key: &HsmKey,
        end: KeyEnd,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let to = key.state.withdraw(self.clock.now(), end).map_err(|wrong| ChangeError::Conflict(wrong.to_string()))?;
        let event = if end == KeyEnd::Revoked { Event::KeyRevoked } else { Event::KeyWithdrawn };
        let told = told_of(event, key, key.tenant.as_str(), context).because(end);
        self.keys.move_key(&key.key_id, &key.state, &to, vec![told]).await?;
        tracing::info!(key = %key.key_id, hsm = %key.hsm, why = end.name(), "the key is out of the JWKS");
        Ok(())
    }

    /// Destroys a key that left the JWKS, in every HSM token that holds it: a vendor's clones carry one name.
    pub(crate) async fn destroy_withdrawn(&self, key: &HsmKey, context: &RequestContext) -> Result<(), ChangeError> {
        let to = key.state.destroy(self.clock.now()).map_err(|wrong| ChangeError::Conflict(wrong.to_string()))?;
        let keys = self.keys.keys().await?;
        let clones = keys.iter().filter(|other| other.key_id == key.key_id && other.state == key.state);
        for clone in clones {
            let reach = (to.end() != Some(KeyEnd::Expired)).then_some(&clone.hsm);
            self.find_active_keys(&keys, reach).await?;
            self.destroy_in_hsm(clone).await?;
        }
        let mut told = told_of(Event::KeyDestroyed, key, key.tenant.as_str(), context);
        told.reason = to.end().map(Reason::from);
        let told = told.detail(format!("in HSM token {}", key.hsm));
        self.keys.move_key(&key.key_id, &key.state, &to, vec![told]).await?;
        tracing::info!(key = %key.key_id, hsm = %key.hsm, "the key was destroyed in its HSM token");
        Ok(())
    }

    /// Whether every key that the deployment works with is where it should be, in one HSM token or in all that this node reaches: a
    /// token that shows less than it holds is not one in which to destroy anything.
    async fn find_active_keys(&self, keys: &[HsmKey], only: Option<&HsmName>) -> Result<(), ChangeError> {
        let active: Vec<HsmKey> = keys.iter().filter(|key| key.state.is_active()).cloned().collect();
        let known = self.key_admin.tokens();
        let mut hsms: Vec<&HsmName> = active.iter().map(|key| &key.hsm).collect();
        hsms.sort();
        hsms.dedup();
        let is_asked = |hsm: &&HsmName| only.is_none_or(|only| only == *hsm) && known.contains(hsm);
        for hsm in hsms.into_iter().filter(is_asked) {
            if let Some((_, error)) = self.key_admin.check(hsm, &active).await?.into_iter().next() {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Destroys a key and looks whether it is gone. One that is gone already was destroyed by a process that died then.
    async fn destroy_in_hsm(&self, key: &HsmKey) -> Result<(), ChangeError> {
        let admin = &self.key_admin;
        match admin.destroy(key).await {
            Ok(()) | Err(HsmError { failure: HsmFailure::KeyMissing(_), .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if admin.list(&key.hsm).await?.iter().any(|report| report.cka_id == key.cka_id) {
            let text = format!("HSM token {} still has a key of the CKA_ID of {}", key.hsm, key.key_id);
            return Err(ChangeError::Conflict(text));
        }
        Ok(())
    }

    /// Removes what an interrupted generation left. The `CKA_ID` was chosen at random for that one key.
    async fn sweep(&self, announced: &AnnouncedKey, context: &RequestContext) -> Result<(), ChangeError> {
        let found = self.key_admin.list(&announced.hsm).await?;
        let mut told = Vec::new();
        for report in found.iter().filter(|report| report.cka_id == announced.cka_id) {
            let Some(thumbprint) = &report.thumbprint else {
                let id = signet_core::keys::hexadecimal(&announced.cka_id);
                let text = format!("HSM token {} has half of a key, with CKA_ID {id}: remove it", announced.hsm);
                return Err(ChangeError::Conflict(text));
            };
            let key = left_behind(announced, thumbprint);
            self.destroy_in_hsm(&key).await?;
            let draft = told_of(Event::KeyDestroyed, &key, announced.tenant.as_str(), context);
            told.push(draft.because(Reason::LeftBehind).detail(format!("in HSM token {}", announced.hsm)));
        }
        Ok(self.keys.forget_announced(&announced.cka_id, told).await?)
    }
}

/// A key that the store never knew, by what the HSM token says of it.
fn left_behind(announced: &AnnouncedKey, thumbprint: &str) -> HsmKey {
    HsmKey {
        tenant: announced.tenant.clone(),
        hsm: announced.hsm.clone(),
        purpose: announced.purpose,
        key_id: KeyId::new(thumbprint),
        cka_id: announced.cka_id.clone(),
        public: None,
        state: KeyState::Withdrawn { since: announced.at, end: KeyEnd::Lost },
        created_at: announced.at,
    }
}

fn told_of(event: Event, key: &HsmKey, tenant: &str, context: &RequestContext) -> AuditEvent {
    debug_assert!(key.purpose == KeyPurpose::TokenSigning || event == Event::KeyDestroyed, "only these are rotated");
    let mut draft = AuditEvent::new(event, Outcome::Done, tenant, context);
    draft.key = Some(key.key_id.to_string());
    draft
}
