//! `signet otp-key`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::admin::{Admin, Refused};
use super::confirm::Agreement;
use super::{Output, YubicoKeyOptions, input, yes_no};
use crate::server::Need;
use signet_admin_api::otp_validation::{Enabled, NewOtpKey, OtpKey, Raised, SeenElsewhere};
use signet_core::keys::hexadecimal;
use signet_core::mfa::yubico_export::{self, ExportedCounter, ExportedKey};
use signet_core::secret::SecretText;

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
    Remove {
        /// The key's public id.
        public_id: String,
        #[command(flatten)]
        agreement: Agreement,
    },
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

/// What an import did.
#[derive(Serialize)]
struct Imported {
    imported: usize,
    /// The public ids that were left as they were.
    skipped: Vec<String>,
}

fn row(key: &OtpKey) -> [String; 4] {
    let used = key.last_used_at.clone().unwrap_or_else(|| "never".to_owned());
    [key.public_id.clone(), key.serial.clone().unwrap_or_default(), yes_no(key.enabled), used]
}

impl OtpKeyCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Add { key, serial } => {
                let (public_id, private_id, secret_key) = key.read_texts()?;
                let new = NewOtpKey { public_id, private_id, secret_key, serial };
                let admin = Admin::open(config, Need::Hsm, output).await?;
                let added = admin.post::<OtpKey>(&["otp-keys"], &new).await;
                admin.close().await?;
                output.value(&added?, |key| format!("added key {}", key.public_id))
            }
            Self::Import { file } => {
                let exported = yubico_export::keys(input::secret_file(&file)?.expose())?;
                let admin = Admin::open(config, Need::Hsm, output).await?;
                let done = import(&admin, output, exported).await;
                admin.close().await?;
                done
            }
            Self::ImportCounters { file } => {
                let exported = yubico_export::counters(input::secret_file(&file)?.expose())?;
                let admin = Admin::open(config, Need::Hsm, output).await?;
                let done = import_counters(&admin, output, exported).await;
                admin.close().await?;
                done
            }
            Self::List => {
                let admin = Admin::open(config, Need::Store, output).await?;
                let keys = admin.all::<OtpKey>(&["otp-keys"]).await;
                admin.close().await?;
                output.list(
                    "keys for the validation protocol",
                    &keys?,
                    ["public id", "serial", "enabled", "last used"],
                    row,
                )
            }
            Self::Disable(Named { public_id }) => enable(config, output, &public_id, false).await,
            Self::Enable(Named { public_id }) => enable(config, output, &public_id, true).await,
            Self::Remove { public_id, agreement } => {
                let breaks = ["forget its AES key, which only an import brings back".to_owned()];
                agreement.asked(output, &format!("Removing key {public_id}"), &breaks)?;
                let admin = Admin::open(config, Need::Store, output).await?;
                let removed = admin.delete(&["otp-keys", &public_id]).await;
                admin.close().await?;
                removed?;
                output.done(&format!("removed key {public_id}"))
            }
        }
    }
}

async fn enable(config: &Path, output: &Output, public_id: &str, enabled: bool) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Hsm, output).await?;
    let changed = admin.patch::<OtpKey>(&["otp-keys", public_id], &Enabled { enabled }).await;
    admin.close().await?;
    changed?;
    let what = if enabled { "verified again" } else { "no longer verified" };
    output.done(&format!("OTPs of {public_id} are {what}"))
}

async fn import(admin: &Admin, output: &Output, exported: Vec<ExportedKey>) -> anyhow::Result<()> {
    let (mut done, all) = (Imported { imported: 0, skipped: Vec::new() }, exported.len());
    for (at, key) in exported.into_iter().enumerate() {
        let new = NewOtpKey {
            public_id: key.public_id,
            private_id: SecretText::new(hexadecimal(&key.private_id)),
            secret_key: SecretText::new(hexadecimal(key.secret.expose())),
            serial: key.serial,
        };
        match admin.post::<OtpKey>(&["otp-keys"], &new).await {
            Ok(_) => done.imported += 1,
            Err(error) if Refused::is_conflict(&error) => done.skipped.push(new.public_id),
            Err(error) => {
                let text = format!("key {} was not imported; {at} of {all} are done, run it again", new.public_id);
                return Err(error.context(text));
            }
        }
        if (at + 1).is_multiple_of(1000) {
            output.progress(&format!("{} of {all} keys", at + 1));
        }
    }
    output.value(&done, |done| format!("imported {} keys; {} were here already", done.imported, done.skipped.len()))
}

async fn import_counters(admin: &Admin, output: &Output, exported: Vec<ExportedCounter>) -> anyhow::Result<()> {
    let mut done = Imported { imported: 0, skipped: Vec::new() };
    for key in exported {
        let seen = SeenElsewhere { counter: key.counter, active: key.active };
        let raised: Raised = admin.post(&["otp-keys", &key.public_id, "counter"], &seen).await?;
        if raised.raised {
            done.imported += 1;
        } else {
            done.skipped.push(key.public_id);
        }
    }
    output.value(&done, |done| {
        format!("raised {} counters; {} were as high already, or have no key here", done.imported, done.skipped.len())
    })
}
