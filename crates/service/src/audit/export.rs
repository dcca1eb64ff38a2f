//! The audit log as it is handed on: all of it as JSON lines that a checkpoint closes, or a page of it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;

use crate::ChangeError;
use crate::audit::answering_key;
use crate::audit::checkpoint::Checkpoints;
use signet_core::audit::chain::{ChainFault, open_checkpoint};
use signet_core::audit::export::ExportLine;
use signet_core::audit::{AuditEvent, Checkpoint, Event, NodeId, Outcome, Record, RequestContext};
use signet_jose::VerifyingKey;
use signet_jose::clock::Timestamp;
use signet_store::audit_log::head_of;
use signet_store::{AuditLog, StoreError};

/// Records that are read at once.
const PAGE: u32 = 1000;
/// Records that one page of a list is looked for among, so that a rare one is no long wait.
const LOOKED_THROUGH: usize = 20_000;

module! {
    /// Reads the audit log for those who ask for it.
    pub struct AuditReader {
        takes directory, hsm_health, settings, audit, audit_log, nodes;
        calls checkpoints: Checkpoints;
    }
}

/// Why nothing, or no more, is exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportRefused {
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to close an export with.
    #[error("no checkpoint was signed yet: an export must end with one. Is the HSM there?")]
    NeverSigned,
    /// The checkpoint that is to close it verifies by no audit key.
    #[error(transparent)]
    Checkpoint(#[from] ChainFault),
    /// A record is not there.
    #[error("record {0} is missing, though a checkpoint covers it: see audit verify")]
    Missing(i64),
}

/// An export that is under way: what comes of it a page at a time.
pub struct Export {
    log: Arc<dyn AuditLog>,
    /// The chains that are still to come, each with its end.
    chains: VecDeque<(NodeId, i64)>,
    /// The record of the first of them that comes next.
    next: i64,
    closing: Option<Checkpoint>,
    /// Why no new checkpoint could be signed: it ends at the last one.
    pub unsigned: Option<ChangeError>,
}

/// Which records are asked for.
#[derive(Debug, Clone, Default)]
pub struct RecordFilter {
    /// Of this node alone.
    pub node: Option<NodeId>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// Of this event alone.
    pub event: Option<Event>,
    /// About this user, by id.
    pub user: Option<String>,
    /// About this client, by id.
    pub client: Option<String>,
}

/// A part of the audit log.
#[derive(Debug, Clone, Default)]
pub struct RecordPage {
    /// The records, chain by chain.
    pub records: Vec<Record>,
    /// After which record the next page begins; `None` at the end.
    pub next: Option<(NodeId, i64)>,
}

impl AuditReader {
    /// Begins an export. What no checkpoint covers is signed first; where other nodes write as well, something always is: the last
    /// checkpoint of this node's chain names the ends of theirs as they were then.
    /// Errors: [`ExportRefused`].
    pub async fn export(&self, keys: &[VerifyingKey], context: &RequestContext) -> Result<Export, ExportRefused> {
        let unsigned = self.sign_what_is_not(context).await.err();
        let last = self.audit_log.last_checkpoint(self.nodes.node()).await?.ok_or(ExportRefused::NeverSigned)?;
        let claims = open_checkpoint(&last, keys)?;
        let others = claims.others.into_iter().map(|(node, end)| (node, end.sequence));
        let chains = others.chain([(last.node.clone(), last.sequence)]).collect();
        Ok(Export { log: self.audit_log.clone(), chains, next: 1, closing: Some(last), unsigned })
    }

    async fn sign_what_is_not(&self, context: &RequestContext) -> Result<(), ChangeError> {
        let (heads, node) = (self.audit_log.heads().await?, self.nodes.node());
        let last = self.audit_log.last_checkpoint(node).await?;
        let is_alone = heads.iter().all(|(other, _)| other == node);
        if is_alone && last.is_some_and(|last| last.sequence >= head_of(&heads, node).sequence) {
            return Ok(());
        }
        if !is_alone {
            answering_key(self.directory.fresh().await?.as_ref(), self.hsm_health.as_ref())?;
            let tenant = self.settings.tenant.as_str();
            let exported = AuditEvent::new(Event::AuditExported, Outcome::Done, tenant, context);
            self.audit.append(vec![exported]).await?;
        }
        self.checkpoints.checkpoint().await.map(drop)
    }

