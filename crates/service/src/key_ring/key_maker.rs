//! Makes one key in an HSM token and keeps it in the store.
//!
//! A pair is announced in the store before the HSM is asked, under the `CKA_ID` that it will have, and the announcement
//! goes with the commit that adds the key. Whatever dies in between, the key is found again by its `CKA_ID`.

use std::time::Duration;

use crate::error::InitialiseError;
use crate::{ChangeError, Members};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::{AnnouncedKey, GeneratedKey, HsmKey, HsmName, KeyPurpose, KeyState};
use signet_core::random;
use signet_jose::{Algorithm, Jwk, KeyId};
use signet_store::{Beside, KeyAddition, StoreError, StoreFailure};

/// A key to be made.
#[derive(Debug, Clone)]
pub(crate) struct KeyRequest {
    pub(crate) hsm: HsmName,
    pub(crate) purpose: KeyPurpose,
    /// Of a pair.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) rsa_bits: u32,
    /// Whether it signs at once where its place is free: no verifier can have kept a JWKS without it.
    pub(crate) at_once: bool,
    /// Beside what others of its place it may be made.
    pub(crate) beside: Beside,
    /// For how long a pair that somebody announced counts as one that will be there, but where it may stand beside any.
    pub(crate) patience: Duration,
}

impl KeyRequest {
    /// A token-signing key that verifiers must get to know first.
    pub(crate) fn signing(
        hsm: &HsmName,
        algorithm: Algorithm,
        rsa_bits: u32,
        beside: Beside,
        patience: Duration,
    ) -> Self {
        let (hsm, purpose) = (hsm.clone(), KeyPurpose::TokenSigning);
        Self { hsm, purpose, algorithm: Some(algorithm), rsa_bits, at_once: false, beside, patience }
    }
}

fn as_change_error(error: InitialiseError) -> ChangeError {
    match error {
        InitialiseError::Hsm(error) => ChangeError::Hsm(error),
        InitialiseError::Store(error) => ChangeError::Store(error),
        other => ChangeError::Conflict(other.to_string()),
    }
}

module! {
    /// Makes keys in HSM tokens and keeps them in the store.
    pub struct KeyMaker {
        takes clock, key_admin, random, settings, keys, secret;
        calls members: Members;
    }
}

impl KeyMaker {
    /// Generates another token-signing key, beside whatever there is. The first of its algorithm on the deployment signs at once; a
    /// further one is published, and signs when its time has come.
    pub async fn generate_signing_key(
        &self,
        hsm: &HsmName,
        algorithm: Algorithm,
        rsa_bits: u32,
        context: &RequestContext,
    ) -> Result<HsmKey, ChangeError> {
        let wanted = KeyRequest::signing(hsm, algorithm, rsa_bits, Beside::Any, Duration::ZERO);
        self.make_key(&wanted, context).await.map_err(as_change_error)
    }

    /// Generates the key that one place of the ring wants; none where it has one meanwhile, or where somebody is making it and
    /// has had no longer than `patience`.
    pub(crate) async fn generate_wanted(
        &self,
        wanted: &KeyRequest,
        context: &RequestContext,
    ) -> Result<Option<HsmKey>, ChangeError> {
        match self.make_key(wanted, context).await {
            Err(InitialiseError::PlaceTaken(_)) => Ok(None),
            made => made.map(Some).map_err(as_change_error),
        }
    }

    /// Errors: [`InitialiseError::NotAMember`], and [`InitialiseError::PlaceTaken`] where another process is making the key of this place:
    /// the HSM is not asked. Where that one was faster by a moment, or the HSM token was retired, this one's key is gone again.
    pub(crate) async fn make_key(
        &self,
        wanted: &KeyRequest,
        context: &RequestContext,
    ) -> Result<HsmKey, InitialiseError> {
        if !self.members.live_members().await?.contains(&wanted.hsm) {
            return Err(InitialiseError::NotAMember(wanted.hsm.clone()));
        }
        // A key that others trust is written under the deployment's secret: none is made in the HSM that can't be kept.
        if wanted.algorithm.is_some() && self.secret.ensure_open().await.is_err() {
            return Err(StoreFailure::NoRowKeys.during("add key").into());
        }
        let (generated, announced) = self.generate(wanted).await?;
        let mut key = self.as_stored(wanted, generated).await?;
        let mut added = self.add_generated(&key, wanted, context).await?;
        if added == KeyAddition::PlaceTaken && wanted.purpose == KeyPurpose::TokenSigning {
            key.state = KeyState::Next { published_at: self.clock.now() };
            added = self.add_generated(&key, wanted, context).await?;
        }
        let refused = match added {
            KeyAddition::Added => return Ok(key),
            KeyAddition::PlaceTaken => InitialiseError::PlaceTaken(key.hsm.clone()),
            KeyAddition::NotAMember => InitialiseError::NotAMember(key.hsm.clone()),
        };
        self.key_admin.destroy(&key).await?;
        if announced {
            self.keys.forget_announced(&key.cka_id, Vec::new()).await?;
        }
        Err(refused)
    }

