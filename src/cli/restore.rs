//! `signet restore`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress::RowProgress;
use super::{Ended, Output, audit, operator};
use crate::config::Config;
use crate::server::{self, Restored};
use signet_store_sql::restore::Ended as RightsEnded;

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The backup.
    #[arg(value_name = "FILE", required_unless_present = "in_place", conflicts_with = "in_place")]
    file: Option<PathBuf>,
    /// Go on with the store as it is: it was put back by other means, or failed over to a standby that lacked the last commits.
    /// Run it on each node whose server says so, and restart that server.
    #[arg(long)]
    in_place: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// The audit public key: a JWK or JWKS file. The configured one where not given.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Restore {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        if self.why.trim().is_empty() {
            return Err(Ended::Usage("--why must say why the backup is put back".to_owned()).into());
        }
        let config = Config::load_with_environment(config)?;
        let Some(file) = &self.file else { return in_place(&config, output, &self.why).await };
        let keys = audit::read_keys(self.key.as_deref().unwrap_or(&config.audit.public_key))?;
        output.progress("verifying the backup");
        let progress = RowProgress::new(output);
        let tell = |done: u64, of: u64| progress.tell("the backup", "restored", done, of);
        let restored = server::restore(&config, file, keys.into(), &self.why, &operator(), &tell).await?;
        let value = json!({
            "rows": restored.statement.rows(),
            "at": restored.statement.at,
            "ended_grants": restored.ended.grants,
            "ended_recovery": restored.ended.recovery,
            "raised_totp": restored.ended.totp,
            "disabled": restored.ended.disabled,
            "anchor_moved_to": restored.anchor,
        });
        output.value(&value, |_| as_text(&restored))
    }
}

async fn in_place(config: &Config, output: &Output, why: &str) -> anyhow::Result<()> {
    let went_on = server::restore_in_place(config, why, &operator()).await?;
    let ended = went_on.ended.as_ref();
    let value = json!({
        "ended_grants": ended.map(|ended| ended.grants),
        "ended_recovery": ended.map(|ended| ended.recovery),
        "raised_totp": ended.map(|ended| ended.totp),
        "disabled": ended.map(|ended| ended.disabled),
        "anchor_moved_to": went_on.anchor,
    });
    output.value(&value, |_| {
        let mut text = match ended {
            Some(ended) => format!("The nodes may go on with the store as it is.\n{}", ended_text(ended)),
            None => "This node goes on with the store as it is, as was decided on another one.".to_owned(),
        };
        if let Some(anchor) = &went_on.anchor {
            text.push_str(&format!("\nThe anchor reached further: it is in {} now.", anchor.display()));
        }
        text.push_str("\nStart this node's server. Others whose server says the same need this command too.");
        text
    })
}

fn ended_text(ended: &RightsEnded) -> String {
    let mut text = format!(
        "Ended on the record: all sessions and refresh tokens, {} refresh families, {} sets of recovery codes; the codes of {} TOTP \
         factors until now.",
        ended.grants, ended.recovery, ended.totp
    );
    if ended.disabled > 0 {
        text.push_str(&format!(
            "\nDisabled: {} factors and OTP keys that count. Which of their codes were spent since nobody knows: enable each once its \
             owner has thrown a few away (`signet factor resync`, `signet factor enable`, `signet otp-key enable`).",
            ended.disabled
        ));
    }
    text
}

fn as_text(restored: &Restored) -> String {
    let mut text = format!(
        "The store holds {} rows, as they were at {}.\n{}",
        restored.statement.rows(),
        restored.statement.at,
        ended_text(&restored.ended)
    );
    if let Some(anchor) = &restored.anchor {
        text.push_str(&format!("\nThe anchor reached further: it is in {} now.", anchor.display()));
    }
    text.push_str(
        "\nBefore you serve: end again what was ended since the backup (users, clients, factors, keys), from an audit export where \
         there is one. `signet custody` will tell of signatures whose records are lost: `signet custody accept --why`.",
    );
    text
}
