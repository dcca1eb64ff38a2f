//! What becomes of factors: listed, named, disabled, resynchronised, removed.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use super::view::{FactorView, csv, factor_table, listed_table};
use crate::cli::deployment::{self, operator};
use crate::cli::output::Output;
use crate::cli::{Ended, input};
use crate::server::Need;
use signet_core::secret::SecretText;
use signet_service::ChangeError;
use signet_service::factors::lifecycle::FactorLifecycle;
use signet_store::FactorId;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Life {
    /// List a user's factors, or everybody's.
    List {
        /// The user's name.
        #[arg(long, required_unless_present = "all")]
        user: Option<String>,
        /// Everybody's.
        #[arg(long, conflicts_with = "user")]
        all: bool,
    },
    /// Write everybody's factors to standard output, without secrets.
    Export {
        /// The form.
        #[arg(long, value_enum, default_value_t = Form::Csv)]
        format: Form,
    },
    /// Let a factor prove nothing for now. The user's refresh families end at once.
    Disable {
        /// The factor's id.
        id: String,
    },
    /// Let a disabled factor prove its user again.
    Enable {
        /// The factor's id.
        id: String,
    },
    /// Replace what the user calls a factor.
    Rename {
        /// The factor's id.
        id: String,
        /// The new name.
        label: String,
    },
    /// Find a TOTP or HOTP token that is out of step again, by two codes that it shows one after the other.
    Resync {
        /// The factor's id.
        id: String,
        /// Read the two codes from standard input, a line each.
        #[arg(long)]
        codes_stdin: bool,
    },
    /// Approve a factor that another operator added, where the four-eyes rule holds.
    Approve {
        /// The factor's id.
        id: String,
    },
    /// Remove a factor. The user's refresh families end at once: whoever had the factor may have begun them.
    Remove {
        /// The factor's id.
        id: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Form {
    Csv,
    Json,
}

impl Life {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::List { user, .. } => list(config, output, user).await,
            Self::Export { format } => export(config, output, format).await,
            Self::Resync { id, codes_stdin } => resync(config, output, &id, codes_stdin).await,
            Self::Disable { id } => {
                let what = format!("disabled factor {id}; the user's refresh tokens ended");
                change(config, output, &id, what, async |factors, id| {
                    factors.enable_factor(id, false, &operator()).await
                })
                .await
            }
            Self::Enable { id } => {
                let what = format!("enabled factor {id}");
                change(config, output, &id, what, async |factors, id| {
                    factors.enable_factor(id, true, &operator()).await
                })
                .await
            }
            Self::Rename { id, label } => {
                let what = format!("factor {id} is named {label}");
                change(config, output, &id, what, async |factors, id| {
                    factors.rename_factor(id, &label, &operator()).await
                })
                .await
            }
            Self::Approve { id } => {
                let what = format!("approved factor {id}");
                change(config, output, &id, what, async |factors, id| factors.approve_factor(id, &operator()).await)
                    .await
            }
            Self::Remove { id } => {
                let what = format!("removed factor {id}");
                change(config, output, &id, what, async |factors, id| factors.remove_factor(id, &operator()).await)
                    .await
            }
        }
    }
}

/// Makes a change, and says what was done.
async fn change(
    config: &Path,
    output: &Output,
    id: &str,
    done: String,
    change: impl AsyncFnOnce(&FactorLifecycle, &FactorId) -> Result<(), ChangeError>,
) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    change(&deployment.signet.issuer().factors.lifecycle, &FactorId::new(id)).await?;
    deployment::done(deployment, output, &done).await
}

async fn list(config: &Path, output: &Output, user: Option<String>) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let factors = &deployment.signet.issuer().factors.lifecycle;
    match user {
        Some(user) => {
            let views: Vec<_> = factors.list_factors(&user).await?.iter().map(FactorView::new).collect();
            output.value(&views, |views| factor_table(views))?;
        }
        None => {
            let views: Vec<_> = factors.list_all_factors().await?.iter().map(FactorView::listed).collect();
            output.value(&views, |views| listed_table(views))?;
        }
    }
    deployment.close().await
}

async fn export(config: &Path, output: &Output, format: Form) -> anyhow::Result<()> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let factors = &deployment.signet.issuer().factors.lifecycle;
    let views: Vec<_> = factors.list_all_factors().await?.iter().map(FactorView::listed).collect();
    match format {
        Form::Json => output.text(&serde_json::to_string_pretty(&views)?)?,
        Form::Csv => output.value(&views, |views| csv(views))?,
    }
    deployment.close().await
}

async fn resync(config: &Path, output: &Output, id: &str, codes_stdin: bool) -> anyhow::Result<()> {
    let [first, second] = two_codes(codes_stdin)?;
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let operator = operator();
    deployment.signet.issuer().factors.resync.resync_factor(&FactorId::new(id), [&first, &second], &operator).await?;
    deployment::done(deployment, output, &format!("factor {id} is in step again")).await
}

fn two_codes(from_stdin: bool) -> anyhow::Result<[SecretText; 2]> {
    if from_stdin {
        let text = input::secret_from_stdin("the codes")?;
        let mut lines = text.expose().lines().map(|line| SecretText::new(line.trim().to_owned()));
        return match (lines.next(), lines.next(), lines.next()) {
            (Some(first), Some(second), None) => Ok([first, second]),
            _ => Err(Ended::Usage("two codes are expected on standard input, a line each".to_owned()).into()),
        };
    }
    if !std::io::stdin().is_terminal() {
        return Err(Ended::Usage("two codes are needed: give them on standard input with --codes-stdin".into()).into());
    }
    let ask = |prompt: &str| signet_prompt::hidden(prompt).context("the prompt can't be read");
    Ok([ask("the code that it shows now: ")?, ask("the next one: ")?])
}
