//! Tries at an account.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::fault::Result;
use super::row::moment;
use super::texts::texts;
use super::writer::Effect;
use crate::clock::Timestamp;
use crate::keys::TenantId;
use crate::store::{StoreError, Throttles, Told};

texts! {
    COUNT = "INSERT INTO throttles (tenant, account, tries, free_at) VALUES ($1, $2, 1, $4)
        ON CONFLICT (tenant, account) DO UPDATE SET
            tries = CASE WHEN throttles.free_at <= $3 THEN 1 ELSE throttles.tries + 1 END,
            free_at = $4
        WHERE throttles.tries < $5 OR throttles.free_at <= $3
        RETURNING tries";
    FREE_AT = "SELECT free_at FROM throttles WHERE tenant = $1 AND account = $2";
    FORGET = "DELETE FROM throttles WHERE tenant = $1 AND account = $2";
    PRUNE = "DELETE FROM throttles WHERE (tenant, account) IN (
        SELECT tenant, account FROM throttles WHERE tenant = $1 AND free_at <= $2 ORDER BY free_at LIMIT 100)";
    NEWEST_TO_GO = "SELECT free_at FROM throttles WHERE tenant = $1 ORDER BY free_at DESC LIMIT 1 OFFSET $2";
}

/// The most accounts of one tenant that are remembered; where made-up names fill this, the oldest are forgotten.
const MOST_ACCOUNTS: i64 = 100_000;

/// Every how many tries of a process the rows are counted; between, there may be that many more.
const BOUNDED_EVERY: u32 = 64;

/// A try that is counted.
struct Try {
    tenant: TenantId,
    account: [u8; 32],
    at: Timestamp,
    most: u32,
    free_at: Timestamp,
    /// Whether this one also looks whether there are too many rows, which costs a walk over them.
    bounds: bool,
}

async fn count(counted: &Try, connection: &mut SqliteConnection) -> Result<Effect<Option<Timestamp>>> {
    let row = sqlx::query(COUNT)
        .bind(counted.tenant.as_str())
        .bind(counted.account.to_vec())
        .bind(counted.at.unix_millis())
        .bind(counted.free_at.unix_millis())
        .bind(i64::from(counted.most))
        .fetch_optional(&mut *connection)
        .await?;
    if row.is_none() {
        let row = sqlx::query(FREE_AT)
            .bind(counted.tenant.as_str())
            .bind(counted.account.to_vec())
            .fetch_one(connection)
            .await?;
        return Ok(Effect::nothing(Some(moment(&row, "free_at")?)));
    }
    forget_free(connection, &counted.tenant, counted.at).await?;
    if counted.bounds {
        bound(connection, &counted.tenant).await?;
    }
    Ok(Effect::nothing(None))
}

/// Each try removes more rows than it can add.
async fn forget_free(connection: &mut SqliteConnection, tenant: &TenantId, at: Timestamp) -> Result<()> {
    sqlx::query(PRUNE).bind(tenant.as_str()).bind(at.unix_millis()).execute(connection).await?;
    Ok(())
}

async fn bound(connection: &mut SqliteConnection, tenant: &TenantId) -> Result<()> {
    let query = sqlx::query(NEWEST_TO_GO).bind(tenant.as_str()).bind(MOST_ACCOUNTS);
    if let Some(row) = query.fetch_optional(&mut *connection).await? {
        forget_free(connection, tenant, moment(&row, "free_at")?).await?;
    }
    Ok(())
}

async fn forget((tenant, account): &(TenantId, [u8; 32]), connection: &mut SqliteConnection) -> Result<Effect<()>> {
    sqlx::query(FORGET).bind(tenant.as_str()).bind(account.to_vec()).execute(connection).await?;
    Ok(Effect::nothing(()))
}

#[async_trait]
impl Throttles for SqliteStore {
    async fn count_try(
        &self,
        tenant: &TenantId,
        account: &[u8; 32],
        at: Timestamp,
        most: u32,
        pause_seconds: u32,
    ) -> std::result::Result<Option<Timestamp>, StoreError> {
        let counted = Try {
            tenant: tenant.clone(),
            account: *account,
            at,
            most,
            free_at: at.plus(std::time::Duration::from_secs(u64::from(pause_seconds))),
            bounds: self.tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(BOUNDED_EVERY),
        };
        self.writer
            .change("count try", counted, Told::default(), |counted, connection| Box::pin(count(counted, connection)))
            .await
    }

    async fn forget_tries(&self, tenant: &TenantId, account: &[u8; 32]) -> std::result::Result<(), StoreError> {
        self.writer
            .change("forget tries", (tenant.clone(), *account), Told::default(), |input, connection| {
                Box::pin(forget(input, connection))
            })
            .await
    }
}