    /// Asks the HSM; says whether the key was announced.
    async fn generate(&self, wanted: &KeyRequest) -> Result<(GeneratedKey, bool), InitialiseError> {
        let (tenant, admin) = (&self.settings.tenant, &self.key_admin);
        let Some(algorithm) = wanted.algorithm else {
            return Ok((admin.generate_secret(&wanted.hsm, wanted.purpose, tenant).await?, false));
        };
        let announced = AnnouncedKey {
            tenant: tenant.clone(),
            hsm: wanted.hsm.clone(),
            purpose: wanted.purpose,
            algorithm,
            cka_id: random::bytes::<16>(self.random.as_ref()).to_vec(),
            at: self.clock.now(),
            given_up: false,
        };
        // A token that does not answer is not asked for a key that nobody then knows of.
        admin.describe(&wanted.hsm).await?;
        let since = announced.at.minus(wanted.patience);
        if !self.keys.announce_key(&announced, wanted.beside, since).await? {
            return Err(InitialiseError::PlaceTaken(wanted.hsm.clone()));
        }
        match admin.generate_announced(&announced, wanted.rsa_bits).await {
            Ok(generated) => Ok((generated, true)),
            Err(error) => {
                // What the HSM refused was not made, or was removed again; what is unknown stays announced.
                if error.is_unknown_outcome() {
                    self.keys.give_up_announced(&announced.cka_id).await?;
                } else {
                    self.keys.forget_announced(&announced.cka_id, Vec::new()).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn add_generated(
        &self,
        key: &HsmKey,
        wanted: &KeyRequest,
        context: &RequestContext,
    ) -> Result<KeyAddition, StoreError> {
        let mut told = AuditEvent::new(Event::KeyGenerated, Outcome::Done, key.tenant.as_str(), context);
        told.key = Some(key.key_id.to_string());
        let name = wanted.algorithm.map_or("secret", Algorithm::name);
        let told = told.detail(format!("{} {name} in HSM token {}", key.purpose.name(), key.hsm));
        self.keys.add_key(key, wanted.beside, vec![told]).await
    }

    async fn as_stored(&self, wanted: &KeyRequest, generated: GeneratedKey) -> Result<HsmKey, InitialiseError> {
        let public = match (generated.public, wanted.algorithm) {
            (Some(public), Some(algorithm)) => {
                Some(Jwk::new(public, algorithm).map_err(|error| InitialiseError::Key(error.to_string()))?)
            }
            (None, None) => None,
            _ => return Err(InitialiseError::Key("a pair without a public half".to_owned())),
        };
        let now = self.clock.now();
        let waits = !wanted.at_once && self.others_sign(wanted).await?;
        let state = if waits { KeyState::Next { published_at: now } } else { KeyState::Active { since: now } };
        let key_id: KeyId = public.as_ref().map_or(generated.key_id, |jwk| jwk.key_id.clone());
        Ok(HsmKey {
            tenant: self.settings.tenant.clone(),
            hsm: wanted.hsm.clone(),
            purpose: wanted.purpose,
            key_id,
            cka_id: generated.cka_id,
            public,
            state,
            created_at: now,
        })
    }

    /// Whether a key does already what this one is for: in any HSM token where it signs tokens, since verifiers know that
    /// one; in the same HSM token where not.
    async fn others_sign(&self, wanted: &KeyRequest) -> Result<bool, StoreError> {
        let keys = self.keys.keys().await?;
        Ok(keys.iter().any(|key| {
            let is_in_reach = wanted.purpose == KeyPurpose::TokenSigning || key.hsm == wanted.hsm;
            is_in_reach
                && key.purpose == wanted.purpose
                && key.tenant == self.settings.tenant
                && key.state.is_active()
                && key.public.as_ref().map(|jwk| jwk.algorithm) == wanted.algorithm
        }))
    }
}
