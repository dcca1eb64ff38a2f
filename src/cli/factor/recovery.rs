//! `signet factor replace`, and how codes are printed.

use std::path::Path;
use std::time::Duration;

use super::tell_pending;
use crate::cli::admin::Admin;
use crate::cli::{Ended, Output};
use crate::server::Need;
use clap::Args;
use signet_admin_api::factors::{Enrolled, NewReplacement};

#[derive(Debug, Args)]
pub(in crate::cli) struct Replace {
    /// The user's name.
    #[arg(long)]
    user: String,
    /// How long the codes hold, e.g. `24h`; at most 14 days.
    #[arg(long, default_value = "24h", value_parser = crate::config::parse_duration)]
    valid: Duration,
    /// How many codes: each is good for one sign-in.
    #[arg(long, default_value_t = 1)]
    codes: u32,
}

impl Replace {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        // A part of a second is one.
        let Ok(valid_seconds) = u32::try_from(self.valid.as_millis().div_ceil(1000)) else {
            return Err(Ended::Usage("--valid takes at most 14 days".to_owned()).into());
        };
        let admin = Admin::open(config, Need::Hsm, output).await?;
        let new = NewReplacement { valid_seconds, codes: self.codes };
        let made = admin.post(&["users", &self.user, "replacement"], &new).await;
        admin.close().await?;
        print(output, &made?)
    }
}

/// Prints codes, this once.
pub(super) fn print(output: &Output, made: &Enrolled) -> anyhow::Result<()> {
    let factor = &made.factor;
    output.value(made, |made| {
        let until = factor.valid_until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
        format!(
            "{}\n\nfactor  {}\n\nEach is good for one sign-in in the place of a code{until}. They are shown this once.",
            made.codes.as_deref().unwrap_or_default().join("\n"),
            factor.id
        )
    })?;
    tell_pending(output, factor);
    Ok(())
}
