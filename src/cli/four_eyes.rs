//! `signet four-eyes`

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::Output;
use super::admin::Admin;
use crate::server::Need;
use signet_admin_api::four_eyes::FourEyes;

#[derive(Debug, Subcommand)]
pub(super) enum FourEyesCommand {
    /// Say whether the rule holds: what one operator adds as a factor waits for another person.
    Show,
    /// Ask that it hold no more. It ends when a second person asks; both by a token of their own (`--server`).
    Lower,
}

impl FourEyesCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let need = if matches!(self, Self::Show) { Need::Store } else { Need::Hsm };
        let admin = Admin::open(config, need, output).await?;
        let asked = match self {
            Self::Show => admin.get::<FourEyes>(&["four-eyes"]).await,
            Self::Lower => admin.post(&["four-eyes", "lowering"], &json!({})).await,
        };
        admin.close().await?;
        output.value(&asked?, in_words)
    }
}

fn in_words(rule: &FourEyes) -> String {
    let mut text = match (rule.holds, rule.configured) {
        (true, _) => "The four-eyes rule holds: a factor that one operator adds waits for another person.",
        (false, true) => {
            "The four-eyes rule is asked for and does not hold yet: it begins when two persons could approve."
        }
        (false, false) => "The four-eyes rule does not hold.",
    }
    .to_owned();
    if let Some(who) = &rule.lowering_asked_by {
        text.push_str(&format!("\n{who} asked that it hold no more: it ends when another person asks that too."));
    }
    text
}
