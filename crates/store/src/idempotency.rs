//! Requests that are not to be done twice, by a key that whoever asks chose.

use async_trait::async_trait;

use super::error::Result;
use signet_core::audit::NodeId;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;

/// A request under a key. Nothing in it says what was asked for: the hashes are made by a key that the store has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestClaim {
    /// The tenant.
    pub tenant: TenantId,
    /// A keyed hash of who asked and of the key.
    pub key_hash: [u8; 32],
    /// Who asked, as the audit log names them.
    pub operator: String,
    /// The method and the path.
    pub operation: String,
    /// A keyed hash of the body.
    pub body_hash: [u8; 32],
    /// The node that took it in hand.
    pub node: NodeId,
    /// When.
    pub claimed_at: Timestamp,
    /// Until when the key stands for this request.
    pub kept_until: Timestamp,
    /// What became of it; none while it is in hand, and for good where that node ended before it was written down.
    pub outcome: Option<RequestOutcome>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOutcome {
    /// The HTTP status of its answer.
    pub status: u16,
    /// The address of what it made.
    pub location: String,
}

/// Requests by the key that they came with.
#[async_trait]
pub trait IdempotencyKeys: Send + Sync {
    /// Takes a request in hand: none where its key was free, or stood for a request until a time that is over; else the request
    /// that it stands for, and nothing is changed.
    async fn claim_request(&self, claim: &RequestClaim) -> Result<Option<RequestClaim>>;
    /// Writes down what became of a request that is in hand.
    async fn finish_request(&self, claim: &RequestClaim, outcome: &RequestOutcome) -> Result<()>;
    /// Frees the key of a request that is in hand: nothing was done.
    async fn release_request(&self, claim: &RequestClaim) -> Result<()>;
}