    /// The records that fit a filter and come after one of them, the oldest of a chain first and chain by chain: so many at most.
    /// There may be fewer, and more to come.
    /// Errors: what the store says.
    pub async fn records(
        &self,
        filter: &RecordFilter,
        after: Option<&(NodeId, i64)>,
        limit: usize,
    ) -> Result<RecordPage, ChangeError> {
        let mut page = RecordPage::default();
        let mut looked_through = 0_usize;
        let is_asked = |node: &NodeId| filter.node.as_ref().is_none_or(|asked| asked == node);
        let mut heads = self.audit_log.heads().await?;
        heads.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        for (node, head) in heads.into_iter().filter(|(node, _)| is_asked(node)) {
            let mut place = match after {
                Some((of, _)) if node.as_str() < of.as_str() => continue,
                Some((of, sequence)) if node == *of => *sequence,
                _ => 0,
            };
            if let Some(since) = filter.since {
                place = place.max(self.last_before(&node, head.sequence, since).await?);
            }
            while place < head.sequence {
                let records = self.audit_log.records(&node, place.saturating_add(1), PAGE).await?;
                if records.is_empty() {
                    break;
                }
                for record in records {
                    if filter.until.is_some_and(|until| record.at >= until) {
                        place = i64::MAX;
                        break;
                    }
                    if page.records.len() == limit || looked_through == LOOKED_THROUGH {
                        page.next = Some((node, place));
                        return Ok(page);
                    }
                    looked_through += 1;
                    place = record.sequence;
                    page.records.extend(Some(record).filter(|record| filter.fits(record)));
                }
            }
        }
        Ok(page)
    }

    /// The last record of a chain that was written before a time: a chain's time never goes back.
    async fn last_before(&self, node: &NodeId, last: i64, at: Timestamp) -> Result<i64, ChangeError> {
        let (mut before, mut beyond) = (0, last.saturating_add(1));
        while beyond - before > 1 {
            let middle = before + (beyond - before) / 2;
            let record = self.audit_log.records(node, middle, 1).await?.into_iter().next();
            if record.is_some_and(|record| record.at < at) { before = middle } else { beyond = middle }
        }
        Ok(before)
    }
}

/// What a filter asks of a record's text.
#[derive(Deserialize)]
struct About {
    event: String,
    user: Option<String>,
    client: Option<String>,
}

impl RecordFilter {
    fn fits(&self, record: &Record) -> bool {
        if self.event.is_none() && self.user.is_none() && self.client.is_none() {
            return true;
        }
        let Ok(about) = serde_json::from_str::<About>(&record.text) else { return false };
        let is_about = |asked: &Option<String>, told: &Option<String>| asked.is_none() || asked == told;
        self.event.is_none_or(|event| event.name() == about.event)
            && is_about(&self.user, &about.user)
            && is_about(&self.client, &about.client)
    }
}

impl Export {
    /// The next lines, each with its newline; `None` once the closing checkpoint was among them.
    /// Errors: [`ExportRefused`]: what came so far has no closing line, and is no export.
    pub async fn next_lines(&mut self) -> Result<Option<String>, ExportRefused> {
        let mut lines = String::new();
        while let Some((node, end)) = self.chains.front() {
            if self.next > *end {
                self.chains.pop_front();
                self.next = 1;
                continue;
            }
            let records = self.log.records(node, self.next, PAGE).await?;
            let of_chain = records.into_iter().take_while(|record| record.sequence <= *end);
            let begun_at = self.next;
            for record in of_chain {
                if record.sequence != self.next {
                    return Err(ExportRefused::Missing(self.next));
                }
                self.next = record.sequence.saturating_add(1);
                lines.push_str(&ExportLine::Record(record).to_json());
                lines.push('\n');
            }
            if self.next == begun_at {
                return Err(ExportRefused::Missing(self.next));
            }
            return Ok(Some(lines));
        }
        Ok(self.closing.take().map(|closing| format!("{}\n", ExportLine::Checkpoint(closing).to_json())))
    }
}
