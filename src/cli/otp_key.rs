//! `signet otp-key`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Output, YubicoKeyOptions, deployment, input, operator, yes_no};
use crate::server::Need;
use signet_core::mfa::yubico_export;
use signet_service::ChangeError;
use signet_service::factors::enrolment::YubicoKey;
use signet_store::OtpKey;

#[derive(Debug, Subcommand)]
pub(super) enum OtpKeyCommand {
    /// Add a key.
    Add {
        #[command(flatten)]
        key: YubicoKeyOptions,
        /// What is printed on it.
        #[arg(long)]
        serial: Option<String>,
    },
    /// List keys, without their secrets.
    List,
    /// Verify a key's OTPs no more.
    Disable(Named),
    /// Verify a disabled key's OTPs again.
    Enable(Named),
    /// Remove a key.
    Remove(Named),
    /// Take over the keys of a YK-KSM, or of Yubico's programming tools. Keys that are here already are left as they are.
    Import {
        /// What `ykksm-export` wrote, or a CSV of serial, public id, private id and AES key; - for standard input.
        file: PathBuf,
    },
    /// Take over how far a YK-VAL had seen each key's counters, so that what was spent there is spent here. Counters never
    /// fall. Keys that were not active there are disabled, users' factors among them.
    ImportCounters {
        /// What `ykval-export` wrote; - for standard input.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The key's public id.
    public_id: String,
}

/// A key as printed.
#[derive(Serialize)]
struct KeyView {
    public_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    enabled: bool,
    created_at: String,
    last_used_at: Option<String>,
}

impl KeyView {
    fn new(key: &OtpKey) -> Self {
        Self {
            public_id: key.public_id.clone(),
            serial: key.serial.clone(),
            enabled: key.enabled,
            created_at: key.created_at.to_string(),
            last_used_at: key.last_used_at.map(|at| at.to_string()),
        }
    }

    fn row(&self) -> [String; 4] {
        let used = self.last_used_at.clone().unwrap_or_else(|| "never".to_owned());
        [self.public_id.clone(), self.serial.clone().unwrap_or_default(), yes_no(self.enabled), used]
    }
}

/// What an import did.
#[derive(Serialize)]
struct Imported {
    imported: usize,
    /// The public ids that were left as they were.
    skipped: Vec<String>,
}

impl OtpKeyCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Add { key, serial } => {
                let key = key.read()?;
                let deployment = deployment::open(config, Need::Hsm, output).await?;
                let added =
                    deployment.signet.issuer().otp_validation.keys.add_otp_key(&key, serial, &operator()).await?;
                output.value(&KeyView::new(&added), |view| format!("added key {}", view.public_id))?;
                deployment.close().await
            }
            Self::Import { file } => import(config, output, &file).await,
            Self::ImportCounters { file } => import_counters(config, output, &file).await,
            Self::List => {
                let deployment = deployment::open(config, Need::Store, output).await?;
                let keys = deployment.signet.issuer().otp_validation.keys.list_otp_keys().await?;
                let views: Vec<_> = keys.iter().map(KeyView::new).collect();
                output.list(&views, ["public id", "serial", "enabled", "last used"], KeyView::row)?;
                deployment.close().await
            }
            Self::Disable(Named { public_id }) => enable(config, output, &public_id, false).await,
            Self::Enable(Named { public_id }) => enable(config, output, &public_id, true).await,
            Self::Remove(Named { public_id }) => {
                let deployment = deployment::open(config, Need::Store, output).await?;
                deployment.signet.issuer().otp_validation.keys.remove_otp_key(&public_id, &operator()).await?;
                output.done(&format!("removed key {public_id}"))?;
                deployment.close().await
            }
        }
    }
}

async fn enable(config: &Path, output: &Output, public_id: &str, enabled: bool) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    deployment.signet.issuer().otp_validation.keys.enable_otp_key(public_id, enabled, &operator()).await?;
    let what = if enabled { "verified again" } else { "no longer verified" };
    output.done(&format!("OTPs of {public_id} are {what}"))?;
    deployment.close().await
}

async fn import(config: &Path, output: &Output, file: &Path) -> anyhow::Result<()> {
    let text = input::secret_file(file)?;
    let exported = yubico_export::keys(text.expose())?;
    drop(text);
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let (mut done, all) = (Imported { imported: 0, skipped: Vec::new() }, exported.len());
    for (at, key) in exported.into_iter().enumerate() {
        let wanted = YubicoKey { public_id: key.public_id, private_id: key.private_id, secret: key.secret };
        match deployment.signet.issuer().otp_validation.keys.add_otp_key(&wanted, key.serial, &operator()).await {
            Ok(_) => done.imported += 1,
            Err(ChangeError::Taken { .. }) => done.skipped.push(wanted.public_id),
            Err(error) => {
                let text = format!("key {} was not imported; {at} of {all} are done, run it again", wanted.public_id);
                return Err(anyhow::Error::from(error).context(text));
            }
        }
        if (at + 1).is_multiple_of(1000) {
            output.progress(&format!("{} of {all} keys", at + 1));
        }
    }
    output.value(&done, |done| format!("imported {} keys; {} were here already", done.imported, done.skipped.len()))?;
    deployment.close().await
}

async fn import_counters(config: &Path, output: &Output, file: &Path) -> anyhow::Result<()> {
    let text = input::secret_file(file)?;
    let exported = yubico_export::counters(text.expose())?;
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let mut done = Imported { imported: 0, skipped: Vec::new() };
    for key in exported {
        let keys = &deployment.signet.issuer().otp_validation.keys;
        if keys.raise_yubico_counter(&key.public_id, key.counter, &operator()).await? {
            done.imported += 1;
        } else {
            done.skipped.push(key.public_id.clone());
        }
        if !key.active {
            keys.disable_yubico_key(&key.public_id, &operator()).await?;
        }
    }
    output.value(&done, |done| {
        format!("raised {} counters; {} were as high already, or have no key here", done.imported, done.skipped.len())
    })?;
    deployment.close().await
}
