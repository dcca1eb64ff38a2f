//! `signet key`

mod list;
mod revoke;

use std::path::Path;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;

use super::{Ended, Output, deployment, operator};
use crate::server::{Need, Runtime};
use list::KeyView;
use signet_core::keys::{HsmKey, HsmName, KeyState};
use signet_jose::Algorithm;
use signet_service::hsm_membership::initialise::DEFAULT_RSA_BITS;
use signet_service::{ChangeError, InitialiseError};

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// List the keys that the deployment depends on, with their stages.
    List,
    /// Generate a token-signing key inside an HSM token. The first of its algorithm is active: it signs where
    /// tokens.algorithm names that algorithm. A further one is published, and signs after keys.publish_ahead.
    Generate {
        /// ES256, ES384, EdDSA, RS256, RS384, RS512, PS256, PS384 or PS512; the configured one (tokens.algorithm) where
        /// not given.
        #[arg(long, alias = "alg")]
        algorithm: Option<String>,
        /// Bits of an RSA key: 2048, 3072 or 4096.
        #[arg(long, default_value_t = DEFAULT_RSA_BITS)]
        bits: u32,
        /// The HSM token; needed where more than one is configured.
        #[arg(long)]
        hsm: Option<String>,
    },
    /// Rotate the signing keys now: generate the next key in each HSM token. The running server has it sign once every
    /// verifier knows it, and destroys the old one after its last token has expired.
    Rotate {
        /// Revoke this key at once, and all that it signed. Says what that breaks, and does it with --yes.
        #[arg(long, value_name = "KID", allow_hyphen_values = true, conflicts_with_all = ["algorithm", "bits", "hsm"])]
        emergency: Option<String>,
        /// Do what --emergency says.
        #[arg(long, requires = "emergency")]
        yes: bool,
        /// The algorithm whose keys are rotated; the configured one (tokens.algorithm) where not given.
        #[arg(long, alias = "alg")]
        algorithm: Option<String>,
        /// Bits of an RSA key: 2048, 3072 or 4096.
        #[arg(long, default_value_t = DEFAULT_RSA_BITS)]
        bits: u32,
        /// This HSM token alone.
        #[arg(long)]
        hsm: Option<String>,
    },
}

impl Key {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::List => list::run(config, output).await,
            Self::Generate { algorithm, bits, hsm } => {
                generate(config, output, &Asked::read(algorithm.as_deref(), bits, hsm)?).await
            }
            Self::Rotate { emergency: Some(kid), yes, .. } => revoke::run(config, output, &kid, yes).await,
            Self::Rotate { algorithm, bits, hsm, .. } => {
                rotate(config, output, &Asked::read(algorithm.as_deref(), bits, hsm)?).await
            }
        }
    }
}

/// What a key should be, as the arguments say.
struct Asked {
    algorithm: Option<Algorithm>,
    bits: u32,
    hsm: Option<HsmName>,
}

impl Asked {
    fn read(algorithm: Option<&str>, bits: u32, hsm: Option<String>) -> anyhow::Result<Self> {
        let algorithm =
            algorithm.map(str::parse::<Algorithm>).transpose().map_err(|error| Ended::Usage(error.to_string()))?;
        if ![2048, 3072, 4096].contains(&bits) {
            return Err(Ended::Usage("--bits must be 2048, 3072 or 4096".to_owned()).into());
        }
        Ok(Self { algorithm, bits, hsm: hsm.map(HsmName::new) })
    }

    fn algorithm(&self, deployment: &Runtime) -> Algorithm {
        self.algorithm.unwrap_or(deployment.config.tokens.algorithm)
    }

    /// The named HSM token, or all that are configured and belong to the deployment. One that was retired and has its
    /// [[hsm]] still gets no key any more.
    async fn hsms(&self, deployment: &Runtime) -> anyhow::Result<Vec<HsmName>> {
        let configured = deployment.signet.ports().key_admin.tokens();
        let members = deployment.signet.key_ring.members.live_members().await?;
        if members.is_empty() {
            anyhow::bail!("this deployment has no keys yet; run `signet init` first");
        }
        let Some(name) = &self.hsm else {
            return Ok(configured.into_iter().filter(|name| members.contains(name)).collect());
        };
        if configured.contains(name) {
            let is_member = members.contains(name);
            return if is_member {
                Ok(vec![name.clone()])
            } else {
                Err(InitialiseError::NotAMember(name.clone()).into())
            };
        }
        let known = configured.iter().map(HsmName::as_str).collect::<Vec<_>>().join(", ");
        Err(Ended::Usage(format!("there is no HSM token `{name}`; configured: {known}")).into())
    }
}

