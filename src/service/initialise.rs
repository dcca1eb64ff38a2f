//! Makes the keys that a deployment depends on, each inside its HSM token, and binds the deployment to the tokens.
//! Doing it again makes what is missing and leaves what is there.

use super::{ChangeError, InitialiseError, Signet};
use crate::audit::{Draft, Event, Outcome, RequestContext};
use crate::jose::{Algorithm, Jwk, KeyId};
use crate::keys::{GeneratedKey, HsmKey, HsmName, KeyPurpose, KeyState, SealMode, TokenReport};
use crate::store::StoreError;

/// One key that `init` found or made.
#[derive(Debug, Clone, serde::Serialize)]
pub struct InitialisedKey {
    /// The HSM token.
    pub hsm: HsmName,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its name.
    pub kid: String,
    /// Whether it was made just now.
    pub created: bool,
}

/// How an HSM token comes to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// With the deployment itself: nobody has its keys yet, and all of them sign at once.
    Founding,
    /// Later: its signing key is published before it signs.
    Joining,
}

/// The RSA size where none is asked for.
pub const DEFAULT_RSA_BITS: u32 = 3072;

impl Signet {
    /// Makes what is missing; `progress` is told of each key before it is made.
    ///
    /// # Errors
    ///
    /// [`InitialiseError`]: what was made before stays, and doing it again goes on from there.
    pub async fn initialise(
        &self,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vec<InitialisedKey>, InitialiseError> {
        let mut keys = Vec::new();
        let members = self.adapters.store.hsm_members().await?;
        for hsm in self.adapters.key_admin.tokens() {
            match members.iter().find(|member| member.name == hsm) {
                Some(member) if member.retired_at.is_none() => {}
                None if members.is_empty() => {}
                // Tokens that verifiers have keys of must not suddenly be signed by others.
                _ => {
                    progress(&format!(
                        "HSM token {hsm} is not part of this deployment: `signet hsm add {hsm}` adds it"
                    ));
                    continue;
                }
            }
            let report = self.adapters.key_admin.describe(&hsm).await?;
            self.bind(&hsm, &report, Event::DeploymentInitialised, context).await?;
            keys.extend(self.ensure_keys(&hsm, Entry::Founding, &report, context, progress).await?);
        }
        self.directory.fresh().await?;
        self.prepare_deployment_secret().await;
        Ok(keys)
    }

    /// Makes the keys that a token of these abilities needs and lacks.
    pub(super) async fn ensure_keys(
        &self,
        hsm: &HsmName,
        entry: Entry,
        report: &TokenReport,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vec<InitialisedKey>, InitialiseError> {
        let mut keys = Vec::new();
        for purpose in KeyPurpose::ALL {
            if is_needed(purpose, report) {
                keys.push(self.ensure_key(hsm, purpose, entry, report, context, progress).await?);
            }
        }
        Ok(keys)
    }

    /// Binds the deployment to a token, or checks that it is the token that it was bound to.
    pub(super) async fn bind(
        &self,
        hsm: &HsmName,
        report: &TokenReport,
        event: Event,
        context: &RequestContext,
    ) -> Result<(), InitialiseError> {
        let bound = self.adapters.store.hsm_members().await?;
        match bound.into_iter().find(|member| member.name == *hsm) {
            Some(member) if member.token.serial != report.token.serial => {
                let (expected, found) = (member.token.serial, report.token.serial.clone());
                Err(InitialiseError::OtherToken { name: member.name, expected, found })
            }
            Some(member) if member.retired_at.is_none() => Ok(()),
            _ => {
                let tenant = self.settings.tenant.as_str();
                let detail = format!("HSM token {hsm}: {} {}", report.token.manufacturer, report.token.model);
                let told = Draft::new(event, Outcome::Done, tenant, context).detail(detail);
                Ok(self.adapters.store.bind_hsm_token(hsm, &report.token, self.now(), vec![told]).await?)
            }
        }
    }

    async fn ensure_key(
        &self,
        hsm: &HsmName,
        purpose: KeyPurpose,
        entry: Entry,
        report: &TokenReport,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<InitialisedKey, InitialiseError> {
        let keys = self.adapters.store.keys().await?;
        let algorithm = match purpose {
            KeyPurpose::TokenSigning => Some(self.settings.algorithm),
            KeyPurpose::AuditSigning => report.algorithms.first().copied(),
            KeyPurpose::Wrapping | KeyPurpose::Sealing | KeyPurpose::Binding => None,
        };
        let is_it = |key: &&HsmKey| {
            let is_same = key.hsm == *hsm && key.purpose == purpose && key.tenant == self.settings.tenant;
            let signs_alike =
                purpose != KeyPurpose::TokenSigning || key.public.as_ref().map(|jwk| jwk.algorithm) == algorithm;
            let will_sign = entry == Entry::Joining && matches!(key.state, KeyState::Next { .. });
            is_same && signs_alike && (key.state.is_active() || will_sign)
        };
        if let Some(key) = keys.iter().find(is_it) {
            return Ok(InitialisedKey { hsm: hsm.clone(), purpose, kid: key.key_id.to_string(), created: false });
        }
        progress(&format!("generating the {} key in HSM token {hsm}", purpose.name().replace('_', "-")));
        let key = self.make_key(hsm, purpose, entry, algorithm, DEFAULT_RSA_BITS, context).await?;
        Ok(InitialisedKey { hsm: hsm.clone(), purpose, kid: key.key_id.to_string(), created: true })
    }

    /// Generates another token-signing key. The first of its algorithm in its HSM token signs at once; a further one is
    /// published only.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn generate_signing_key(
        &self,
        hsm: &HsmName,
        algorithm: Algorithm,
        rsa_bits: u32,
        context: &RequestContext,
    ) -> Result<HsmKey, ChangeError> {
        let (purpose, entry) = (KeyPurpose::TokenSigning, Entry::Founding);
        let made = self.make_key(hsm, purpose, entry, Some(algorithm), rsa_bits, context).await;
        made.map_err(|error| match error {
            InitialiseError::Hsm(error) => ChangeError::Hsm(error),
            InitialiseError::Store(error) => ChangeError::Store(error),
            other => ChangeError::Input(other.to_string()),
        })
    }

    async fn make_key(
        &self,
        hsm: &HsmName,
        purpose: KeyPurpose,
        entry: Entry,
        algorithm: Option<Algorithm>,
        rsa_bits: u32,
        context: &RequestContext,
    ) -> Result<HsmKey, InitialiseError> {
        let (tenant, admin) = (&self.settings.tenant, &self.adapters.key_admin);
        let generated = match algorithm {
            Some(algorithm) => admin.generate_pair(hsm, purpose, tenant, algorithm.key_type(), rsa_bits).await?,
            None => admin.generate_secret(hsm, purpose, tenant).await?,
        };
        let key = self.as_stored(hsm, purpose, entry, algorithm, generated).await?;
        let mut told = Draft::new(Event::KeyGenerated, Outcome::Done, tenant.as_str(), context);
        told.key = Some(key.key_id.to_string());
        let name = algorithm.map_or("secret", Algorithm::name);
        let told = told.detail(format!("{} {name} in HSM token {hsm}", purpose.name()));
        self.adapters.store.add_key(&key, vec![told]).await?;
        Ok(key)
    }

    async fn as_stored(
        &self,
        hsm: &HsmName,
        purpose: KeyPurpose,
        entry: Entry,
        algorithm: Option<Algorithm>,
        generated: GeneratedKey,
    ) -> Result<HsmKey, InitialiseError> {
        let public = match (generated.public, algorithm) {
            (Some(public), Some(algorithm)) => {
                Some(Jwk::new(public, algorithm).map_err(|error| InitialiseError::Key(error.to_string()))?)
            }
            (None, None) => None,
            _ => return Err(InitialiseError::Key("a pair without a public half".to_owned())),
        };
        let now = self.now();
        let signs_already = self.signs_already(hsm, purpose, algorithm).await?;
        let is_published_first = entry == Entry::Joining && purpose == KeyPurpose::TokenSigning;
        let state = if signs_already || is_published_first {
            KeyState::Next { published_at: now }
        } else {
            KeyState::Active { since: now }
        };
        let key_id: KeyId = public.as_ref().map_or(generated.key_id, |jwk| jwk.key_id.clone());
        Ok(HsmKey {
            tenant: self.settings.tenant.clone(),
            hsm: hsm.clone(),
            purpose,
            key_id,
            cka_id: generated.cka_id,
            public,
            state,
            created_at: now,
        })
    }

    async fn signs_already(
        &self,
        hsm: &HsmName,
        purpose: KeyPurpose,
        algorithm: Option<Algorithm>,
    ) -> Result<bool, StoreError> {
        let keys = self.adapters.store.keys().await?;
        Ok(keys.iter().any(|key| {
            key.hsm == *hsm
                && key.purpose == purpose
                && key.tenant == self.settings.tenant
                && key.state.is_active()
                && key.public.as_ref().map(|jwk| jwk.algorithm) == algorithm
        }))
    }
}

/// Whether a key of this purpose is needed in a token of these abilities.
fn is_needed(purpose: KeyPurpose, report: &TokenReport) -> bool {
    match purpose {
        KeyPurpose::TokenSigning | KeyPurpose::AuditSigning | KeyPurpose::Binding => true,
        KeyPurpose::Wrapping => report.seal_modes.contains(&SealMode::Wrapped),
        KeyPurpose::Sealing => report.seal_modes.contains(&SealMode::Sealed),
    }
}
