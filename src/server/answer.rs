//! The second half of a restore: what had ended since the copy is ended again, and the servers may write.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::Runtime;
use signet_core::audit::since::Since;
use signet_core::audit::{AuditEvent, Event, ExportReader, Outcome, Record, RequestContext};
use signet_jose::VerifyingKey;
use signet_service::restoring::EndedAgain;
use signet_store::AuditLog as _;
use signet_store_sql::SqlStore;
use signet_store_sql::authority::TableCheck;
use signet_store_sql::restore::{Doubted, Standstill};

/// Records that are compared at once.
const PAGE: usize = 500;
/// Pages that wait to be compared.
const WAITING: usize = 4;

/// An export of the audit log, and the keys that verify it.
pub(crate) struct Export<'e> {
    pub(crate) file: &'e Path,
    pub(crate) keys: Arc<[VerifyingKey]>,
}

/// What was ended before the servers were let on.
pub(crate) struct Answered {
    /// Records of the export that the store lacks, where there was one.
    pub(crate) records: Option<u64>,
    /// What was ended again.
    pub(crate) ended: EndedAgain,
    /// Keys that their HSM token does not have any more.
    pub(crate) missing: BTreeSet<String>,
    /// What counts, and nobody knows how far it was counted.
    pub(crate) doubted: Doubted,
    /// What the export says had ended, and a person must end again.
    pub(crate) others: Vec<String>,
    /// The generation of the deployment's secret that was made.
    pub(crate) generation: u8,
    /// Rows by which rights are given, and those of them that do not verify and stay void.
    pub(crate) rows: Vec<TableCheck>,
}

impl Answered {
    /// How many rows stay void.
    pub(crate) fn void(&self) -> u64 {
        void(&self.rows)
    }
}

fn void(rows: &[TableCheck]) -> u64 {
    rows.iter().map(|of| of.forged).sum()
}

/// Ends again what an export says had ended since the copy, revokes keys that the HSM has no more, renews the deployment's secret, so
/// that rows of the lost time are void, and lets the servers write again, on the record with the operator's word. `told` hears how
/// many rows of how many are written under the renewed secret.
/// Errors: nobody waits for it; the export is refused, or says nothing that the store does not; the HSM or the store fails. The servers
/// stand still then, and the same command goes on.
pub(crate) async fn answer(
    runtime: &Runtime,
    word: &str,
    export: Option<Export<'_>>,
    context: &RequestContext,
    told: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<Answered> {
    let (store, signet) = (&runtime.store, &runtime.signet);
    match store.standstill().await? {
        Some(Standstill::Restored) => {}
        Some(Standstill::Behind) => anyhow::bail!(
            "the store is behind what was written to it: decide by `signet restore --in-place --why TEXT` first"
        ),
        None => anyhow::bail!("no store that was restored waits for this: there is nothing to say"),
    }
    let since = match &export {
        Some(export) => Some(read(store, export).await?),
        None => None,
    };
    let ended = match &since {
        Some(since) => signet.restoring.end_again(since, context).await?,
        None => EndedAgain::default(),
    };
    let missing = signet.restoring.revoke_missing_keys(context).await?;
    let tenant = &signet.issuer().settings.tenant;
    let records = since.as_ref().map(|since| since.records);
    let generation = signet.renewal.begin(context).await?;
    let rows = store.renew_rows(&|progress| told(progress.done, progress.of)).await?;
    signet.renewal.renew_envelopes().await?;
    let mut record = AuditEvent::new(Event::RestoreAnswered, Outcome::Done, tenant.as_str(), context);
    let renewed = format!("the deployment's secret is of generation {generation}, {} rows stay void", void(&rows));
    record.detail = Some(match records {
        Some(records) => format!("{renewed}; by an export with {records} later records; {word}"),
        None => format!("{renewed}; {word}"),
    });
    let doubted = store.answer(since.is_some(), record).await?;
    signet.renewal.end().await?;
    let others = since.map_or_else(Vec::new, |since| since.others);
    Ok(Answered { records, ended, missing, doubted, others, generation, rows })
}

/// What an export says of the time that the store lacks.
async fn read(store: &SqlStore, export: &Export<'_>) -> anyhow::Result<Since> {
    let name = export.file.display().to_string();
    let (pages, mut waiting) = mpsc::channel(WAITING);
    let input = File::open(export.file).with_context(|| format!("can't read {name}"))?;
    let keys = export.keys.clone();
    let reading = tokio::task::spawn_blocking(move || send_pages(BufReader::new(input), &keys, &pages));
    let (mut since, mut known) = (Since::default(), 0_u64);
    while let Some(page) = waiting.recv().await {
        known = known.saturating_add(compare(store, &page, &mut since).await?);
    }
    reading.await.context("the export's reader ended")?.with_context(|| format!("the export {name} is refused"))?;
    anyhow::ensure!(known > 0, "the export {name} has no record of this store: it is of another deployment");
    anyhow::ensure!(
        since.records > 0,
        "the export {name} reaches no further than the store: it says nothing of what ended since. Without a later one, say so by \
         `signet restore --ended TEXT`"
    );
    Ok(since)
}

/// Verifies an export; its records go to `pages`, each page of one node's chain, and count once all is verified.
fn send_pages(
    input: BufReader<File>,
    keys: &[VerifyingKey],
    pages: &mpsc::Sender<Vec<Record>>,
) -> Result<(), signet_core::audit::ExportError> {
    let mut page: Vec<Record> = Vec::with_capacity(PAGE);
    // Whoever compares them has given up where nobody takes them: what is read from then on is only verified.
    let send = |page: &mut Vec<Record>| drop(pages.blocking_send(std::mem::take(page)));
    let verified = ExportReader::new(input).verify_each(keys, &[], &mut |record| {
        if page.len() >= PAGE || page.last().is_some_and(|last| last.node != record.node) {
            send(&mut page);
        }
        page.push(record);
    });
    send(&mut page);
    verified.map(drop)
}

/// Takes the records of a page that the store does not have; returns how many it has.
async fn compare(store: &SqlStore, page: &[Record], since: &mut Since) -> anyhow::Result<u64> {
    let Some(first) = page.first() else { return Ok(0) };
    let most = u32::try_from(page.len()).unwrap_or(u32::MAX);
    let stored = store.records(&first.node, first.sequence, most).await?;
    let mut known = 0_u64;
    let mut stored = stored.iter().peekable();
    for record in page {
        while stored.next_if(|stored| stored.sequence < record.sequence).is_some() {}
        let is_known =
            stored.peek().is_some_and(|stored| stored.sequence == record.sequence && stored.hash == record.hash);
        if is_known {
            known = known.saturating_add(1);
            continue;
        }
        let draft: AuditEvent = serde_json::from_str(&record.text)
            .with_context(|| format!("record {} of node {} can't be read", record.sequence, record.node))?;
        since.take(&draft, record.at);
    }
    Ok(known)
}
