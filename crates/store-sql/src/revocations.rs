//! Access tokens that were revoked before they expired.

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{fields, insert, insertions, rows, selections};
use super::engine::{Connection, Result};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;
use signet_store::{Revocations, StoreError};

selections! {
    FIND = "SELECT {revocations} FROM revocations WHERE tenant = $1 AND jti = $2";
}

insertions! {
    ADD = "revocations" "ON CONFLICT DO NOTHING";
}

/// A token that is revoked.
struct Revocation {
    tenant: TenantId,
    jti: String,
    expires_at: Timestamp,
    at: Timestamp,
}

/// AuditOnOutcome each time: a second revocation is a decision too.
async fn add(revocation: &Revocation, connection: &mut Connection) -> Result<WriteOutcome<()>> {
    let row = fields()
        .set("tenant", &revocation.tenant)
        .set("jti", &revocation.jti)
        .set("expires_at", revocation.expires_at)
        .set("revoked_at", revocation.at);
    insert(&ADD, row, vec![], connection).await?;
    Ok(WriteOutcome::applied(()))
}

#[async_trait]
impl Revocations for SqlStore {
    async fn revoke_token(
        &self,
        tenant: &TenantId,
        jti: &str,
        expires_at: Timestamp,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<(), StoreError> {
        let revocation = Revocation { tenant: tenant.clone(), jti: jti.to_owned(), expires_at, at };
        let scope = Scope::alone(Name::Once(tenant, "jti", jti.as_bytes()));
        self.writer.change("revoke token", scope, revocation, audit, add).await
    }

    async fn is_revoked(&self, tenant: &TenantId, jti: &str) -> Result<bool, StoreError> {
        let query = rows(&FIND).bind(tenant).bind(jti.to_owned());
        Ok(self.read_one("look up revocation", query, |_| Ok(())).await?.is_some())
    }
}
