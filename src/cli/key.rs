//! `signet key`

mod revoke;

use std::path::Path;

use clap::Subcommand;

use super::admin::Admin;
use super::{Ended, Output};
use crate::server::Need;
use signet_admin_api::keys::{BegunRotation, BegunRotations, Key, NewKey};
use signet_jose::Algorithm;
use signet_service::hsm_membership::initialise::DEFAULT_RSA_BITS;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
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

const COLUMNS: [&str; 6] = ["purpose", "algorithm", "state", "hsm", "kid", "what follows"];

fn row(key: &Key) -> [String; 6] {
    let algorithm = key.algorithm.clone().unwrap_or_default();
    let (state, hsm) = (key.state.clone(), key.hsm.clone());
    [key.purpose.clone(), algorithm, state, hsm, key.kid.clone(), key.what_follows.clone()]
}

impl KeyCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let asked = self.judge()?;
        let need = match &self {
            Self::List => Need::Store,
            Self::Generate { .. } => Need::Hsm,
            Self::Rotate { .. } => Need::HsmLater,
        };
        let admin = Admin::open(config, need, output).await?;
        let done = match self {
            Self::List => list(&admin, output).await,
            Self::Generate { .. } => generate(&admin, output, &asked).await,
            Self::Rotate { emergency: Some(kid), yes, .. } => revoke::run(&admin, output, &kid, yes).await,
            Self::Rotate { .. } => rotate(&admin, output, &asked).await,
        };
        admin.close().await?;
        done
    }

    /// What is asked for. What was typed wrong is refused before anything is opened.
    fn judge(&self) -> Result<NewKey, Ended> {
        let (Self::Generate { algorithm, bits, hsm } | Self::Rotate { algorithm, bits, hsm, .. }) = self else {
            return Ok(NewKey::default());
        };
        let named = algorithm.as_deref().map(str::parse::<Algorithm>).transpose();
        let algorithm = named.map_err(|error| Ended::Usage(error.to_string()))?;
        if ![2048, 3072, 4096].contains(bits) {
            return Err(Ended::Usage("--bits must be 2048, 3072 or 4096".to_owned()));
        }
        let algorithm = algorithm.map(|algorithm| algorithm.name().to_owned());
        Ok(NewKey { algorithm, bits: Some(*bits), hsm: hsm.clone() })
    }
}

async fn list(admin: &Admin, output: &Output) -> anyhow::Result<()> {
    output.list("keys", &admin.all::<Key>(&["keys"]).await?, COLUMNS, row)
}

async fn generate(admin: &Admin, output: &Output, asked: &NewKey) -> anyhow::Result<()> {
    output.progress("generating a key in the HSM");
    let key: Key = admin.post(&["keys"], asked).await?;
    output.value(&key, |key| format!("{} {} (HSM token {})", key.kid, key.what_follows, key.hsm))
}

async fn rotate(admin: &Admin, output: &Output, asked: &NewKey) -> anyhow::Result<()> {
    admin.wait_for_any_hsm(output).await?;
    output.progress("generating the next key in each HSM token");
    let begun: BegunRotations = admin.post(&["keys", "rotation"], asked).await?;
    let has_failed = begun.hsms.iter().any(|begun| begun.error.is_some());
    output.value(&begun.hsms, |begun| begun.iter().map(in_words).collect::<Vec<_>>().join("\n"))?;
    if has_failed { Err(Ended::Refused.into()) } else { Ok(()) }
}

fn in_words(begun: &BegunRotation) -> String {
    match (&begun.key, &begun.error) {
        (Some(key), _) => {
            let there = if begun.created { "was generated and" } else { "is there already and" };
            format!("{}: {} {there} {}", begun.hsm, key.kid, key.what_follows)
        }
        (None, Some(error)) => format!("{}: not rotated; the old key signs on: {error}", begun.hsm),
        (None, None) => begun.hsm.clone(),
    }
}
