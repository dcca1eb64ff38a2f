//! `signet key`

use std::path::Path;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;

use super::Ended;
use super::output::{Output, table};
use super::wiring::{Deployment, Need};
use crate::jose::Algorithm;
use crate::keys::{HsmKey, HsmName};
use crate::service::initialise::DEFAULT_RSA_BITS;

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// List the keys that the deployment depends on.
    List,
    /// Generate a token-signing key inside an HSM token. The first of its algorithm is active: it signs where
    /// tokens.algorithm names that algorithm. A further one is published, and does not sign.
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
}

/// A key as printed.
#[derive(Serialize)]
struct KeyView {
    kid: String,
    purpose: &'static str,
    algorithm: Option<Algorithm>,
    hsm: String,
    state: &'static str,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    created_at: String,
}

impl KeyView {
    fn new(key: &HsmKey) -> Self {
        Self {
            kid: key.key_id.to_string(),
            purpose: key.purpose.name(),
            algorithm: key.public.as_ref().map(|jwk| jwk.algorithm),
            hsm: key.hsm.to_string(),
            state: key.state.name(),
            since: key.state.since().to_string(),
            until: key.state.until().map(|until| until.to_string()),
            created_at: key.created_at.to_string(),
        }
    }

    fn row(&self) -> [String; 5] {
        let algorithm = self.algorithm.map_or("", Algorithm::name);
        [self.purpose.to_owned(), algorithm.to_owned(), self.state.to_owned(), self.hsm.clone(), self.kid.clone()]
    }
}

impl Key {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::List => {
                let deployment = Deployment::open(config, Need::Store, output).await?;
                let keys = deployment.signet.store().keys().await?;
                let views: Vec<_> = keys.iter().map(KeyView::new).collect();
                output.value(&views, |views| {
                    let rows: Vec<_> = views.iter().map(KeyView::row).collect();
                    table(["purpose", "algorithm", "state", "hsm", "kid"], &rows)
                })?;
                deployment.close().await
            }
            Self::Generate { algorithm, bits, hsm } => generate(config, output, algorithm.as_deref(), bits, hsm).await,
        }
    }
}

async fn generate(
    config: &Path,
    output: &Output,
    algorithm: Option<&str>,
    bits: u32,
    hsm: Option<String>,
) -> anyhow::Result<()> {
    let asked = algorithm.map(str::parse::<Algorithm>).transpose().map_err(|error| Ended::Usage(error.to_string()))?;
    if ![2048, 3072, 4096].contains(&bits) {
        return Err(Ended::Usage("--bits must be 2048, 3072 or 4096".to_owned()).into());
    }
    let deployment = Deployment::open(config, Need::Hsm, output).await?;
    let algorithm = asked.unwrap_or(deployment.config.tokens.algorithm);
    let hsm = choose_hsm(&deployment, hsm)?;
    output.progress(&format!("generating an {algorithm} key in HSM token {hsm}"));
    let key = deployment.signet.generate_signing_key(&hsm, algorithm, bits, &deployment.operator()).await?;
    output.value(&KeyView::new(&key), |view| {
        let is_used = algorithm == deployment.config.tokens.algorithm;
        let signs = match (key.state.is_active(), is_used) {
            (true, true) => "signs now".to_owned(),
            (true, false) => {
                format!("is active, and signs once tokens.algorithm = \"{algorithm}\" and the server was restarted")
            }
            (false, _) => "is published beside the active one, and does not sign".to_owned(),
        };
        format!("{} {signs} (HSM token {})", view.kid, view.hsm)
    })?;
    deployment.close().await
}

fn choose_hsm(deployment: &Deployment, named: Option<String>) -> anyhow::Result<HsmName> {
    let configured = deployment.signet.key_admin().tokens();
    match named {
        Some(name) => {
            let name = HsmName::new(name);
            let known = configured.iter().map(HsmName::as_str).collect::<Vec<_>>().join(", ");
            let found = configured.contains(&name).then_some(name.clone());
            Ok(found.ok_or_else(|| Ended::Usage(format!("there is no HSM token `{name}`; configured: {known}")))?)
        }
        None if configured.len() > 1 => {
            Err(Ended::Usage("several HSM tokens are configured: name one with --hsm".to_owned()).into())
        }
        None => configured.into_iter().next().context("no HSM token is configured; add an [[hsm]] section"),
    }
}
