//! Contract: the deployment's secret is renewed while servers run. Two generations hold meanwhile; first every node opens the new one,
//! then all write by it, then every row is written under it, then the old one goes. See [`contract`](super::contract) for what holds of
//! all contracts.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use signet_core::audit::{AuditEvent, NodeId};
use signet_core::keys::SealedCopies;
use signet_jose::clock::Timestamp;

/// A renewal that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The generation that was made.
    pub generation: u8,
    /// When it began.
    pub began_at: Timestamp,
    /// Since when rows are written by that generation; by the one before until then.
    pub writes_since: Option<Timestamp>,
}

/// How far the pass over the rows is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RenewedRows {
    /// Rows that this pass has looked at.
    pub done: u64,
    /// Rows that there are.
    pub of: u64,
    /// Rows that this process wrote under the new generation.
    pub rewritten: u64,
    /// Rows that this pass found not to verify, and left.
    pub refused: u64,
    /// Whether a whole pass found no row of the generation before.
    pub complete: bool,
}

/// The renewal of the deployment's secret.
#[async_trait]
pub trait Renewals: Send + Sync {
    /// The one that is under way.
    async fn renewal(&self) -> Result<Option<Renewal>>;
    /// Keeps the generation after the newest, by which nothing is written yet; `false` where it is not that, or one is under way.
    async fn begin_renewal(
        &self,
        generation: u8,
        seals: &SealedCopies,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool>;
    /// Says that this node has opened a generation, and so checks rows by it.
    async fn say_opened(&self, generation: u8) -> Result<()>;
    /// The nodes that serve at this moment and have not said so of this generation.
    async fn nodes_without(&self, generation: u8, at: Timestamp) -> Result<Vec<NodeId>>;
    /// From now on rows are written by this generation. What had begun to be written by the one before is committed when this returns.
    async fn write_by(&self, generation: u8, at: Timestamp) -> Result<()>;
    /// Writes rows of older generations under this one for about so long, each as it is by then and in nobody's way, and says how
    /// far that is. A row that does not verify stays as it is. The next call goes on; in another process it begins anew, and passes
    /// over what is done.
    async fn renew_some(&self, generation: u8, budget: Duration) -> Result<RenewedRows>;
    /// Removes every generation before this one and ends the renewal, in one commit with its record; `false`, and nothing removed, where
    /// rows are not written by it yet.
    async fn end_renewal(&self, generation: u8, audit: Vec<AuditEvent>) -> Result<bool>;
}
