//! What a test asks of the chain of the node that it opened the store as.

use std::sync::Arc;

use signet_core::audit::{Checkpoint, Head, NodeId, Record};
use signet_core::keys::TenantId;
use signet_core::row_keys::RowKeys;
use signet_core::secret::SecretBytes;
use signet_store::audit_log::head_of;
use signet_store::{SecretsAtRest as _, Store, StoreError};
use signet_store_sql::SqlStore;

/// The node that tests are, where they are one.
pub(crate) fn node() -> NodeId {
    NodeId::new("one")
}

/// A store that writes and checks rows as one does whose deployment's secret was opened.
pub(crate) fn keyed(store: Arc<SqlStore>) -> Arc<SqlStore> {
    store.use_row_keys(RowKeys::of(1, &SecretBytes::new(vec![5; 32])));
    store
}

/// The chain of the node itself.
pub(crate) trait OwnChain {
    async fn head(&self) -> Result<Head, StoreError>;
    async fn own_records(&self, first: i64, limit: u32) -> Result<Vec<Record>, StoreError>;
    async fn own_checkpoints(&self, first: i64, limit: u32) -> Result<Vec<Checkpoint>, StoreError>;
    async fn last_own_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError>;
    /// A number that rises with every change of what others may remember.
    async fn generation(&self) -> Result<i64, StoreError>;
}

impl<S: Store + ?Sized> OwnChain for S {
    async fn head(&self) -> Result<Head, StoreError> {
        Ok(head_of(&self.heads().await?, self.node()))
    }

    async fn own_records(&self, first: i64, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.records(self.node(), first, limit).await
    }

    async fn own_checkpoints(&self, first: i64, limit: u32) -> Result<Vec<Checkpoint>, StoreError> {
        self.checkpoints(self.node(), first, limit).await
    }

    async fn last_own_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.last_checkpoint(self.node()).await
    }

    async fn generation(&self) -> Result<i64, StoreError> {
        let now = self.generations(&TenantId::default_tenant()).await?;
        Ok(now.keys + now.clients + now.secrets + now.members)
    }
}
