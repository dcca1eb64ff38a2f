//! `signet restore`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress::RowProgress;
use super::{Ended, Output, audit, operator};
use crate::config::Config;
use crate::server::{self, Restored};

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
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
        let keys = audit::read_keys(self.key.as_deref().unwrap_or(&config.audit.public_key))?;
        output.progress("verifying the backup");
        let progress = RowProgress::new(output);
        let tell = |done: u64, of: u64| progress.tell("the backup", "restored", done, of);
        let restored = server::restore(&config, &self.file, keys.into(), &self.why, &operator(), &tell).await?;
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

fn as_text(restored: &Restored) -> String {
    let ended = &restored.ended;
    let mut text = format!(
        "The store holds {} rows, as they were at {}.\nEnded on the record: all sessions and refresh tokens, {} refresh families, {} sets of \
         recovery codes; the codes of {} TOTP factors until now.",
        restored.statement.rows(),
        restored.statement.at,
        ended.grants,
        ended.recovery,
        ended.totp
    );
    if ended.disabled > 0 {
        text.push_str(&format!(
            "\nDisabled: {} factors and OTP keys that count. Which of their codes were spent since nobody knows: enable each once its \
             owner has thrown a few away (`signet factor resync`, `signet factor enable`, `signet otp-key enable`).",
            ended.disabled
        ));
    }
    if let Some(anchor) = &restored.anchor {
        text.push_str(&format!("\nThe anchor reached further: it is in {} now.", anchor.display()));
    }
    text.push_str(
        "\nBefore you serve: end again what was ended since the backup (users, clients, factors, keys), from an audit export where \
         there is one. `signet custody` will tell of signatures whose records are lost: `signet custody accept --why`.",
    );
    text
}
