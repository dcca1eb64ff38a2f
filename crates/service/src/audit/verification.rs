//! Checks the chains in a store: every record against its neighbours, the signed checkpoints beside them, and the anchor outside.

use std::collections::VecDeque;

use signet_core::audit::chain::{ChainCheck, ChainFault, ChainSummary, open_checkpoint};
use signet_core::audit::{Checkpoint, Head, NodeId};
use signet_jose::VerifyingKey;
use signet_store::{AuditLog, StoreError, StoreFailure};

/// Records that are read at once.
const PAGE: u32 = 1000;

/// What is wrong with a store's chains, or why that can't be told.
#[derive(Debug, thiserror::Error)]
pub enum ChainsRefused {
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A chain is not as another node's checkpoint knows it.
    #[error(
        "the chain of node {node} was cut off, removed or replaced: a signed checkpoint of another node names its record {sequence}"
    )]
    CutOff {
        /// Whose chain.
        node: NodeId,
        /// The record that the checkpoint names.
        sequence: i64,
    },
    /// A checkpoint that was to tell how far the chains reach verifies by no key.
    #[error(transparent)]
    Checkpoint(#[from] ChainFault),
    /// A chain is not intact.
    #[error("{}{fault}", .node.as_ref().map_or_else(String::new, |node| format!("the chain of node {node}: ")))]
    Chain {
        /// Whose, where there are several.
        node: Option<NodeId>,
        /// What is wrong.
        fault: ChainFault,
    },
    /// The anchor reaches further than the store.
    #[error("{}{}", StoreFailure::RolledBack, .0.as_ref().map_or_else(String::new, |fault| format!(": {fault}")))]
    RolledBack(Option<ChainFault>),
}

/// Checks every record of the store against its neighbours, the checkpoints beside them and the anchor outside. A checkpoint
/// beyond a chain's end says that it was cut off, and so does one of another node that names a later record. `anchored` is read
/// before this begins. Returns what was found of each chain.
/// Errors: [`ChainsRefused`]: the first thing that is wrong.
pub async fn verify_chains(
    log: &dyn AuditLog,
    keys: &[VerifyingKey],
    anchored: Option<&Checkpoint>,
) -> Result<Vec<ChainSummary>, ChainsRefused> {
    // What is signed first, the heads afterwards: running servers move those on, and never back behind a checkpoint.
    let mut signed = Vec::new();
    for (node, _) in log.heads().await? {
        let newest = log.last_checkpoint(&node).await?;
        signed.extend(newest.map(|newest| open_checkpoint(&newest, keys)).transpose()?);
    }
    signed.extend(anchored.map(|anchored| open_checkpoint(anchored, keys)).transpose()?);
    let heads = log.heads().await?;
    for (node, named) in signed.iter().flat_map(|claims| &claims.others) {
        let record = log.records(node, named.sequence, 1).await?.into_iter().next();
        if !record.is_some_and(|record| record.sequence == named.sequence && record.hash == named.hash) {
            return Err(ChainsRefused::CutOff { node: node.clone(), sequence: named.sequence });
        }
    }
    let mut chains = Vec::with_capacity(heads.len());
    for (node, end) in &heads {
        // What was the newest at the beginning: later ones may cover records beyond the end as it was read.
        let newest = signed.iter().find(|claims| claims.node == *node).map_or(i64::MIN, |claims| claims.head.sequence);
        let of_node = anchored.filter(|kept| kept.node == *node);
        let mut chain =
            verify_chain(log, keys, of_node, (node, *end), newest).await.map_err(|refused| match refused {
                ChainsRefused::Checkpoint(fault) => {
                    ChainsRefused::Chain { node: (heads.len() > 1).then(|| node.clone()), fault }
                }
                refused => refused,
            })?;
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
        return Err(ChainsRefused::RolledBack(None));
    }
    Ok(chains)
}

async fn verify_chain(
    log: &dyn AuditLog,
    keys: &[VerifyingKey],
    anchored: Option<&Checkpoint>,
    (node, end): (&NodeId, Head),
    newest: i64,
) -> Result<ChainSummary, ChainsRefused> {
    let mut signed = Signed::up_to(log, node, newest);
    let mut check = ChainCheck::of(node.clone());
    while check.head().sequence < end.sequence {
        let page = log.records(node, check.head().sequence.saturating_add(1), PAGE).await?;
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
        check.checkpoint(beyond, keys).map_err(|fault| ChainsRefused::RolledBack(Some(fault)))?;
    }
    Ok(check.finish_at(end)?)
}

/// A chain's checkpoints in order, a page at a time, up to the one that was the newest at the beginning.
struct Signed<'s> {
    log: &'s dyn AuditLog,
    node: &'s NodeId,
    page: VecDeque<Checkpoint>,
    next: i64,
    last: i64,
}

impl<'s> Signed<'s> {
    const fn up_to(log: &'s dyn AuditLog, node: &'s NodeId, last: i64) -> Self {
        Self { log, node, page: VecDeque::new(), next: i64::MIN, last }
    }

    /// The next one, if it covers no more than this.
    async fn next_within(&mut self, sequence: i64) -> Result<Option<Checkpoint>, StoreError> {
        if self.page.is_empty() && self.next <= self.last {
            let page = self.log.checkpoints(self.node, self.next, PAGE).await?;
            self.page = page.into_iter().take_while(|checkpoint| checkpoint.sequence <= self.last).collect();
            self.next = self.page.back().map_or(i64::MAX, |checkpoint| checkpoint.sequence.saturating_add(1));
        }
        Ok(self.page.pop_front_if(|checkpoint| checkpoint.sequence <= sequence))
    }
}
