//! Makes the keys that a deployment depends on, each inside its HSM token, and binds the deployment to the tokens.
//! Doing it again makes what is missing and leaves what is there.

use super::generate_key::Wanted;
use super::{InitialiseError, Signet};
use crate::audit::{Draft, Event, Outcome, RequestContext};
use crate::jose::KeyId;
use crate::keys::{HsmKey, HsmName, KeyPurpose, KeyState, SealMode, TokenReport};
use crate::store::{StoreError, StoreFailure};

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
        let is_signing = |key: &HsmKey| key.purpose == KeyPurpose::TokenSigning && key.tenant == self.settings.tenant;
        // Nobody keeps a JWKS of a deployment that has no signing key yet.
        let is_new = !self.adapters.store.keys().await?.iter().any(is_signing);
        for hsm in self.adapters.key_admin.tokens() {
            let report = self.adapters.key_admin.describe(&hsm).await?;
            self.bind(&hsm, &report, context).await?;
            for purpose in KeyPurpose::ALL {
                if is_needed(purpose, &report) {
                    let algorithm = match purpose {
                        KeyPurpose::TokenSigning => Some(self.settings.algorithm),
                        KeyPurpose::AuditSigning => report.algorithms.first().copied(),
                        KeyPurpose::Wrapping | KeyPurpose::Sealing | KeyPurpose::Binding => None,
                    };
                    let rsa_bits = DEFAULT_RSA_BITS;
                    let wanted = Wanted { hsm: hsm.clone(), purpose, algorithm, rsa_bits, at_once: is_new };
                    keys.push(self.ensure_key(&wanted, context, progress).await?);
                }
            }
        }
        self.directory.fresh().await?;
        Ok(keys)
    }

    /// Binds the deployment to a token, or checks that it is the token that it was bound to.
    async fn bind(&self, hsm: &HsmName, report: &TokenReport, context: &RequestContext) -> Result<(), InitialiseError> {
        let bound = self.adapters.store.hsm_tokens().await?;
        match bound.into_iter().find(|(name, _)| name == hsm) {
            Some((_, token)) if token.serial == report.token.serial => Ok(()),
            Some((name, token)) => {
                Err(InitialiseError::OtherToken { name, expected: token.serial, found: report.token.serial.clone() })
            }
            None => {
                let tenant = self.settings.tenant.as_str();
                let detail = format!("HSM token {hsm}: {} {}", report.token.manufacturer, report.token.model);
                let told = Draft::new(Event::DeploymentInitialised, Outcome::Done, tenant, context).detail(detail);
                Ok(self.adapters.store.bind_hsm_token(hsm, &report.token, self.now(), vec![told]).await?)
            }
        }
    }

    async fn ensure_key(
        &self,
        wanted: &Wanted,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<InitialisedKey, InitialiseError> {
        let Wanted { hsm, purpose, algorithm, .. } = wanted;
        let there =
            |kid: &KeyId| InitialisedKey { hsm: hsm.clone(), purpose: *purpose, kid: kid.to_string(), created: false };
        let is_it = |key: &HsmKey| {
            let is_same = key.hsm == *hsm && key.purpose == *purpose && key.tenant == self.settings.tenant;
            let is_signing = *purpose == KeyPurpose::TokenSigning;
            let signs_alike = !is_signing || key.public.as_ref().map(|jwk| jwk.algorithm) == *algorithm;
            let will_serve = is_signing && matches!(key.state, KeyState::Next { .. });
            is_same && signs_alike && (key.state.is_active() || will_serve)
        };
        let find = async || Ok::<_, StoreError>(self.adapters.store.keys().await?.into_iter().find(is_it));
        if let Some(key) = find().await? {
            return Ok(there(&key.key_id));
        }
        progress(&format!("generating the {} key in HSM token {hsm}", purpose.name().replace('_', "-")));
        match self.make_key(wanted, context).await {
            Ok(key) => {
                let kid = key.key_id.to_string();
                Ok(InitialisedKey { hsm: hsm.clone(), purpose: *purpose, kid, created: true })
            }
            // Another `init` was faster by a moment: its key serves both.
            Err(InitialiseError::Store(StoreError { operation, failure: failure @ StoreFailure::Taken(_) })) => {
                let key = find().await?.ok_or(StoreError { operation, failure })?;
                Ok(there(&key.key_id))
            }
            Err(other) => Err(other),
        }
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
