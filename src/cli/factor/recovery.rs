//! `signet factor replace`, and how codes are printed.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::{Output, deployment, operator};
use crate::server::Need;
use signet_service::factors::recovery::MadeCodes;
use signet_store::FactorState;

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
        let deployment = deployment::open(config, Need::Hsm, output).await?;
        let recovery = &deployment.signet.issuer().factors.recovery;
        print(output, &recovery.replace_token(&self.user, self.valid, self.codes, &operator()).await?)?;
        deployment.close().await
    }
}

#[derive(Serialize)]
struct Codes<'c> {
    id: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<String>,
    codes: Vec<&'c str>,
}

/// Prints codes, this once.
pub(super) fn print(output: &Output, made: &MadeCodes) -> anyhow::Result<()> {
    let codes = Codes {
        id: made.factor.id.to_string(),
        state: made.factor.state.name(),
        valid_until: made.factor.valid_until.map(|until| until.to_string()),
        codes: made.codes.iter().map(|code| code.expose()).collect(),
    };
    output.value(&codes, |codes| {
        let until = codes.valid_until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
        format!(
            "{}\n\nfactor  {}\n\nEach is good for one sign-in in the place of a code{until}. They are shown this once.",
            codes.codes.join("\n"),
            codes.id
        )
    })?;
    if let FactorState::Pending { .. } = made.factor.state {
        let id = &made.factor.id;
        output.note(&format!("They prove nothing until another operator has run `signet factor approve {id}`"));
    }
    Ok(())
}
