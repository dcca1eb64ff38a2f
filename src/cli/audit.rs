//! `signet audit`

use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum::http::Method;
use clap::Subcommand;

use super::admin::{self, Admin, Found, Long};
use super::{Output, audit_records, audit_rows};
use crate::causes::with_causes;
use crate::config::Config;
use crate::server::api::{UNSIGNED_HEADER, keys_in, verification};
use crate::server::{self, Need};
use signet_admin_api::audit::{Verification, VerificationQuery, VerifiedChain};
use signet_core::audit::export::{ExportLine, ExportReader};
use signet_jose::VerifyingKey;
use signet_service::audit::verification::verify_chains;
use signet_store::anchor::Anchor;

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
    /// List records: the newest, or those of a time, an event, a user or a client.
    List(audit_records::List),
    /// Print records as JSON lines as they come, each within a second of the event, for a SIEM. Needs a server that runs.
    Follow(audit_records::Follow),
    /// Write all records as JSON lines, closed by a signed checkpoint.
    Export {
        /// The file to write; standard output where not given.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Audit {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Verify { store: true, .. } => audit_rows::verify(config, output).await,
            Self::Verify { key, file: Some(file), at_least, .. } => verify_file(config, output, &file, key, at_least),
            Self::Verify { key, file: None, at_least, .. } => {
                print(output, &verify_store(config, output, key).await?, at_least)
            }
            Self::List(list) => list.run(config, output).await,
            Self::Follow(follow) => follow.run(config, output).await,
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
    print(output, &verification(&chains, anchored.last()), at_least)
}

/// Checks the store: the running server's, which it reads itself, or, where none runs, what lies there.
async fn verify_store(config: &Path, output: &Output, key: Option<PathBuf>) -> anyhow::Result<Verification> {
    if let Some(admin) = Admin::named().await? {
        return ask(&admin, key).await;
    }
    let config = Config::load_with_environment(config)?;
    let _nobody = match admin::find(&config, output).await? {
        Found::Server(admin) => return ask(&admin, key).await,
        Found::Nobody(lock) => lock,
    };
    let keys = read_keys(key.as_deref().unwrap_or(&config.audit.public_key))?;
    let anchored = Anchor::new(&config.audit.anchor).furthest()?;
    // Opened without the anchor, which would refuse a store that was cut: here the fault is to be found.
    let store = server::open_store(&config, false, None).await?;
    let chains = verify_chains(store.as_ref(), &keys, anchored.as_ref()).await;
    store.close().await;
    Ok(verification(&chains?, anchored.as_ref()))
}

async fn ask(admin: &Admin, key: Option<PathBuf>) -> anyhow::Result<Verification> {
    let keys = key.as_deref().map(text_of).transpose()?;
    admin.ask(&["audit", "verification"], &VerificationQuery { keys }).await
}

fn print(output: &Output, found: &Verification, at_least: Option<i64>) -> anyhow::Result<()> {
    if let Some(fault) = &found.fault {
        anyhow::bail!("{fault}");
    }
    let signed = found.signed_up_to;
    if let Some(least) = at_least.filter(|least| *least > signed) {
        anyhow::bail!("intact, but signed up to record {signed} only: --at-least asks for {least}");
    }
    output.value(found, |found| match found.nodes.as_slice() {
        [chain] => format!("intact: covers {}", in_words(chain)),
        chains => {
            let lines = chains.iter().map(|chain| format!("\n  node {}: {}", chain.node, in_words(chain)));
            format!("intact: the chains of {} nodes cover{}", chains.len(), lines.collect::<String>())
        }
    })
}

fn in_words(chain: &VerifiedChain) -> String {
    let (last, signed) = (chain.records, chain.signed_up_to);
    let at = chain.signed_at.as_ref().map_or_else(|| "not signed yet".to_owned(), |at| format!("signed at {at}"));
    let mut text = format!("records 1 to {signed}, {at}");
    if last > signed {
        text.push_str(&format!("; {} more are linked, and the next checkpoint signs them", last - signed));
    }
    if let Some(sequence) = chain.anchored_up_to.filter(|sequence| *sequence > last) {
        text.push_str(&format!("; the anchor reaches record {sequence}: what follows record {last} is not in here"));
    }
    text
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    signet_text_file::read_to_string(path)
        .with_context(|| format!("can't read the audit public key {}; name it with --key", path.display()))
}

/// The audit keys of a JWK or JWKS file.
/// Errors: it can't be read, or holds no key.
pub(super) fn read_keys(path: &Path) -> anyhow::Result<Vec<VerifyingKey>> {
    keys_in(&text_of(path)?).with_context(|| format!("{} holds no public key", path.display()))
}

async fn export(config: &Path, output: &Output, file: Option<&Path>) -> anyhow::Result<()> {
    let admin = Admin::open(config, Need::Store, output).await?;
    let (admin, answer) = begin_export(admin, config, output).await?;
    let written = match file {
        Some(path) => {
            // Who signed in when, and from where, is for nobody else on this machine.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
            let file = file.and_then(|file| {
                if file.metadata()?.is_file() {
                    file.set_permissions(Permissions::from_mode(0o600))?;
                }
                Ok(file)
            });
            let file = file.with_context(|| format!("can't write {}", path.display()));
            match file {
                Ok(file) => write(answer, &mut BufWriter::new(file)).await,
                Err(error) => Err(error),
            }
        }
        None => write(answer, &mut std::io::stdout()).await,
    };
    admin.close().await?;
    let records = written?;
    output.note(&format!("exported {records} records, closed by a signed checkpoint"));
    Ok(())
}

/// Begins an export. Where no server runs, the HSM is asked for only if a checkpoint is missing.
async fn begin_export(admin: Admin, config: &Path, output: &Output) -> anyhow::Result<(Admin, Long)> {
    let ask = async |admin: &Admin| admin.long(Method::GET, &["audit", "export"]).await;
    let begun = ask(&admin).await;
    let unsigned = match &begun {
        Ok(answer) => answer.header(&UNSIGNED_HEADER).map(str::to_owned),
        Err(_) => None,
    };
    let is_lacking = begun.is_err() || unsigned.is_some();
    if admin.is_server() || !is_lacking {
        if let Some(why) = unsigned {
            output.note(&without_new(&why));
        }
        return Ok((admin, begun?));
    }
    drop(begun);
    admin.close().await?;
    let admin = match Admin::open(config, Need::Hsm, output).await {
        Ok(admin) => admin,
        Err(error) => {
            output.note(&without_new(&with_causes(&error)));
            Admin::open(config, Need::Store, output).await?
        }
    };
    let answer = ask(&admin).await?;
    Ok((admin, answer))
}

fn without_new(why: &str) -> String {
    format!("no new checkpoint can be signed ({why}): the export ends at the last one")
}

/// Writes an export; returns how many records that are.
/// Errors: the closing checkpoint is not there.
async fn write(answer: Long, out: &mut impl Write) -> anyhow::Result<u64> {
    let (mut records, mut is_closed) = (0_u64, false);
    let seen = |line: &[u8]| {
        is_closed = matches!(ExportLine::parse(line), Some(ExportLine::Checkpoint(_)));
        records += u64::from(!is_closed);
    };
    answer.write_lines(out, seen).await?;
    anyhow::ensure!(is_closed, "the export was cut off: its closing checkpoint is missing");
    Ok(records)
}
