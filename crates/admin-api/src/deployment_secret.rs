//! The deployment's secret, by which rows that give rights are authenticated.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the deployment's secret stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"generation": 2, "under_way": true, "elsewhere": false, "waits_for": [], "rows_done": 1200,
    "rows": 5000, "rewritten": 1200, "void_rows": 0}))]
pub struct DeploymentSecret {
    /// Its newest generation.
    pub generation: u8,
    /// Whether rows are being written under that one.
    pub under_way: bool,
    /// Whether another process goes on with it at this moment.
    pub elsewhere: bool,
    /// The ids of nodes that serve and have not opened it: nothing goes on before they have.
    pub waits_for: Vec<String>,
    /// How many rows the process that answers has looked at.
    pub rows_done: u64,
    /// How many there are.
    pub rows: u64,
    /// How many it wrote anew.
    pub rewritten: u64,
    /// How many it found not to verify: they grant nothing, and stay so.
    pub void_rows: u64,
}

/// A renewal of the secret that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"generation": 2, "why": "a server's memory may have been read"}))]
pub struct SecretRenewal {
    /// The generation that is to be made, or gone on with.
    pub generation: u8,
    /// Why, for the audit log.
    pub why: String,
}
