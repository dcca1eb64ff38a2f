//! The contract of the audit log. See [`contract`](super::contract) for what holds of all contracts.

use async_trait::async_trait;

use super::error::Result;
use signet_core::audit::{Checkpoint, Draft, Head, Record};

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

/// The audit log: a chain of records, and the checkpoints over it.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Appends records; durable when it returns. Returns the [generation](super::Membership::generation) as of the same commit.
    async fn append(&self, audit: Vec<Draft>) -> Result<i64>;
    /// Records from `first` on, at most `limit`, in order.
    async fn records(&self, first: i64, limit: u32) -> Result<Vec<Record>>;
    /// The end of the chain as the store keeps it beside the records.
    async fn head(&self) -> Result<Head>;
    /// Keeps a signed checkpoint, in the store and in its anchor, or in neither as far as the next one can tell: after a
    /// failure [`last_checkpoint`](Self::last_checkpoint) is an older one, and what was not covered is still to be signed.
    /// `false` where another checkpoint over the same record was kept first; then this one is dropped.
    async fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<bool>;
    /// Of the records after one place up to another, those that name a key or tell that counting began, counted by what
    /// they say.
    async fn key_mentions(&self, after: i64, up_to: i64) -> Result<Vec<KeyMention>>;
    /// The checkpoints after one place up to another, counted by their encoded JWS header.
    async fn checkpoint_headers(&self, after: i64, up_to: i64) -> Result<Vec<(String, u64)>>;
    /// Every checkpoint with a sequence of at least `first`, in order, at most `limit`.
    async fn checkpoints(&self, first: i64, limit: u32) -> Result<Vec<Checkpoint>>;
    /// The newest checkpoint.
    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>>;
}
