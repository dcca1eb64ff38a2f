//! The contract of the audit log. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::Generations;
use super::error::Result;
use signet_core::audit::{AuditEvent, Checkpoint, Head, NodeId, Record};

/// Audit records that say one thing of one key, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMention {
    /// The record's `event`.
    pub event: String,
    /// Its `key`; empty where it names none.
    pub key: String,
    /// Its `signed`.
    pub signed: Option<String>,
    /// Its `reason`.
    pub reason: Option<String>,
    /// How many records.
    pub records: u64,
    /// The sum of their `signatures`.
    pub signatures: i64,
}

/// What a node counted of its own chain, up to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCounts {
    /// The last record that is counted. Where the chain's record of this sequence has another hash, the counts are of no use.
    pub up_to: Head,
    /// The counts, as the node wrote them.
    pub counts: String,
}

/// The audit log: a chain of records for each node, and the checkpoints over it. This process appends to the chain of its own
/// [node](super::Nodes::node).
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Appends records; durable when it returns. Returns the [generations](super::Membership::generations) of the first one's
    /// tenant, as of when they were written or later.
    async fn append(&self, audit: Vec<AuditEvent>) -> Result<Generations>;
    /// Records of a node from `first` on, at most `limit`, in order.
    async fn records(&self, node: &NodeId, first: i64, limit: u32) -> Result<Vec<Record>>;
    /// Where the chains end that have records, as the store keeps it beside them; in the order of the nodes' ids.
    async fn heads(&self) -> Result<Vec<(NodeId, Head)>>;
    /// Keeps a signed checkpoint, in the store and in its anchor, or in neither as far as the next one can tell: after a
    /// failure [`last_checkpoint`](Self::last_checkpoint) is an older one, and what was not covered is still to be signed.
    /// `false` where another checkpoint over the same record was kept first; then this one is dropped.
    async fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<bool>;
    /// Of this node's records after one place up to another, those that name a key or tell that counting began, counted by
    /// what they say.
    async fn key_mentions(&self, after: i64, up_to: i64) -> Result<Vec<KeyMention>>;
    /// The checkpoints of this node's chain after one place up to another, counted by their encoded JWS header.
    async fn checkpoint_headers(&self, after: i64, up_to: i64) -> Result<Vec<(String, u64)>>;
    /// What this node keeps of its counts. It is worth what the store is: whoever writes there can write it.
    async fn kept_counts(&self) -> Result<Option<KeptCounts>>;
    /// Keeps this node's counts in the place of those that it knows of (`None`: of none). `false`, and nothing written, where
    /// others are there by now.
    async fn keep_counts(&self, known: Option<&KeptCounts>, counts: &KeptCounts) -> Result<bool>;
    /// Forgets what this node keeps of its counts. `false`, and nothing recorded, where it keeps none.
    async fn forget_counts(&self, audit: Vec<AuditEvent>) -> Result<bool>;
    /// Every checkpoint of a node's chain with a sequence of at least `first`, in order, at most `limit`.
    async fn checkpoints(&self, node: &NodeId, first: i64, limit: u32) -> Result<Vec<Checkpoint>>;
    /// The newest checkpoint of a node's chain.
    async fn last_checkpoint(&self, node: &NodeId) -> Result<Option<Checkpoint>>;
}

/// The end of one chain among [all](AuditLog::heads); the default where it has no records.
pub fn head_of(heads: &[(NodeId, Head)], node: &NodeId) -> Head {
    heads.iter().find(|(of, _)| of == node).map_or_else(Head::default, |(_, head)| *head)
}
