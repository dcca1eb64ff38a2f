//! `signet audit`

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use super::{Output, audit_rows, deployment};
use crate::config::Config;
use crate::server::{self, Need, Runtime};
use signet_core::audit::chain::{ChainCheck, ChainSummary, open_checkpoint};
use signet_core::audit::export::{ExportLine, ExportReader};
use signet_core::audit::{AuditEvent, Checkpoint, Event, Head, NodeId, Outcome};
use signet_jose::{Jwk, JwkSet, VerifyingKey};
use signet_store::anchor::Anchor;
use signet_store::audit_log::head_of;
use signet_store::{AuditLog, Nodes as _, StoreFailure};

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
        /// Refuse what is signed up to an earlier record than this: an older copy is intact too.
        #[arg(long, value_name = "SEQ")]
        at_least: Option<i64>,
        /// Verify the rows of the store that rights stand in, instead of the chain: each carries a MAC by the deployment's secret,
        /// which an HSM token opens. Exit code 1 where one was written past Signet.
        #[arg(long, conflicts_with_all = ["key", "file", "at_least"])]
        store: bool,
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
            Self::Verify { store: true, .. } => audit_rows::verify(config, output).await,
            Self::Verify { key, file: Some(file), at_least, .. } => verify_file(config, output, &file, key, at_least),
            Self::Verify { key, file: None, at_least, .. } => {
                let config = Config::load_with_environment(config)?;
                let keys = read_keys(key.as_deref().unwrap_or(&config.audit.public_key))?;
                // What is signed is read before the heads, which running servers move on meanwhile.
                let anchored = Anchor::new(&config.audit.anchor).furthest()?;
                // Opened without the anchor, which would refuse a store that was cut: here the fault is to be found.
                let store = server::open_store(&config, false, None).await?;
                let summary = verify_store(store.as_ref(), &keys, anchored.as_ref()).await;
                store.close().await;
                print_summary(output, &summary?, anchored.as_ref(), at_least)
            }
            Self::Export { output: file } => export(config, output, file.as_deref()).await,
        }
    }
}

/// Checks an export: with the named key alone, or with the configured one and its anchor.
fn verify_file(
    config: &Path,
    output: &Output,
    file: &Path,
    key: Option<PathBuf>,
    at_least: Option<i64>,
) -> anyhow::Result<()> {
    let (keys, anchored) = match key {
        Some(key) => (read_keys(&key)?, Vec::new()),
        None => {
            let audit = Config::load_with_environment(config)?.audit;
            (read_keys(&audit.public_key)?, Anchor::new(&audit.anchor).read()?)
        }
    };
    let export = File::open(file).with_context(|| format!("can't read {}", file.display()))?;
    let chains = ExportReader::new(BufReader::new(export)).verify(&keys, &anchored)?;
    print_summary(output, &chains, anchored.last(), at_least)
}

fn print_summary(
    output: &Output,
    chains: &[ChainSummary],
    anchored: Option<&Checkpoint>,
    at_least: Option<i64>,
) -> anyhow::Result<()> {
    let sum = |of: fn(&ChainSummary) -> i64| chains.iter().map(of).fold(0, i64::saturating_add);
    let (last, signed) = (sum(|chain| chain.head.sequence), sum(|chain| chain.signed));
    if let Some(least) = at_least.filter(|least| *least > signed) {
        anyhow::bail!("intact, but signed up to record {signed} only: --at-least asks for {least}");
    }
    let signed_at = chains.iter().filter_map(|chain| chain.signed_at).max().map(|at| at.to_string());
    let nodes = chains.iter().map(|chain| {
        let signed_at = chain.signed_at.map(|at| at.to_string());
        json!({
            "node": chain.node.as_str(),
            "records": chain.head.sequence,
            "signed_up_to": chain.signed,
            "signed_at": signed_at,
        })
    });
    let value = json!({
        "intact": true,
        "records": last,
        "checkpoints": chains.iter().map(|chain| chain.checkpoints).sum::<u64>(),
        "signed_up_to": signed,
        "signed_at": signed_at,
        "anchored_up_to": anchored.map(|checkpoint| checkpoint.sequence),
        "nodes": nodes.collect::<Vec<_>>(),
    });
    output.value(&value, |_| match chains {
        [chain] => format!("intact: covers {}", in_words(chain, anchored)),
        _ => {
            let lines = chains.iter().map(|chain| format!("\n  node {}: {}", chain.node, in_words(chain, anchored)));
            format!("intact: the chains of {} nodes cover{}", chains.len(), lines.collect::<String>())
        }
    })
}

