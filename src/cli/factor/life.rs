//! What becomes of factors: listed, named, disabled, resynchronised, removed.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::view::{csv, factor_table, listed_table};
use crate::cli::admin::Admin;
use crate::cli::confirm::Agreement;
use crate::cli::{Ended, Output, input};
use crate::server::Need;
use signet_admin_api::factors::{Factor, FactorChange, TwoCodes};
use signet_core::secret::SecretText;

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
    /// Approve a factor that another person asked for, where the four-eyes rule holds.
    Approve(Named),
    /// Remove a factor. The user's refresh families end at once: whoever had the factor may have begun them.
    Remove {
        /// The factor's id.
        id: String,
        #[command(flatten)]
        agreement: Agreement,
    },
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
        let admin = Admin::open(config, need, output).await?;
        let done = self.ask(&admin, codes, output).await;
        admin.close().await?;
        done
    }

    async fn ask(self, admin: &Admin, codes: Option<TwoCodes>, output: &Output) -> anyhow::Result<()> {
        let change = async |id: &str, change: FactorChange| admin.patch::<Factor>(&["factors", id], &change).await;
        let done = match (self, codes) {
            (Self::List { user: Some(user), .. }, _) => {
                let factors: Vec<Factor> = admin.get(&["users", &user, "factors"]).await?;
                return output.value(&factors, |factors| factor_table(factors));
            }
            (list @ (Self::List { .. } | Self::Export { .. }), _) => {
                let factors: Vec<Factor> = admin.all(&["factors"]).await?;
                return match list {
                    Self::Export { format: Form::Json } => output.text(&serde_json::to_string_pretty(&factors)?),
                    Self::Export { .. } => output.value(&factors, |factors| csv(factors)),
                    _ => output.value(&factors, |factors| listed_table(factors)),
                };
            }
            (Self::Resync { id, .. }, codes) => {
                let codes = codes.context("there are no codes")?;
                admin.post::<Factor>(&["factors", &id, "resynchronisation"], &codes).await?;
                format!("factor {id} is in step again")
            }
            (Self::Disable(Named { id }), _) => {
                change(&id, FactorChange { enabled: Some(false), label: None }).await?;
                format!("disabled factor {id}; the user's refresh tokens ended")
            }
            (Self::Enable(Named { id }), _) => {
                let factor = change(&id, FactorChange { enabled: Some(true), label: None }).await?;
                match factor.requested_by {
                    Some(_) => format!("factor {id} waits for another person's `signet factor approve {id}`"),
                    None => format!("enabled factor {id}"),
                }
            }
            (Self::Rename { id, label }, _) => {
                change(&id, FactorChange { enabled: None, label: Some(label.clone()) }).await?;
                format!("factor {id} is named {label}")
            }
            (Self::Approve(Named { id }), _) => {
                let factor: Factor = admin.post(&["factors", &id, "approval"], &json!({})).await?;
                match factor.requested_by {
                    Some(by) => format!("{by} stands for factor {id} now: another person must approve it"),
                    None => format!("approved factor {id}"),
                }
            }
            (Self::Remove { id, agreement }, _) => {
                let factor: Factor = admin.get(&["factors", &id]).await?;
                let breaks = [
                    format!("forget the secret of {} ({}): it can only be enrolled anew", factor.label, factor.kind),
                    "end its user's sign-ins in browsers and refresh tokens".to_owned(),
                    "leave the user without a way to sign in, where it is the last one".to_owned(),
                ];
                agreement.asked(output, &format!("Removing factor {id}"), &breaks)?;
                admin.delete(&["factors", &id]).await?;
                format!("removed factor {id}")
            }
        };
        output.done(&done)
    }
}

fn two_codes(from_stdin: bool) -> anyhow::Result<TwoCodes> {
    if from_stdin {
        let text = input::secret_from_stdin("the codes")?;
        let mut lines = text.expose().lines().map(|line| SecretText::new(line.trim().to_owned()));
        return match (lines.next(), lines.next(), lines.next()) {
            (Some(first), Some(second), None) => Ok(TwoCodes { first, second }),
            _ => Err(Ended::Usage("two codes are expected on standard input, a line each".to_owned()).into()),
        };
    }
    if !std::io::stdin().is_terminal() {
        return Err(Ended::Usage("two codes are needed: give them on standard input with --codes-stdin".into()).into());
    }
    let ask = |prompt: &str| signet_prompt::hidden(prompt).context("the prompt can't be read");
    Ok(TwoCodes { first: ask("the code that it shows now: ")?, second: ask("the next one: ")? })
}
