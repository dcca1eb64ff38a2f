//! Requests that are not to be done twice.

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, Row, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::row::{array, number};
use super::texts::texts;
use signet_store::{IdempotencyKeys, RequestClaim, RequestOutcome, StoreError, StoreFailure};

texts! {
    CLAIM = "INSERT INTO idempotency_keys
            (tenant, key_hash, operator, operation, body_hash, node, claimed_at, kept_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (tenant, key_hash) DO UPDATE SET operator = excluded.operator, operation = excluded.operation,
            body_hash = excluded.body_hash, node = excluded.node, claimed_at = excluded.claimed_at,
            kept_until = excluded.kept_until, status = NULL, location = NULL
        WHERE idempotency_keys.kept_until <= excluded.claimed_at";
    FIND = "SELECT tenant, key_hash, operator, operation, body_hash, node, claimed_at, kept_until, status, location
        FROM idempotency_keys WHERE tenant = $1 AND key_hash = $2";
    FINISH = "UPDATE idempotency_keys SET status = $5, location = $6
        WHERE tenant = $1 AND key_hash = $2 AND node = $3 AND claimed_at = $4 AND status IS NULL";
    RELEASE = "DELETE FROM idempotency_keys
        WHERE tenant = $1 AND key_hash = $2 AND node = $3 AND claimed_at = $4 AND status IS NULL";
}

fn outcome_of(row: &Row) -> Result<Option<RequestOutcome>> {
    match row.try_get::<Option<i64>, _>("status")? {
        Some(_) => Ok(Some(RequestOutcome { status: number(row, "status")?, location: row.try_get("location")? })),
        None => Ok(None),
    }
}

fn claim_of(row: &Row) -> Result<RequestClaim> {
    Ok(RequestClaim {
        tenant: row.try_get("tenant")?,
        key_hash: array(row, "key_hash")?,
        operator: row.try_get("operator")?,
        operation: row.try_get("operation")?,
        body_hash: array(row, "body_hash")?,
        node: row.try_get("node")?,
        claimed_at: row.try_get("claimed_at")?,
        kept_until: row.try_get("kept_until")?,
        outcome: outcome_of(row)?,
    })
}

async fn claim(claim: &RequestClaim, connection: &mut Connection) -> Result<WriteOutcome<Option<RequestClaim>>> {
    let claimed = query(CLAIM)
        .bind(&claim.tenant)
        .bind(claim.key_hash)
        .bind(&claim.operator)
        .bind(&claim.operation)
        .bind(claim.body_hash)
        .bind(&claim.node)
        .bind(claim.claimed_at)
        .bind(claim.kept_until);
    if claimed.execute(&mut *connection).await?.rows_affected() == 1 {
        return Ok(WriteOutcome::nothing(None));
    }
    let there = query(FIND).bind(&claim.tenant).bind(claim.key_hash).fetch_optional(connection).await?;
    // Nobody removes it meanwhile: its name is held.
    let there = there.ok_or(StoreFailure::Corrupt("idempotency key"))?;
    Ok(WriteOutcome::nothing(Some(claim_of(&there)?)))
}

async fn finish(
    (claim, outcome): &(RequestClaim, RequestOutcome),
    connection: &mut Connection,
) -> Result<WriteOutcome<()>> {
    let finished = query(FINISH).bind(&claim.tenant).bind(claim.key_hash).bind(&claim.node).bind(claim.claimed_at);
    finished.bind(i64::from(outcome.status)).bind(&outcome.location).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

async fn release(claim: &RequestClaim, connection: &mut Connection) -> Result<WriteOutcome<()>> {
    let released = query(RELEASE).bind(&claim.tenant).bind(claim.key_hash).bind(&claim.node).bind(claim.claimed_at);
    released.execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

fn of(claim: &RequestClaim) -> Scope {
    Scope::alone(Name::Once(&claim.tenant, "idempotency key", &claim.key_hash))
}

#[async_trait]
impl IdempotencyKeys for SqlStore {
    async fn claim_request(&self, asked: &RequestClaim) -> Result<Option<RequestClaim>, StoreError> {
        self.writer.change("claim a request", of(asked), asked.clone(), vec![], claim).await
    }

    async fn finish_request(&self, claim: &RequestClaim, outcome: &RequestOutcome) -> Result<(), StoreError> {
        let input = (claim.clone(), outcome.clone());
        self.writer.change("finish a request", of(claim), input, vec![], finish).await
    }

    async fn release_request(&self, claim: &RequestClaim) -> Result<(), StoreError> {
        self.writer.change("release a request", of(claim), claim.clone(), vec![], release).await
    }
}