fn in_words(chain: &ChainSummary, anchored: Option<&Checkpoint>) -> String {
    let (last, signed) = (chain.head.sequence, chain.signed);
    let at = chain.signed_at.map_or_else(|| "not signed yet".to_owned(), |at| format!("signed at {at}"));
    let mut text = format!("records 1 to {signed}, {at}");
    if last > signed {
        text.push_str(&format!("; {} more are linked, and the next checkpoint signs them", last - signed));
    }
    let beyond = |anchored: &&Checkpoint| anchored.node == chain.node && anchored.sequence > last;
    if let Some(Checkpoint { sequence, .. }) = anchored.filter(beyond) {
        text.push_str(&format!("; the anchor reaches record {sequence}: what follows record {last} is not in here"));
    }
    text
}

/// The audit keys of a JWK or JWKS file.
/// Errors: it can't be read, or holds no key.
pub(super) fn read_keys(path: &Path) -> anyhow::Result<Vec<VerifyingKey>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the audit public key {}; name it with --key", path.display()))?;
    let keys = match JwkSet::from_json(&text) {
        Ok(set) => set.keys,
        Err(_) => vec![Jwk::from_json(&text).with_context(|| format!("{} holds no public key", path.display()))?],
    };
    anyhow::ensure!(!keys.is_empty(), "{} holds no key", path.display());
    Ok(keys.into_iter().map(VerifyingKey::new).collect())
}

/// Checks every record of the store against its neighbours, the checkpoints beside them and the anchor outside. A
/// checkpoint beyond a chain's end says that it was cut off, and so does one of another node that names a later record.
async fn verify_store(
    store: &impl AuditLog,
    keys: &[VerifyingKey],
    anchored: Option<&Checkpoint>,
) -> anyhow::Result<Vec<ChainSummary>> {
    // What is signed first, the heads afterwards: running servers move those on, and never back behind a checkpoint.
    let mut signed = Vec::new();
    for (node, _) in store.heads().await? {
        let newest = store.last_checkpoint(&node).await?;
        signed.extend(newest.map(|newest| open_checkpoint(&newest, keys)).transpose()?);
    }
    signed.extend(anchored.map(|anchored| open_checkpoint(anchored, keys)).transpose()?);
    let heads = store.heads().await?;
    for (node, named) in signed.iter().flat_map(|claims| &claims.others) {
        let record = store.records(node, named.sequence, 1).await?.into_iter().next();
        let is_there = record.is_some_and(|record| record.sequence == named.sequence && record.hash == named.hash);
        anyhow::ensure!(
            is_there,
            "the chain of node {node} was cut off, removed or replaced: a signed checkpoint of another node names its record {}",
            named.sequence
        );
    }
    let mut chains = Vec::with_capacity(heads.len());
    for (node, end) in &heads {
        // What was the newest at the beginning: later ones may cover records beyond the end as it was read.
        let newest = signed.iter().find(|claims| claims.node == *node).map_or(i64::MIN, |claims| claims.head.sequence);
        let verified =
            verify_chain(store, keys, anchored.filter(|kept| kept.node == *node), (node, *end), newest).await;
        let mut chain = match verified {
            Err(fault) if heads.len() > 1 => return Err(fault.context(format!("the chain of node {node}"))),
            verified => verified?,
        };
        for claims in &signed {
            if let Some((_, named)) = claims.others.iter().find(|(of, head)| of == node && head.sequence > chain.signed)
            {
                (chain.signed, chain.signed_at) = (named.sequence, Some(claims.at));
            }
        }
        chains.push(chain);
    }
    let is_gone = |kept: &&Checkpoint| heads.iter().all(|(node, _)| *node != kept.node);
    if anchored.filter(is_gone).is_some() {
        return Err(StoreFailure::RolledBack.into());
    }
    Ok(chains)
}

async fn verify_chain(
    store: &impl AuditLog,
    keys: &[VerifyingKey],
    anchored: Option<&Checkpoint>,
    (node, end): (&NodeId, Head),
    newest: i64,
) -> anyhow::Result<ChainSummary> {
    let mut signed = Signed::up_to(store, node, newest);
    let mut check = ChainCheck::of(node.clone());
    while check.head().sequence < end.sequence {
        let page = store.records(node, check.head().sequence + 1, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for record in page.iter().take_while(|record| record.sequence <= end.sequence) {
            check.record(record)?;
            while let Some(checkpoint) = signed.next_within(record.sequence).await? {
                check.checkpoint(&checkpoint, keys)?;
            }
            if let Some(anchored) = anchored.filter(|anchored| anchored.sequence == record.sequence) {
                check.checkpoint(anchored, keys)?;
            }
        }
    }
    if let Some(beyond) = signed.next_within(i64::MAX).await? {
        check.checkpoint(&beyond, keys)?;
    }
    if let Some(beyond) = anchored.filter(|anchored| anchored.sequence > check.head().sequence) {
        check.checkpoint(beyond, keys).context(StoreFailure::RolledBack)?;
    }
    Ok(check.finish_at(end)?)
}

/// A chain's checkpoints in order, a page at a time, up to the one that was the newest at the beginning.
struct Signed<'s, S> {
    store: &'s S,
    node: &'s NodeId,
    page: VecDeque<Checkpoint>,
    next: i64,
    last: i64,
}

