//! Contract: the nodes of the deployment, and the right of a process to be one. See [`contract`](super::contract) for what holds
//! of all contracts.

use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use signet_core::audit::{AuditEvent, Head, NodeId};
use signet_core::keys::HsmName;
use signet_jose::clock::Timestamp;

/// A node, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What its machine calls itself; empty until its server ran.
    pub name: String,
    /// When it wrote first.
    pub joined_at: Timestamp,
    /// Until when its server holds the right to be this node, by the clock that leases go by; `None` where none ever did, or it
    /// was given back.
    pub leased_until: Option<Timestamp>,
    /// When it was taken out for good.
    pub retired_at: Option<Timestamp>,
    /// The end of its chain of records.
    pub head: Head,
}

/// Who asks for the right to be a node.
#[derive(Debug, Clone)]
pub struct NodeHolder {
    /// Names this process, and no other one.
    pub process: String,
    /// The process of this node that is known to have ended: its right is taken over at once.
    pub ended: Option<String>,
    /// What the machine calls itself.
    pub name: String,
}

/// How the request for a node's lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum NodeLease {
    /// This process is the node until the lease ends. From now on it writes under this lease alone: where another process
    /// took it over, or the node was retired, nothing of this one is committed any more.
    Held,
    /// Another process is this node.
    Taken,
    /// The node was retired.
    Retired,
}

/// How many access tokens a second a node lets an HSM token sign, as its configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmRate {
    /// The HSM token.
    pub hsm: HsmName,
    /// The most that the node's workers sign together; `None` where it sets no bound.
    pub most_per_second: Option<u32>,
    /// What the HSM token can do, by all nodes together, where the node's operator said so.
    pub capacity: Option<u32>,
}

/// The nodes of the deployment. A node has a chain of records of its own: it is the one that a store's process was opened as.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// The node that this process is.
    fn node(&self) -> &NodeId;
    /// Every node that ever wrote, the oldest first.
    async fn nodes(&self) -> Result<Vec<Node>>;
    /// Takes or renews the right to be this node, for so long; by the clock of [`Leases`](super::Leases).
    async fn lease_node(&self, holder: &NodeHolder, at: Timestamp, lasts: Duration) -> Result<NodeLease>;
    /// Gives the right back, where this process has it.
    async fn give_back_node(&self, process: &str) -> Result<()>;
    /// Writes down what this node's configuration says of its HSM tokens, in the place of what it said before.
    async fn keep_rates(&self, rates: &[HsmRate]) -> Result<()>;
    /// What the nodes said last of their HSM tokens.
    async fn rates(&self) -> Result<Vec<(NodeId, HsmRate)>>;
    /// Takes a node out for good: nothing that it writes is committed any more. `false`, and nothing recorded, where there is no
    /// such node, or it is out already.
    async fn retire_node(&self, node: &NodeId, at: Timestamp, audit: Vec<AuditEvent>) -> Result<bool>;
}