async fn generate(config: &Path, output: &Output, asked: &Asked) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let algorithm = asked.algorithm(&deployment);
    let hsms = asked.hsms(&deployment).await?;
    if hsms.len() > 1 {
        return Err(Ended::Usage("the deployment has several HSM tokens: name one with --hsm".to_owned()).into());
    }
    let hsm = hsms
        .into_iter()
        .next()
        .context("no HSM token of this deployment is configured; `signet hsm list` shows them")?;
    output.progress(&format!("generating an {algorithm} key in HSM token {hsm}"));
    let key = deployment.signet.key_ring.maker.generate_signing_key(&hsm, algorithm, asked.bits, &operator()).await?;
    output.value(&KeyView::new(&key, &deployment), |view| {
        let is_used = algorithm == deployment.config.tokens.algorithm;
        let signs = match (key.state.is_active(), is_used) {
            (true, true) => "signs now".to_owned(),
            (true, false) => {
                format!("is active, and signs once tokens.algorithm = \"{algorithm}\" and the server was restarted")
            }
            (false, _) => view.what_follows.clone(),
        };
        format!("{} {signs} (HSM token {})", view.kid, view.hsm)
    })?;
    deployment.close().await
}

/// What `signet key rotate` did in one HSM token.
#[derive(Serialize)]
struct Rotated {
    hsm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyView>,
    /// Whether the key was generated just now; one that is next already serves.
    created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn rotate(config: &Path, output: &Output, asked: &Asked) -> anyhow::Result<()> {
    let deployment = deployment::open_with_any_hsm(config, output).await?;
    let algorithm = asked.algorithm(&deployment);
    let mut done = Vec::new();
    for hsm in asked.hsms(&deployment).await? {
        let outcome = rotate_in(&deployment, output, &hsm, algorithm, asked.bits).await;
        let (key, created, error) = match outcome {
            Ok((key, created)) => (Some(KeyView::new(&key, &deployment)), created, None),
            Err(error) => (None, false, Some(error.to_string())),
        };
        done.push(Rotated { hsm: hsm.to_string(), key, created, error });
    }
    let has_failed = done.iter().any(|rotated| rotated.error.is_some());
    output.value(&done, |done| {
        let line = |rotated: &Rotated| match (&rotated.key, &rotated.error) {
            (Some(key), _) => {
                let there = if rotated.created { "was generated and" } else { "is there already and" };
                format!("{}: {} {there} {}", rotated.hsm, key.kid, key.what_follows)
            }
            (None, Some(error)) => format!("{}: not rotated; the old key signs on: {error}", rotated.hsm),
            (None, None) => rotated.hsm.clone(),
        };
        done.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    deployment.close().await?;
    if has_failed { Err(Ended::Refused.into()) } else { Ok(()) }
}

async fn rotate_in(
    deployment: &Runtime,
    output: &Output,
    hsm: &HsmName,
    algorithm: Algorithm,
    bits: u32,
) -> Result<(HsmKey, bool), ChangeError> {
    let keys = deployment.signet.ports().store.keys().await?;
    let is_next = |key: &HsmKey| {
        let signs_alike = key.public.as_ref().is_some_and(|jwk| jwk.algorithm == algorithm);
        key.hsm == *hsm && signs_alike && matches!(key.state, KeyState::Next { .. })
    };
    if let Some(next) = keys.into_iter().find(is_next) {
        return Ok((next, false));
    }
    output.progress(&format!("generating the next {algorithm} key in HSM token {hsm}"));
    let made = deployment.signet.key_ring.maker.generate_signing_key(hsm, algorithm, bits, &operator()).await;
    if let Err(error) = &made {
        deployment.signet.key_ring.rotation.tell_rotation_not_begun(hsm, error, &operator()).await?;
    }
    Ok((made?, true))
}
