//! What becomes of factors: listed, named, disabled, resynchronised, removed.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use super::FactorView;
use super::view::{csv, factor_table, listed_table};
use crate::cli::{Ended, Output, deployment, input, operator};
use crate::server::Need;
use signet_core::secret::SecretText;
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
    Disable(Named),
    /// Let a disabled factor prove its user again.
    Enable(Named),
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
    Approve(Named),
    /// Remove a factor. The user's refresh families end at once: whoever had the factor may have begun them.
    Remove(Named),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Named {
    /// The factor's id.
    id: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Form {
    Csv,
    Json,
}

impl Life {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let codes = match &self {
            Self::Resync { codes_stdin, .. } => Some(two_codes(*codes_stdin)?),
            _ => None,
        };
        // What a factor can do is written under the deployment's secret.
        let need = if matches!(self, Self::List { .. } | Self::Export { .. }) { Need::Store } else { Need::Hsm };
        let deployment = deployment::open(config, need, output).await?;
        let (factors, operator) = (&deployment.signet.issuer().factors, operator());
        let lifecycle = &factors.lifecycle;
        let done = match (self, codes) {
            (Self::List { user: Some(user), .. }, _) => {
                let views: Vec<_> = lifecycle.list_factors(&user).await?.iter().map(FactorView::new).collect();
                output.value(&views, |views| factor_table(views))?;
                return deployment.close().await;
            }
            (list @ (Self::List { .. } | Self::Export { .. }), _) => {
                let views: Vec<_> = lifecycle.list_all_factors().await?.iter().map(FactorView::listed).collect();
                match list {
                    Self::Export { format: Form::Json } => output.text(&serde_json::to_string_pretty(&views)?)?,
                    Self::Export { .. } => output.value(&views, |views| csv(views))?,
                    _ => output.value(&views, |views| listed_table(views))?,
                }
                return deployment.close().await;
            }
            (Self::Resync { id, .. }, codes) => {
                let [first, second] = codes.context("there are no codes")?;
                factors.resync.resync_factor(&FactorId::new(&id), [&first, &second], &operator).await?;
                format!("factor {id} is in step again")
            }
            (Self::Disable(Named { id }), _) => {
                lifecycle.enable_factor(&FactorId::new(&id), false, &operator).await?;
                format!("disabled factor {id}; the user's refresh tokens ended")
            }
            (Self::Enable(Named { id }), _) => {
                lifecycle.enable_factor(&FactorId::new(&id), true, &operator).await?;
                format!("enabled factor {id}")
            }
            (Self::Rename { id, label }, _) => {
                lifecycle.rename_factor(&FactorId::new(&id), &label, &operator).await?;
                format!("factor {id} is named {label}")
            }
            (Self::Approve(Named { id }), _) => {
                lifecycle.approve_factor(&FactorId::new(&id), &operator).await?;
                format!("approved factor {id}")
            }
            (Self::Remove(Named { id }), _) => {
                lifecycle.remove_factor(&FactorId::new(&id), &operator).await?;
                format!("removed factor {id}")
            }
        };
        output.done(&done)?;
        deployment.close().await
    }
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
