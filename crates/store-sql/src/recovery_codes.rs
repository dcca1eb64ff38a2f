//! Recovery codes.

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{change, fields, find, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, query};
use super::factor_life::add_for;
use super::factors::adding;
use super::outcome::WriteOutcome;
use super::row::number;
use super::texts::texts;
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::secret::SecretHash;
use signet_store::{Factor, FactorId, ProofSpending, RecoveryCodes, Session, StoreError};

insertions! {
    ADD = "recovery_codes" "ON CONFLICT DO NOTHING";
}

selections! {
    FIND = "SELECT {recovery_codes} FROM recovery_codes WHERE tenant = $1 AND factor_id = $2 AND kept = $3";
}

texts! {
    LEFT = "SELECT COUNT(*) AS unspent FROM recovery_codes WHERE tenant = $1 AND factor_id = $2 AND spent_at IS NULL";
    USED = "UPDATE factors SET last_used_at = $3 WHERE tenant = $1 AND id = $2";
}

async fn add(
    (session, factor, codes): &(Option<Session>, Factor, Vec<SecretHash>),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let added = add_for(session.as_ref(), factor, connection).await?;
    if added.answer {
        for kept in codes {
            let row = fields().set("tenant", &factor.tenant).set("factor_id", &factor.id).set("kept", kept);
            insert(&ADD, row, vec![], &mut *connection).await?;
        }
    }
    Ok(added)
}

/// Spends a recovery code.
pub(super) async fn spend(
    spending: &ProofSpending,
    kept: &SecretHash,
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let (tenant, id, at) = (&spending.tenant, &spending.factor, spending.at);
    let Some(code) = find("recovery_codes", &[tenant, id, kept], &mut *connection).await? else {
        return Ok(WriteOutcome::rejected(false));
    };
    let is_unspent = code.value::<Option<i64>>("spent_at")?.is_none();
    if !is_unspent || !change(code, fields().set("spent_at", at), &mut *connection).await? {
        return Ok(WriteOutcome::rejected(false));
    }
    query(USED).bind(tenant).bind(id).bind(at).execute(connection).await?;
    Ok(WriteOutcome::applied(true))
}

#[async_trait]
impl RecoveryCodes for SqlStore {
    async fn add_recovery(
        &self,
        session: Option<&Session>,
        factor: &Factor,
        kept: &[SecretHash],
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let input = (session.cloned(), factor.clone(), kept.to_vec());
        self.writer.change("add recovery codes", adding(session, factor), input, audit, add).await
    }

    async fn recovery_code(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        kept: &SecretHash,
    ) -> Result<Option<bool>, StoreError> {
        let query = rows(&FIND).bind(tenant).bind(id).bind(kept);
        let is_unspent = |row: &Row| Ok(row.try_get::<Option<i64>, _>("spent_at")?.is_none());
        self.read_one("find recovery code", query, is_unspent).await
    }

    async fn recovery_codes_left(&self, tenant: &TenantId, id: &FactorId) -> Result<u32, StoreError> {
        let query = query(LEFT).bind(tenant).bind(id);
        Ok(self.read_one("count recovery codes", query, |row| number(row, "unspent")).await?.unwrap_or_default())
    }
}
