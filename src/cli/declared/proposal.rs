//! `signet settings`: what waits for another person's approval.

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use crate::cli::Output;
use crate::cli::admin::Admin;
use crate::server::Need;
use signet_admin_api::settings::{Approval, Proposal, SettingChange, Stated};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SettingsCommand {
    /// Show the settings that wait for another person, and what they would change.
    Proposal,
    /// Approve them, as another person than the one who stated them, by a token of your own (`--server`).
    Approve,
    /// Take them back.
    Discard,
}

impl SettingsCommand {
    pub(in crate::cli) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let admin = Admin::open(config, Need::Hsm, output).await?;
        let done = self.ask(&admin, output).await;
        admin.close().await?;
        done
    }

    async fn ask(self, admin: &Admin, output: &Output) -> anyhow::Result<()> {
        const PLACE: [&str; 2] = ["settings", "proposal"];
        match self {
            Self::Proposal => {
                let proposal: Proposal = admin.get(&PLACE).await?;
                output.value(&proposal, |it| {
                    format!("{} stated at {}:\n{}", it.stated_by, it.stated_at, lines(&it.changes))
                })
            }
            Self::Approve => {
                let Proposal { stated_at, .. } = admin.get(&PLACE).await?;
                let approval = Approval { stated_at };
                let stated: Stated = admin.post(&["settings", "proposal", "approval"], &approval).await?;
                output.value(&stated, |stated| {
                    let what = match stated.waits_for_approval {
                        true => "Approved once: an account stated these, and another person must approve them too",
                        false => "These settings hold from now on",
                    };
                    format!("{what}:\n{}", lines(&stated.changes))
                })
            }
            Self::Discard => {
                admin.delete(&PLACE).await?;
                output.value(&json!({ "discarded": true }), |_| "The settings that waited are taken back.".to_owned())
            }
        }
    }
}

fn lines(changes: &[SettingChange]) -> String {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let line = |change: &SettingChange| {
        format!("- {}: {} \u{2192} {}", change.setting, word(&change.before), word(&change.after))
    };
    changes.iter().map(line).collect::<Vec<_>>().join("\n")
}
