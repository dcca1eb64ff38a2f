//! `signet audit`

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use super::output::Output;
use super::wiring::{self, Deployment, Need};
use crate::audit::Checkpoint;
use crate::audit::chain::{ChainCheck, ChainSummary, open_checkpoint};
use crate::audit::export::{ExportLine, ExportReader};
use crate::jose::{Jwk, JwkSet, VerifyingKey};
use crate::store::AuditLog;
use crate::store::anchor::Anchor;

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Verify the chain of records and its signed checkpoints, offline. Exit code 1 where anything was changed, removed,
    /// reordered or cut off.
    Verify {
        /// The audit public key: a JWK or JWKS file. The configured one where not given.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Verify an export instead of the store; no configuration is needed then, if --key is given.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Write all records as JSON lines, closed by a signed checkpoint.
    Export {
        /// The file to write; standard output where not given.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Records that are read at once.
const PAGE: u32 = 1000;

impl Audit {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Verify { key, file: Some(file) } => {
                let keys = match key {
                    Some(key) => read_keys(&key)?,
                    None => read_keys(&wiring::load_config(config)?.audit.public_key)?,
                };
                let export = File::open(&file).with_context(|| format!("can't read {}", file.display()))?;
                let summary = ExportReader::new(BufReader::new(export)).verify(&keys)?;
                print_summary(output, &summary)
            }
            Self::Verify { key, file: None } => {
                let config = wiring::load_config(config)?;
                let keys = read_keys(key.as_deref().unwrap_or(&config.audit.public_key))?;
                // Opened without the anchor, which would refuse a store that was cut: here the fault is to be found.
                let store = wiring::open_store(&config, false, None).await?;
                let anchored = Anchor::new(&config.audit.anchor).read()?;
                let summary = verify_store(store.as_ref(), &keys, &anchored).await;
                store.close().await;
                print_summary(output, &summary?)
            }
            Self::Export { output: file } => export(config, output, file.as_deref()).await,
        }
    }
}

fn print_summary(output: &Output, summary: &ChainSummary) -> anyhow::Result<()> {
    let unsigned = summary.head.sequence - summary.signed;
    let value = json!({
        "intact": true,
        "records": summary.head.sequence,
        "checkpoints": summary.checkpoints,
        "signed_up_to": summary.signed,
    });
    output.value(&value, |_| {
        let tail = match unsigned {
            0 => String::new(),
            unsigned => format!("; the last {unsigned} are linked, and the next checkpoint signs them"),
        };
        format!("intact: {} records, {} signed checkpoints{tail}", summary.head.sequence, summary.checkpoints)
    })
}

/// The keys of a JWK or JWKS file.
fn read_keys(path: &Path) -> anyhow::Result<Vec<VerifyingKey>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the audit public key {}; name it with --key", path.display()))?;
    let keys = match JwkSet::from_json(&text) {
        Ok(set) => set.keys,
        Err(_) => vec![Jwk::from_json(&text).with_context(|| format!("{} holds no public key", path.display()))?],
    };
    anyhow::ensure!(!keys.is_empty(), "{} holds no key", path.display());
    Ok(keys.into_iter().map(VerifyingKey::new).collect())
}

