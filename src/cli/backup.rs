//! `signet backup`

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum::http::Method;
use clap::Subcommand;
use serde_json::json;

use super::admin::Admin;
use super::progress::RowProgress;
use super::{Ended, Output, audit, table};
use crate::config::Config;
use crate::server::{Need, WholeFile};
use signet_core::audit::{Checkpoint, NodeId};
use signet_core::backup::{BackupReader, Closing, Statement};
use signet_core::keys::hexadecimal;
use signet_store::anchor::Anchor;
use signet_store::audit_log::head_of;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Backup {
    /// The file to write; there must be none of that name.
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a backup against its statement, offline. Exit code 1 where anything is missing, mixed, reordered or altered.
    Verify {
        /// The backup.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The audit public key: a JWK or JWKS file. The configured one where not given.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

impl Backup {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match (self.action, self.file) {
            (Some(Action::Verify { file, key }), _) => verify(config, &file, key, output),
            (None, Some(file)) => make(config, &file, output).await,
            (None, None) => Err(Ended::Usage("name the file to write".to_owned()).into()),
        }
    }
}

async fn make(config: &Path, file: &Path, output: &Output) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Hsm, output).await?;
    let made = write(&admin, file, output).await;
    admin.close().await?;
    let rows = made?;
    output.value(&json!({ "file": file, "rows": rows }), |_| {
        format!("{} holds {rows} rows, closed by a signed statement: `signet backup verify` checks it", file.display())
    })
}

/// Writes the file as it comes; returns how many rows that were.
async fn write(admin: &Admin, file: &Path, output: &Output) -> anyhow::Result<u64> {
    let cant = || format!("can't write {}", file.display());
    let mut out = WholeFile::begin(file).with_context(cant)?;
    let answer = admin.long(Method::POST, &["backups"]).await?;
    let progress = RowProgress::new(output);
    let (mut rows, mut is_closed) = (0_u64, false);
    let seen = |line: &[u8]| {
        if line.starts_with(b"[") {
            rows += 1;
            progress.count("the backup", "written", rows);
        }
        is_closed = !line.starts_with(b"[") && serde_json::from_slice::<Closing>(line).is_ok();
    };
    answer.write_lines(&mut out, seen).await.with_context(cant)?;
    anyhow::ensure!(is_closed, "the backup was cut off: the statement that closes it is missing");
    out.finish().with_context(cant)?;
    Ok(rows)
}

fn verify(config: &Path, file: &Path, key: Option<PathBuf>, output: &Output) -> anyhow::Result<()> {
    let (keys, anchored) = match key {
        Some(key) => (audit::read_keys(&key)?, None),
        None => {
            let audit = Config::load_with_environment(config)?.audit;
            (audit::read_keys(&audit.public_key)?, Anchor::new(&audit.anchor).furthest()?)
        }
    };
    let backup = File::open(file).with_context(|| format!("can't read {}", file.display()))?;
    let verified = BackupReader::new(BufReader::new(backup)).verify(&keys, &mut |_| ());
    let (header, statement) = verified
        .map_err(|fault| anyhow::Error::from(fault).context(format!("the backup {} is refused", file.display())))?;
    let value = json!({
        "genuine": true,
        "id": header.id,
        "issuer": header.issuer,
        "at": header.at,
        "signed_at": statement.signed_at.to_string(),
        "rows": statement.rows(),
        "tables": statement.tables.iter().map(|sum| json!({
            "table": sum.table, "rows": sum.rows, "sha256": hexadecimal(&sum.hash)
        })).collect::<Vec<_>>(),
        "audit_records": statement.heads.iter().map(|(_, head)| head.sequence).collect::<Vec<_>>(),
        "anchored_up_to": anchored.as_ref().map(|checkpoint| checkpoint.sequence),
    });
    output.value(&value, |_| as_text(&statement, anchored.as_ref()))
}

fn as_text(statement: &Statement, anchored: Option<&Checkpoint>) -> String {
    let rows = statement.tables.iter().map(|sum| [sum.table.clone(), sum.rows.to_string(), hexadecimal(&sum.hash)]);
    let heads: Vec<String> = statement.heads.iter().map(|(_, head)| head.sequence.to_string()).collect();
    let last = |node: &NodeId| head_of(&statement.heads, node).sequence;
    let later = anchored.filter(|anchored| anchored.sequence > last(&anchored.node));
    let later = later.map_or_else(String::new, |Checkpoint { node, sequence, .. }| {
        format!(" The anchor reaches record {sequence}: what follows record {} is not in here.", last(node))
    });
    format!(
        "{}\n\nThe backup is genuine and whole: {} as it was at {}, {} rows, up to audit record {}.{later}",
        table(["table", "rows", "sha256"], rows),
        statement.issuer,
        statement.at,
        statement.rows(),
        heads.join(", ")
    )
}
