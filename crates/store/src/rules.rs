//! Rules of the deployment that hold whatever a node's configuration says.

use async_trait::async_trait;

use crate::error::StoreError;
use signet_core::audit::AuditEvent;

/// What is decided of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Whether it holds.
    pub holds: bool,
    /// Who asked that it hold no more, and waits for another person.
    pub lowering_asked_by: Option<String>,
}

/// The rules of the deployment.
#[async_trait]
pub trait Rules: Send + Sync {
    /// What is decided of the rule of this name; none where nothing ever was.
    async fn rule(&self, name: &str) -> Result<Option<Rule>, StoreError>;
    /// Decides of a rule, while what was seen of it still is so; `false` where it is not.
    async fn decide_rule(
        &self,
        name: &str,
        seen: Option<&Rule>,
        rule: &Rule,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError>;
}
