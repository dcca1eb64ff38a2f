//! Access tokens that were revoked before they expired.

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_core::audit::Draft;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;
use signet_store::{Revocations, StoreError};

texts! {
    ADD = "INSERT INTO revocations (tenant, jti, expires_at, revoked_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    FIND = "SELECT 1 FROM revocations WHERE tenant = $1 AND jti = $2";
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
    query(ADD)
        .bind(&revocation.tenant)
        .bind(&revocation.jti)
        .bind(revocation.expires_at)
        .bind(revocation.at)
        .execute(connection)
        .await?;
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
        audit: Vec<Draft>,
    ) -> Result<(), StoreError> {
        let revocation = Revocation { tenant: tenant.clone(), jti: jti.to_owned(), expires_at, at };
        let scope = Scope::alone(Name::Once(tenant, "jti", jti.as_bytes()));
        self.writer.change("revoke token", scope, revocation, audit, add).await
    }

    async fn is_revoked(&self, tenant: &TenantId, jti: &str) -> Result<bool, StoreError> {
        let query = query(FIND).bind(tenant).bind(jti.to_owned());
        Ok(self.read_one("look up revocation", query, |_| Ok(())).await?.is_some())
    }
}