impl<'s, S: AuditLog> Signed<'s, S> {
    const fn up_to(store: &'s S, node: &'s NodeId, last: i64) -> Self {
        Self { store, node, page: VecDeque::new(), next: i64::MIN, last }
    }

    /// The next one, if it covers no more than this.
    async fn next_within(&mut self, sequence: i64) -> anyhow::Result<Option<Checkpoint>> {
        if self.page.is_empty() && self.next <= self.last {
            let page = self.store.checkpoints(self.node, self.next, PAGE).await?;
            self.page = page.into_iter().take_while(|checkpoint| checkpoint.sequence <= self.last).collect();
            self.next = self.page.back().map_or(i64::MAX, |checkpoint| checkpoint.sequence.saturating_add(1));
        }
        Ok(self.page.pop_front_if(|checkpoint| checkpoint.sequence <= sequence))
    }
}

async fn export(config: &Path, output: &Output, file: Option<&Path>) -> anyhow::Result<()> {
    let (deployment, keys) = open_for_export(config, output).await?;
    let store = deployment.store.clone();
    let written = match store.last_checkpoint(store.node()).await? {
        None => Err(anyhow::anyhow!("no checkpoint was signed yet: an export must end with one. Is the HSM there?")),
        Some(last) => match file {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
                write_export(store.as_ref(), &keys, last, BufWriter::new(file)).await
            }
            None => write_export(store.as_ref(), &keys, last, BufWriter::new(std::io::stdout().lock())).await,
        },
    };
    deployment.close().await?;
    let records = written?;
    output.note(&format!("exported {records} records, closed by a signed checkpoint"));
    Ok(())
}

/// Opens the deployment with everything signed: by the HSM where a checkpoint is missing. Where other nodes write as well, one is
/// always missing: the last one of this node's chain names the ends of theirs as they were then.
async fn open_for_export(config: &Path, output: &Output) -> anyhow::Result<(Runtime, Vec<VerifyingKey>)> {
    let deployment = deployment::open(config, Need::Store, output).await?;
    let keys = read_keys(&deployment.config.audit.public_key)?;
    let (heads, node) = (deployment.store.heads().await?, deployment.store.node().clone());
    let last = deployment.store.last_checkpoint(&node).await?;
    let is_alone = heads.iter().all(|(other, _)| *other == node);
    if is_alone && last.is_some_and(|last| last.sequence >= head_of(&heads, &node).sequence) {
        return Ok((deployment, keys));
    }
    deployment.close().await?;
    let deployment = match deployment::open(config, Need::Hsm, output).await {
        Ok(deployment) => deployment,
        Err(error) => {
            output.note(&format!("no new checkpoint can be signed ({error:#}): the export ends at the last one"));
            return Ok((deployment::open(config, Need::Store, output).await?, keys));
        }
    };
    if !is_alone {
        let tenant = &deployment.signet.issuer().settings.tenant;
        let exported = AuditEvent::new(Event::AuditExported, Outcome::Done, tenant.as_str(), &deployment::operator());
        deployment.store.append(vec![exported]).await?;
    }
    deployment.signet.checkpoints.checkpoint().await?;
    Ok((deployment, keys))
}

/// Writes the records that a checkpoint covers or names, and the checkpoint as the last line.
async fn write_export(
    store: &impl AuditLog,
    keys: &[VerifyingKey],
    last: Checkpoint,
    mut out: impl Write,
) -> anyhow::Result<i64> {
    let claims = open_checkpoint(&last, keys)?;
    let mut written = 0;
    for (node, end) in claims.others.iter().map(|(node, end)| (node, end.sequence)).chain([(&last.node, last.sequence)])
    {
        let mut next = 1;
        while next <= end {
            let records = store.records(node, next, PAGE).await?;
            anyhow::ensure!(
                !records.is_empty(),
                "record {next} is missing, though a checkpoint covers it: see audit verify"
            );
            for record in records.into_iter().take_while(|record| record.sequence <= end) {
                next = record.sequence.saturating_add(1);
                writeln!(out, "{}", ExportLine::Record(record).to_json())?;
            }
        }
        written += end;
    }
    writeln!(out, "{}", ExportLine::Checkpoint(last).to_json())?;
    out.flush()?;
    Ok(written)
}
