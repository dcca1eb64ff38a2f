//! `signet restore`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress::RowProgress;
use super::{Ended, Output, admin, audit, deployment, operator};
use crate::config::Config;
use crate::server::{self, Answered, Export, Need, Restored};
use signet_store_sql::authority::TableCheck;
use signet_store_sql::restore::Ended as RightsEnded;

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The backup.
    #[arg(value_name = "FILE", required_unless_present_any = ["in_place", "ended"], conflicts_with_all = ["in_place", "ended"])]
    file: Option<PathBuf>,
    /// Go on with the store as it is: it was put back by other means, or failed over to a standby that lacked the last commits.
    /// Run it on each node whose server says so, and restart that server.
    #[arg(long)]
    in_place: bool,
    /// Say, for the audit log, what had ended since the copy and was ended again by you, or that nothing had: the servers write
    /// again from then on.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["in_place", "why"])]
    ended: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", required_unless_present = "ended")]
    why: Option<String>,
    /// An export of the audit log that is newer than the copy: what it says had ended since is ended again, tokens that count
    /// are moved past every code that it names, and the servers write again.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// The audit public key: a JWK or JWKS file. The configured one where not given.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Restore {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let word = self.ended.as_deref().or(self.why.as_deref()).unwrap_or_default();
        if word.trim().is_empty() {
            let text = if self.ended.is_some() {
                "--ended must say what had ended since the copy, or that nothing had"
            } else {
                "--why must say why the store is put back"
            };
            return Err(Ended::Usage(text.to_owned()).into());
        }
        let loaded = Config::load_with_environment(config)?;
        if self.ended.is_some() {
            let answered = self.answer(config, &loaded, output, word).await?;
            return output.value(&answered_value(&answered), |_| answered_text(&answered));
        }
        let (mut value, mut text, is_decided) = match &self.file {
            Some(file) => self.put_back(&loaded, file, output, word).await?,
            None => in_place(&loaded, word).await?,
        };
        if let (true, Some(export)) = (is_decided, &self.audit) {
            let answered = self.answer(config, &loaded, output, word).await.map_err(|error| {
                error.context(format!(
                    "the copy is in place, and no server writes to it yet; go on by `signet restore --ended TEXT --audit {}`",
                    export.display()
                ))
            })?;
            value["answered"] = answered_value(&answered);
            text = format!("{text}\n{}", answered_text(&answered));
        } else if is_decided {
            text.push_str(
                "\nNo server writes yet. End again what had ended since the copy (users, roles, factors, clients, keys), then say so: \
                 `signet restore --ended \"what had ended, or that nothing had\"`. With an export of the audit log that is newer \
                 than the copy both are one: `signet restore --ended TEXT --audit FILE`.",
            );
        }
        output.value(&value, |_| text)
    }

    /// The first half, with a backup. Returns what to print.
    async fn put_back(
        &self,
        config: &Config,
        file: &Path,
        output: &Output,
        why: &str,
    ) -> anyhow::Result<(serde_json::Value, String, bool)> {
        let keys = audit::read_keys(self.key.as_deref().unwrap_or(&config.audit.public_key))?;
        output.progress("verifying the backup");
        let progress = RowProgress::new(output);
        let tell = |done: u64, of: u64| progress.tell("the backup", "restored", done, of);
        let restored = server::restore(config, file, keys.into(), why, &operator(), &tell).await?;
        let mut value = ended_value(Some(&restored.ended));
        value["rows"] = restored.statement.rows().into();
        value["at"] = json!(restored.statement.at);
        value["anchor_moved_to"] = json!(restored.anchor);
        Ok((value, as_text(&restored), true))
    }

    /// The second half.
    async fn answer(&self, path: &Path, config: &Config, output: &Output, word: &str) -> anyhow::Result<Answered> {
        let export = match &self.audit {
            Some(file) => {
                let keys = audit::read_keys(self.key.as_deref().unwrap_or(&config.audit.public_key))?;
                Some(Export { file, keys: keys.into() })
            }
            None => None,
        };
        let _no_server = admin::lock_without_server(config, output).await?;
        let runtime = deployment::open(path, Need::Hsm, output).await?;
        let progress = RowProgress::new(output);
        let tell = |done: u64, of: u64| progress.tell("the renewed secret", "written under it", done, of);
        let answered = server::answer(&runtime, word, export, &operator(), &tell).await;
        runtime.close().await?;
        answered
    }
}

