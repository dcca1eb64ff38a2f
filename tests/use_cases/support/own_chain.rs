//! The chain of the node that tests are.

use signet_core::audit::{Head, NodeId, Record};
use signet_store::audit_log::head_of;
use signet_store::{AuditLog as _, Nodes as _, StoreError};
use signet_store_sql::SqlStore;

/// The node that tests are.
pub(crate) fn node() -> NodeId {
    NodeId::new("one")
}

/// What a test asks of its own node's chain.
pub(crate) trait OwnChain {
    async fn head(&self) -> Result<Head, StoreError>;
    async fn own_records(&self, first: i64, limit: u32) -> Result<Vec<Record>, StoreError>;
}

impl OwnChain for SqlStore {
    async fn head(&self) -> Result<Head, StoreError> {
        Ok(head_of(&self.heads().await?, self.node()))
    }

    async fn own_records(&self, first: i64, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.records(self.node(), first, limit).await
    }
}
