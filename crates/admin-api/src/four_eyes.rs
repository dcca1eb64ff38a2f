//! The four-eyes rule.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether what one operator adds as a factor waits for another person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"holds": true, "configured": true}))]
pub struct FourEyes {
    /// Whether it holds, on every node.
    pub holds: bool,
    /// Whether the configuration of the node that answers asks for it.
    pub configured: bool,
    /// Who asked that it hold no more, and waits for another person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowering_asked_by: Option<String>,
}