async fn in_place(config: &Config, why: &str) -> anyhow::Result<(serde_json::Value, String, bool)> {
    let went_on = server::restore_in_place(config, why, &operator()).await?;
    let ended = went_on.ended.as_ref();
    let mut value = ended_value(ended);
    value["anchor_moved_to"] = json!(went_on.anchor);
    let mut text = match ended {
        Some(ended) => format!("The deployment goes on with the store as it is.\n{}", ended_text(ended)),
        None => "This node goes on with the store as it is, as was decided on another one.".to_owned(),
    };
    if let Some(anchor) = &went_on.anchor {
        text.push_str(&format!("\nThe anchor reached further: it is in {} now.", anchor.display()));
    }
    text.push_str("\nOther nodes whose server says the same need this command too.");
    Ok((value, text, ended.is_some()))
}

fn ended_value(ended: Option<&RightsEnded>) -> serde_json::Value {
    json!({
        "ended_grants": ended.map(|ended| ended.grants),
        "ended_recovery": ended.map(|ended| ended.recovery),
        "raised_totp": ended.map(|ended| ended.totp),
    })
}

fn ended_text(ended: &RightsEnded) -> String {
    format!(
        "Ended on the record: all sessions and refresh tokens, {} refresh families, {} sets of recovery codes; the codes of {} TOTP \
         factors until now.",
        ended.grants, ended.recovery, ended.totp
    )
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
        "\n`signet custody` will tell of signatures whose records are lost: answer for them by `signet custody accept --why`.",
    );
    text
}

fn answered_value(answered: &Answered) -> serde_json::Value {
    let counts = |of: &std::collections::BTreeMap<signet_core::audit::since::Noun, u64>| {
        of.iter().map(|(noun, count)| (noun.name().to_owned(), (*count).into())).collect::<serde_json::Map<_, _>>()
    };
    json!({
        "later_records": answered.records,
        "removed": counts(&answered.ended.removed),
        "disabled": counts(&answered.ended.disabled),
        "roles_taken": answered.ended.roles,
        "counters_moved": answered.ended.counters,
        "revoked_keys": answered.ended.keys,
        "revoked_tokens": answered.ended.tokens,
        "missing_keys": answered.missing,
        "want_two_codes": answered.doubted.want_two,
        "disabled_counting": answered.doubted.disabled,
        "yours_to_end": answered.others,
        "secret_generation": answered.generation,
        "void_rows": answered.rows.iter().flat_map(void_rows).collect::<Vec<_>>(),
        "void_rows_count": answered.void(),
    })
}

fn answered_text(answered: &Answered) -> String {
    let mut lines = Vec::new();
    if let Some(records) = answered.records {
        let ended = &answered.ended;
        lines.push(format!("The export has {records} records that the store lacks."));
        let counts = |what: &str, of: &std::collections::BTreeMap<signet_core::audit::since::Noun, u64>| {
            of.iter().map(|(noun, count)| format!("{what} {count} of the kind {noun}")).collect::<Vec<_>>()
        };
        lines.extend(counts("Removed again:", &ended.removed));
        lines.extend(counts("Disabled again, or since their password or secret was replaced:", &ended.disabled));
        lines.push(format!(
            "{} users lost roles, {} counters were moved on, {} access tokens and {} keys were revoked again.",
            ended.roles,
            ended.counters,
            ended.tokens,
            ended.keys.len()
        ));
    }
    if answered.doubted.want_two > 0 {
        lines.push(format!(
            "{} HOTP and Yubico tokens want two codes in a row at first, since nobody knows how far they were counted: the first one is \
             refused, and the one directly after it signs in.",
            answered.doubted.want_two
        ));
    }
    if answered.doubted.disabled > 0 {
        lines.push(format!(
            "Disabled: {} OTP keys of the validation protocol. Which of their codes were spent since nobody knows: enable each once its \
             owner has thrown a few away (`signet otp-key enable`).",
            answered.doubted.disabled
        ));
    }
    for key in &answered.missing {
        lines.push(format!("Revoked: the key {key}, which its HSM token does not have any more; a new one follows."));
    }
    for other in &answered.others {
        lines.push(format!("Yours to end again: {other}"));
    }
    lines.push(format!(
        "The deployment's secret is of generation {} now: rows of the time that was lost are void.",
        answered.generation
    ));
    if answered.void() > 0 {
        let named = answered.rows.iter().flat_map(void_rows).map(|row| format!("\n  {row}")).collect::<String>();
        lines.push(format!(
            "{} rows do not verify: somebody wrote them past Signet. They grant nothing; remove them, and find out who did:{named}",
            answered.void()
        ));
    }
    lines.push("The servers may write again: start them.".to_owned());
    lines.join("\n")
}

/// What names the rows that stay void.
fn void_rows(table: &TableCheck) -> impl Iterator<Item = String> {
    table.named.iter().map(|id| format!("{} {id}", table.table))
}
