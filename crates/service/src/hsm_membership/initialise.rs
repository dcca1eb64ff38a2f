//! Makes the keys that a deployment depends on, each inside its HSM token, and binds the deployment to the tokens.
//! Doing it again makes what is missing and leaves what is there.

use std::time::Duration;

use crate::KeyMaker;
use crate::error::InitialiseError;
use crate::key_ring::key_maker::KeyRequest;
use crate::settings::registry::SettingsRegistry;
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::{HsmKey, HsmName, KeyPurpose, KeyState, SealMode, TokenReport};
use signet_core::settings::SettingsDocument;
use signet_jose::{Algorithm, KeyId};
use signet_store::{Beside, StoreError};

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
pub(crate) enum Entry {
    /// With the deployment itself: nobody has its keys yet, and all of them sign at once.
    Founding,
    /// Later: its signing key is published before it signs.
    Joining,
}

/// What keeps secrets.
pub(crate) const KEEPING: [KeyPurpose; 3] = [KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding];
/// What signs, and what is encrypted to, for others to trust.
pub(crate) const SIGNING: [KeyPurpose; 3] = [KeyPurpose::TokenSigning, KeyPurpose::AuditSigning, KeyPurpose::Transport];

/// The RSA size where none is asked for.
pub const DEFAULT_RSA_BITS: u32 = 3072;

module! {
    /// Makes the keys of a deployment and binds it to its HSM tokens.
    pub struct Initialisation {
        takes clock, directory, key_admin, settings, keys, membership, secret, transports;
        calls key_maker: KeyMaker, stating: SettingsRegistry;
    }
}

