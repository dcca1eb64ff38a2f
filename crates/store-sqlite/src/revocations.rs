//! Access tokens that were revoked before they expired.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::fault::Result;
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_core::audit::Draft;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;
use signet_store::{Revocations, StoreError};

texts! {
    ADD = "INSERT INTO revocations (tenant, jti, expires_at, revoked_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    FIND = "SELECT 1 FROM revocations WHERE tenant = $1 AND jti = $2";
    PRUNE = "DELETE FROM revocations WHERE (tenant, jti) IN (
        SELECT tenant, jti FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
}

/// A token that is revoked.
struct Revocation {
    tenant: TenantId,
    jti: String,
    expires_at: Timestamp,
    at: Timestamp,
}

/// AuditOnOutcome each time: a second revocation is a decision too.
async fn add(revocation: &Revocation, connection: &mut SqliteConnection) -> Result<WriteOutcome<()>> {
    sqlx::query(ADD)
        .bind(revocation.tenant.as_str())
        .bind(revocation.jti.as_str())
        .bind(revocation.expires_at.unix_millis())
        .bind(revocation.at.unix_millis())
        .execute(connection)
        .await?;
    Ok(WriteOutcome::applied(()))
}

/// Forgets at most `limit` tokens that expired before `before`.
pub(super) async fn prune(connection: &mut SqliteConnection, before: Timestamp, limit: u32) -> Result<u64> {
    let pruned = sqlx::query(PRUNE).bind(before.unix_millis()).bind(i64::from(limit)).execute(connection).await?;
    Ok(pruned.rows_affected())
}

#[async_trait]
impl Revocations for SqliteStore {
    async fn revoke_token(
        &self,
        tenant: &TenantId,
        jti: &str,
        expires_at: Timestamp,
        at: Timestamp,
        audit: Vec<Draft>,
    ) -> Result<(), StoreError> {
        let revocation = Revocation { tenant: tenant.clone(), jti: jti.to_owned(), expires_at, at };
        self.writer.change("revoke token", revocation, audit, add).await
    }

    async fn is_revoked(&self, tenant: &TenantId, jti: &str) -> Result<bool, StoreError> {
        let query = sqlx::query(FIND).bind(tenant.as_str()).bind(jti.to_owned());
        Ok(self.read_one("look up revocation", query).await?.is_some())
    }
}