/// Checks every record of the store against its neighbours, the checkpoints beside them and the anchor outside.
async fn verify_store(
    store: &impl AuditLog,
    keys: &[VerifyingKey],
    anchored: &[Checkpoint],
) -> anyhow::Result<ChainSummary> {
    // The head is read first: what a running server appends meanwhile is left for the next time.
    let end = store.head().await?;
    let mut checkpoints = anchored.to_vec();
    loop {
        let first =
            checkpoints.iter().skip(anchored.len()).map(|checkpoint| checkpoint.sequence + 1).max().unwrap_or(1);
        let page = store.checkpoints(first, PAGE).await?;
        if page.is_empty() {
            break;
        }
        checkpoints.extend(page);
    }
    // A checkpoint that does not verify is told before its records are looked at.
    let mut signed =
        checkpoints.iter().map(|one| Ok(open_checkpoint(one, keys)?)).collect::<anyhow::Result<Vec<_>>>()?;
    signed.sort_by_key(|claims| claims.head.sequence);
    signed.retain(|claims| {
        claims.head.sequence <= end.sequence || anchored.iter().any(|one| one.sequence == claims.head.sequence)
    });
    let mut signed = signed.into_iter().peekable();
    let mut check = ChainCheck::new();
    while check.head().sequence < end.sequence {
        let page = store.records(check.head().sequence + 1, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for record in page.iter().take_while(|record| record.sequence <= end.sequence) {
            check.record(record)?;
            while let Some(claims) = signed.next_if(|claims| claims.head.sequence <= record.sequence) {
                check.claims(&claims)?;
            }
        }
    }
    if let Some(claims) = signed.next() {
        check.claims(&claims)?;
    }
    Ok(check.finish_at(end)?)
}

async fn export(config: &Path, output: &Output, file: Option<&Path>) -> anyhow::Result<()> {
    let deployment = open_for_export(config, output).await?;
    let store = deployment.store.clone();
    let last = store.last_checkpoint().await?;
    let written = match last {
        None => Err(anyhow::anyhow!("no checkpoint was signed yet: an export must end with one. Is the HSM there?")),
        Some(last) => match file {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
                write_export(store.as_ref(), last.sequence, BufWriter::new(file)).await
            }
            None => write_export(store.as_ref(), last.sequence, BufWriter::new(std::io::stdout().lock())).await,
        },
    };
    deployment.close().await?;
    let records = written?;
    output.note(&format!("exported {records} records, closed by a signed checkpoint"));
    Ok(())
}

/// Opens the deployment with everything signed: by the HSM where a checkpoint is missing.
async fn open_for_export(config: &Path, output: &Output) -> anyhow::Result<Deployment> {
    let deployment = Deployment::open(config, Need::Store, output).await?;
    let head = deployment.store.head().await?;
    let last = deployment.store.last_checkpoint().await?;
    if last.is_some_and(|last| last.sequence >= head.sequence) {
        return Ok(deployment);
    }
    deployment.close().await?;
    let deployment = match Deployment::open(config, Need::Hsm, output).await {
        Ok(deployment) => deployment,
        Err(error) => {
            output.note(&format!("no new checkpoint can be signed ({error:#}): the export ends at the last one"));
            return Deployment::open(config, Need::Store, output).await;
        }
    };
    deployment.signet.checkpoint().await?;
    Ok(deployment)
}

/// Writes records 1 to `end`, which a checkpoint covers, with the checkpoints after their records.
async fn write_export(store: &impl AuditLog, end: i64, mut out: impl Write) -> anyhow::Result<i64> {
    let mut next = 1;
    while next <= end {
        let records = store.records(next, PAGE).await?;
        let Some(last) = records.last().map(|record| record.sequence.min(end)) else { break };
        let mut checkpoints = Vec::new();
        while let Some(more) = next_checkpoints(store, checkpoints.last(), next, last).await? {
            checkpoints.extend(more);
        }
        let mut checkpoints = checkpoints.into_iter().peekable();
        for record in records.into_iter().take_while(|record| record.sequence <= end) {
            let sequence = record.sequence;
            writeln!(out, "{}", ExportLine::Record(record).to_json())?;
            while let Some(checkpoint) = checkpoints.next_if(|one| one.sequence <= sequence) {
                writeln!(out, "{}", ExportLine::Checkpoint(checkpoint).to_json())?;
            }
        }
        next = last + 1;
    }
    out.flush()?;
    Ok(next - 1)
}

/// The checkpoints that follow `known`, or begin at `first`, up to `last`; `None` where there are no more.
async fn next_checkpoints(
    store: &impl AuditLog,
    known: Option<&Checkpoint>,
    first: i64,
    last: i64,
) -> anyhow::Result<Option<Vec<Checkpoint>>> {
    let from = known.map_or(first, |known| known.sequence + 1);
    if from > last {
        return Ok(None);
    }
    let page = store.checkpoints(from, PAGE).await?;
    let within: Vec<_> = page.into_iter().take_while(|checkpoint| checkpoint.sequence <= last).collect();
    Ok((!within.is_empty()).then_some(within))
}
