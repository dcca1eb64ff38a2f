//! The machines whose servers share the deployment's store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every node, and what the HSM tokens may be asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"nodes": [{"id": "5d3c0a9be1f24c7d", "name": "rack-a", "state": "serving", "is_this": true,
    "joined_at": "2026-11-30T08:00:00Z", "records": 12}],
    "hsm": [{"hsm": "primary", "nodes": 1, "most_per_second": 400, "capacity": 1000, "is_too_much": false}]}))]
pub struct Nodes {
    /// Every node that ever wrote, the oldest first.
    pub nodes: Vec<Node>,
    /// What each HSM token may be asked for by the nodes that serve.
    pub hsm: Vec<HsmDemand>,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// A server holds the right to be it.
    Serving,
    /// None does: it was stopped, or has not been heard of for longer than its lease.
    Stopped,
    /// It was taken out for good.
    Retired,
}

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// What its machine calls itself; empty until its server ran.
    pub name: String,
    /// How it is.
    pub state: NodeState,
    /// Whether it is the one that is asked.
    pub is_this: bool,
    /// When it wrote first, RFC 3339.
    #[schema(format = DateTime)]
    pub joined_at: String,
    /// How many records its audit chain has.
    pub records: i64,
    /// When it was retired, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub retired_at: Option<String>,
}

/// What an HSM token may be asked for by all nodes that serve.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HsmDemand {
    /// Its name.
    pub hsm: String,
    /// How many nodes that serve have it.
    pub nodes: u32,
    /// The most access tokens a second that they let it sign together; `null` where one of them sets no bound.
    pub most_per_second: Option<u64>,
    /// What it can do, where a node's operator said so: the least that any said.
    pub capacity: Option<u32>,
    /// Whether it may be asked for more than it can do.
    pub is_too_much: bool,
}

/// A node that was taken out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "5d3c0a9be1f24c7d", "name": "rack-a", "records": 12}))]
pub struct RetiredNode {
    /// Its id.
    pub id: String,
    /// What its machine called itself.
    pub name: String,
    /// The record that its chain ends with.
    pub records: i64,
}

/// The code that a new machine shows.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"code": "K7QM 2XVD 9HTR 4WNB 6PZC 8YJF 3GLS 5AEU"}))]
pub struct NewAdmission {
    /// The code, as it was compared on both machines.
    pub code: String,
}

/// A node that was let in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"hsm": "late", "node": "5d3c0a9be1f24c7d", "code": "K7QM 2XVD 9HTR 4WNB 6PZC 8YJF 3GLS 5AEU"}))]
pub struct AdmittedNode {
    /// Its HSM token.
    pub hsm: String,
    /// The node.
    pub node: String,
    /// The code that it showed.
    pub code: String,
}
