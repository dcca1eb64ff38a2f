//! The audit log: its records, its export, and whether all of it is there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A record. Its exact text, which the hash covers, is in the export.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"node": "5d3c0a9be1f24c7d", "seq": 12, "at": "2026-11-30T08:00:00.123Z", "event": "user.changed",
    "outcome": "done", "v": 1, "tenant": "default", "operator": "ann (uid 1000)",
    "hash": "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"}))]
pub struct AuditRecord {
    /// The node whose chain it is in.
    pub node: String,
    /// Its place there: 1, 2, 3, ... without gaps.
    pub seq: i64,
    /// When it was made durable.
    #[schema(format = DateTime)]
    pub at: String,
    /// What happened.
    pub event: String,
    /// How it ended: `done`, `refused` or `failed`.
    pub outcome: String,
    /// SHA-256 of the record before it, followed by its text, in base64url.
    pub hash: String,
    /// What else it says.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// The end of a node's chain.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"node": "5d3c0a9be1f24c7d", "records": 12}))]
pub struct ChainEnd {
    /// The node, by id.
    pub node: String,
    /// How many records its chain has: the number of the last one.
    pub records: i64,
}

/// Which records are asked for. A page may have fewer than `limit` and more may follow: go on until there is no `next`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordQuery {
    /// The `next` of the page before; or a node's id, a full stop and a record's number, after which to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many at most, 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u16>,
    /// Of this node alone, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Not before this, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(format = DateTime)]
    pub since: Option<String>,
    /// Before this, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(format = DateTime)]
    pub until: Option<String>,
    /// Of this event alone, e.g. `sign_in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// About this user, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// About this client, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// By which keys the chains are verified.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VerificationQuery {
    /// The audit keys, as the text of a JWK or JWKS; those that the server is configured with where none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
}

/// What a check of the chains found.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"intact": true, "records": 12, "checkpoints": 2, "signed_up_to": 12, "signed_at": "2026-11-30T08:00:00Z",
    "anchored_up_to": 12, "nodes": [{"node": "5d3c0a9be1f24c7d", "records": 12, "signed_up_to": 12,
    "signed_at": "2026-11-30T08:00:00Z", "anchored_up_to": 12}]}))]
pub struct Verification {
    /// Whether nothing was changed, removed, reordered or cut off. Where it is false nothing is said but `fault`.
    pub intact: bool,
    /// The first thing that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// How many records there are, of all nodes.
    pub records: i64,
    /// How many checkpoints were matched.
    pub checkpoints: u64,
    /// How many records are signed.
    pub signed_up_to: i64,
    /// When the last of them was.
    #[schema(format = DateTime)]
    pub signed_at: Option<String>,
    /// How far the anchor outside of the store reaches.
    pub anchored_up_to: Option<i64>,
    /// Each node's chain.
    pub nodes: Vec<VerifiedChain>,
}

/// One node's chain.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerifiedChain {
    /// The node.
    pub node: String,
    /// Its last record.
    pub records: i64,
    /// The last one that a checkpoint covers; 0 without any.
    pub signed_up_to: i64,
    /// When that was signed.
    #[schema(format = DateTime)]
    pub signed_at: Option<String>,
    /// How far the anchor reaches, where it is of this chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchored_up_to: Option<i64>,
}

/// What a check of the rows that rights stand in found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"intact": true, "tables": [{"table": "users", "rows": 3, "forged": 0, "named": []}]}))]
pub struct CheckedRows {
    /// Whether Signet wrote every one of them.
    pub intact: bool,
    /// By table.
    pub tables: Vec<CheckedTable>,
}

/// The rows of a table.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CheckedTable {
    /// The table.
    pub table: String,
    /// How many rows were checked.
    pub rows: u64,
    /// How many of them do not verify.
    pub forged: u64,
    /// What names those rows: the first hundred.
    pub named: Vec<String>,
}