impl Initialisation {
    /// Makes what is missing, the settings of `founding` where none were ever stated; `progress` is told of each key before it is made.
    /// Errors: [`InitialiseError`]: what was made before stays, and doing it again goes on from there.
    pub async fn initialise(
        &self,
        founding: &SettingsDocument,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vec<InitialisedKey>, InitialiseError> {
        let mut keys = Vec::new();
        let is_signing = |key: &HsmKey| key.purpose == KeyPurpose::TokenSigning && key.tenant == self.settings.tenant;
        // Nobody keeps a JWKS of a deployment that has no signing key yet.
        let is_new = !self.keys.keys().await?.iter().any(is_signing);
        let entry = if is_new { Entry::Founding } else { Entry::Joining };
        let members = self.membership.hsm_members().await?;
        let mut reports = Vec::new();
        for hsm in self.key_admin.tokens() {
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
            reports.push((hsm.clone(), self.key_admin.describe(&hsm).await?));
        }
        if !reports.iter().any(|(_, report)| report.keeps_secrets()) {
            return Err(InitialiseError::NothingSeals);
        }
        // The keys that keep secrets first: under the deployment's secret it is written which keys others trust.
        for (hsm, report) in &reports {
            self.bind(hsm, report, Event::DeploymentInitialised, context).await?;
            keys.extend(self.ensure_keys(hsm, entry, &KEEPING, report, context, progress).await?);
        }
        self.directory.fresh().await?;
        self.secret.prepare_deployment_secret().await;
        // Whoever finds a key to sign with finds what it signs by.
        self.stating.found(founding, context).await.map_err(|error| InitialiseError::Settings(error.to_string()))?;
        for (hsm, report) in &reports {
            keys.extend(self.ensure_keys(hsm, entry, &SIGNING, report, context, progress).await?);
        }
        self.directory.fresh().await?;
        for (hsm, _) in &reports {
            self.transports.vouch(hsm).await?;
        }
        Ok(keys)
    }

    /// Makes the keys of these purposes that a token of these abilities needs and lacks.
    pub(crate) async fn ensure_keys(
        &self,
        hsm: &HsmName,
        entry: Entry,
        purposes: &[KeyPurpose],
        report: &TokenReport,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vec<InitialisedKey>, InitialiseError> {
        let mut keys = Vec::new();
        for purpose in purposes.iter().copied() {
            if is_needed(purpose, report) {
                let algorithm = match purpose {
                    KeyPurpose::TokenSigning => Some(self.settings.current().algorithm),
                    KeyPurpose::AuditSigning => report.algorithms.first().copied(),
                    // What it is in the store: a pair of P-256. It signs nothing.
                    KeyPurpose::Transport => Some(Algorithm::Es256),
                    KeyPurpose::Wrapping | KeyPurpose::Sealing | KeyPurpose::Binding => None,
                };
                let (rsa_bits, at_once) = (DEFAULT_RSA_BITS, entry == Entry::Founding);
                // What an `init` that was cut short announced is nobody's by now.
                let (beside, patience) = (Beside::Nobody, Duration::ZERO);
                let wanted = KeyRequest { hsm: hsm.clone(), purpose, algorithm, rsa_bits, at_once, beside, patience };
                keys.push(self.ensure_key(&wanted, context, progress).await?);
            }
        }
        Ok(keys)
    }

    /// Binds the deployment to a token, or checks that it is the token that it was bound to.
    pub(crate) async fn bind(
        &self,
        hsm: &HsmName,
        report: &TokenReport,
        event: Event,
        context: &RequestContext,
    ) -> Result<(), InitialiseError> {
        let bound = self.membership.hsm_members().await?;
        let is_first = bound.is_empty();
        match bound.into_iter().find(|member| member.name == *hsm) {
            Some(member) if member.token.serial != report.token.serial => {
                let (expected, found) = (member.token.serial, report.token.serial.clone());
                Err(match member.retired_at {
                    None => InitialiseError::OtherToken { name: member.name, expected, found },
                    Some(_) => InitialiseError::RetiredName { name: member.name, retired: expected, found },
                })
            }
            Some(member) if member.retired_at.is_none() => Ok(()),
            _ => {
                let tenant = self.settings.tenant.as_str();
                let detail = format!("HSM token {hsm}: {} {}", report.token.manufacturer, report.token.model);
                let told = AuditEvent::new(event, Outcome::Done, tenant, context).detail(detail);
                let mut told = vec![told];
                if is_first {
                    // Nothing was signed yet, so that from here on each signature has its record.
                    told.push(AuditEvent::new(Event::CustodyBegun, Outcome::Done, tenant, context));
                }
                Ok(self.membership.bind_hsm_token(hsm, &report.token, self.clock.now(), told).await?)
            }
        }
    }

    async fn ensure_key(
        &self,
        wanted: &KeyRequest,
        context: &RequestContext,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<InitialisedKey, InitialiseError> {
        let KeyRequest { hsm, purpose, algorithm, .. } = wanted;
        let there =
            |kid: &KeyId| InitialisedKey { hsm: hsm.clone(), purpose: *purpose, kid: kid.to_string(), created: false };
        let is_it = |key: &HsmKey| {
            let is_same = key.hsm == *hsm && key.purpose == *purpose && key.tenant == self.settings.tenant;
            let is_signing = *purpose == KeyPurpose::TokenSigning;
            let signs_alike = !is_signing || key.public.as_ref().map(|jwk| jwk.algorithm) == *algorithm;
            let will_serve = is_signing && matches!(key.state, KeyState::Next { .. });
            is_same && signs_alike && (key.state.is_active() || will_serve)
        };
        let find = async || Ok::<_, StoreError>(self.keys.keys().await?.into_iter().find(is_it));
        if let Some(key) = find().await? {
            return Ok(there(&key.key_id));
        }
        progress(&format!("generating the {} key in HSM token {hsm}", purpose.name().replace('_', "-")));
        match self.key_maker.make_key(wanted, context).await {
            Ok(key) => {
                let kid = key.key_id.to_string();
                Ok(InitialisedKey { hsm: hsm.clone(), purpose: *purpose, kid, created: true })
            }
            // Another `init` was faster by a moment: its key serves both.
            Err(taken @ InitialiseError::PlaceTaken(_)) => Ok(there(&find().await?.ok_or(taken)?.key_id)),
            Err(other) => Err(other),
        }
    }
}

/// Whether a key of this purpose is needed in a token of these abilities.
fn is_needed(purpose: KeyPurpose, report: &TokenReport) -> bool {
    match purpose {
        KeyPurpose::TokenSigning | KeyPurpose::AuditSigning => true,
        // A token that keeps no secrets has none to bind either: it signs alone.
        KeyPurpose::Binding => !report.seal_modes.is_empty(),
        KeyPurpose::Wrapping => report.seal_modes.contains(&SealMode::Wrapped),
        KeyPurpose::Transport => report.keeps_secrets() && report.takes_envelopes,
        KeyPurpose::Sealing => report.seal_modes.contains(&SealMode::Sealed),
    }
}
