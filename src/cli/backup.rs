//! `signet backup`

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use super::progress::RowProgress;
use super::{Ended, Output, audit, deployment, operator, table};
use crate::config::Config;
use crate::server::{Need, Runtime, WholeFile};
use signet_core::audit::{Checkpoint, NodeId};
use signet_core::backup::{BackupReader, Closing, Statement, line};
use signet_core::keys::hexadecimal;
use signet_core::random::{self, OsRandom};
use signet_store::anchor::Anchor;
use signet_store::audit_log::head_of;
use signet_store_sql::backup::{BackupOf, Progress};

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
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let made = write(&deployment, file, output).await;
    deployment.close().await?;
    let rows = made?;
    output.value(&json!({ "file": file, "rows": rows }), |_| {
        format!("{} holds {rows} rows, closed by a signed statement: `signet backup verify` checks it", file.display())
    })
}

/// Writes the file; returns how many rows that were.
async fn write(deployment: &Runtime, file: &Path, output: &Output) -> anyhow::Result<u64> {
    let cant = || format!("can't write {}", file.display());
    let mut out = WholeFile::begin(file).with_context(cant)?;
    let signet = &deployment.signet;
    let of = BackupOf {
        id: hexadecimal(&random::bytes::<16>(&OsRandom)),
        issuer: signet.issuer().settings.issuer.clone(),
        at: signet.now(),
    };
    let progress = RowProgress::new(output);
    let told = |Progress { table, done, of }| progress.tell(table, "written", done, of);
    let (header, written) = deployment.store.back_up(of, &mut out, &told).await?;
    let rows = written.tables.iter().map(|table| table.rows).sum();
    let statement =
        signet.backups.sign_backup(&header, written.tables, written.hash, written.heads, &operator()).await?;
    out.write_all(&line(&Closing { statement })?).with_context(cant)?;
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
