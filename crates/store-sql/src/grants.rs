//! Grants and their refresh families.

use async_trait::async_trait;

use super::engine::{Connection, Result, Row, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::row::{joined, list, set};
use super::texts::texts;
use super::{SqlStore, prune};
use signet_core::audit::Draft;
use signet_core::keys::{HsmName, TenantId};
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_store::{
    AuditOnOutcome, ClientId, EndReason, Grant, GrantId, GrantState, Grants, RefreshLookup, RotateOutcome, StoreError,
    StoreFailure, UserId,
};

texts! {
    ADD = "INSERT INTO grants (tenant, id, client_id, user_id, scopes, audiences, auth_time, acr, amr, created_at,
            expires_at, ended_at, end_reason, factors)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $15
        WHERE EXISTS (SELECT 1 FROM users WHERE tenant = $1 AND id = $4 AND enabled = 1 AND credentials_version = $14)
        AND EXISTS (SELECT 1 FROM clients WHERE tenant = $1 AND id = $3 AND enabled = 1)";
    ADD_TOKEN = "INSERT INTO refresh_tokens (tenant, hash, grant_id, generation) VALUES ($1, $2, $3, $4)";
    BY_ID = "SELECT tenant, id, client_id, user_id, scopes, audiences, auth_time, acr, amr, created_at, expires_at,
            ended_at, end_reason, factors
        FROM grants WHERE tenant = $1 AND id = $2";
    BY_TOKEN = "SELECT g.tenant, g.id, g.client_id, g.user_id, g.scopes, g.audiences, g.auth_time, g.acr, g.amr,
            g.created_at, g.expires_at, g.ended_at, g.end_reason, g.factors, t.generation, t.spent_at, t.successor_hsm,
            (SELECT MAX(f.generation) FROM refresh_tokens f WHERE f.tenant = t.tenant AND f.grant_id = t.grant_id)
                AS live_generation
        FROM refresh_tokens t JOIN grants g ON g.tenant = t.tenant AND g.id = t.grant_id
        WHERE t.tenant = $1 AND t.hash = $2";
    SPEND = "UPDATE refresh_tokens SET spent_at = $3, successor_hsm = $4
        WHERE tenant = $1 AND hash = $2 AND spent_at IS NULL AND EXISTS (
            SELECT 1 FROM grants g
            JOIN users u ON u.tenant = g.tenant AND u.id = g.user_id
            JOIN clients c ON c.tenant = g.tenant AND c.id = g.client_id
            WHERE g.tenant = refresh_tokens.tenant AND g.id = refresh_tokens.grant_id
            AND g.ended_at IS NULL AND g.expires_at > $3 AND u.enabled = 1 AND c.enabled = 1)
        RETURNING grant_id, generation";
    CONFIRM = "SELECT 1 FROM grants g
        JOIN users u ON u.tenant = g.tenant AND u.id = g.user_id
        JOIN clients c ON c.tenant = g.tenant AND c.id = g.client_id
        WHERE g.tenant = $1 AND g.id = $2
        AND g.ended_at IS NULL AND g.expires_at > $3 AND u.enabled = 1 AND c.enabled = 1";
    END = "UPDATE grants SET ended_at = $3, end_reason = $4 WHERE tenant = $1 AND id = $2 AND ended_at IS NULL";
    END_OF_USER = "UPDATE grants SET ended_at = $3, end_reason = $4
        WHERE tenant = $1 AND user_id = $2 AND ended_at IS NULL";
    END_OF_CLIENT = "UPDATE grants SET ended_at = $3, end_reason = $4
        WHERE tenant = $1 AND client_id = $2 AND ended_at IS NULL";
}

async fn add(
    (grant, first, credentials_version): &(Grant, Option<SecretHash>, i64),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let (ended_at, end_reason) = match grant.state {
        GrantState::Active => (None, None),
        GrantState::Ended { at, reason } => (Some(at.unix_millis()), Some(reason.name())),
    };
    let added = query(ADD)
        .bind(&grant.tenant)
        .bind(&grant.id)
        .bind(&grant.client)
        .bind(&grant.user)
        .bind(joined(&grant.scopes))
        .bind(joined(&grant.audiences))
        .bind(grant.auth_time)
        .bind(&grant.acr)
        .bind(joined(&grant.amr))
        .bind(grant.created_at)
        .bind(grant.expires_at)
        .bind(ended_at)
        .bind(end_reason)
        .bind(credentials_version)
        .bind(joined(&grant.factors))
        .execute(&mut *connection)
        .await?;
    if added.rows_affected() == 0 {
        return Ok(WriteOutcome::nothing(false));
    }
    if let Some(first) = first {
        add_token(connection, &grant.tenant, first, grant.id.as_str(), 0).await?;
    }
    Ok(WriteOutcome::applied(true))
}

async fn add_token(
    connection: &mut Connection,
    tenant: &TenantId,
    hash: &SecretHash,
    grant: &str,
    generation: i64,
) -> Result<()> {
    query(ADD_TOKEN).bind(tenant).bind(hash).bind(grant).bind(generation).execute(connection).await?;
    Ok(())
}

/// A rotation that is asked for.
struct Rotation {
    tenant: TenantId,
    spent: SecretHash,
    successor: SecretHash,
    derived_by: Option<HsmName>,
    at: Timestamp,
}

async fn rotate(rotation: &Rotation, connection: &mut Connection) -> Result<WriteOutcome<RotateOutcome>> {
    let spent = query(SPEND)
        .bind(&rotation.tenant)
        .bind(rotation.spent)
        .bind(rotation.at)
        .bind(&rotation.derived_by)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = spent else { return Ok(WriteOutcome::rejected(RotateOutcome::Lost)) };
    let grant: String = row.try_get("grant_id")?;
    let generation: i64 = row.try_get("generation")?;
    add_token(connection, &rotation.tenant, &rotation.successor, &grant, generation.saturating_add(1)).await?;
    Ok(WriteOutcome::applied(RotateOutcome::Rotated))
}

async fn confirm(
    (tenant, id, at): &(TenantId, GrantId, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let holds = query(CONFIRM).bind(tenant).bind(id).bind(at).fetch_optional(connection).await?.is_some();
    Ok(if holds { WriteOutcome::applied(true) } else { WriteOutcome::nothing(false) })
}

async fn end(
    (tenant, id, reason, at): &(TenantId, GrantId, EndReason, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let ended = end_where(END, connection, tenant, id.as_str(), *reason, *at).await?;
    Ok(if ended == 0 { WriteOutcome::rejected(false) } else { WriteOutcome::applied(true) })
}

/// Ends every family of a user.
pub(super) async fn end_all_of_user(
    connection: &mut Connection,
    tenant: &TenantId,
    user: &UserId,
    at: Timestamp,
) -> Result<()> {
    end_where(END_OF_USER, connection, tenant, user.as_str(), EndReason::Revoked, at).await?;
    Ok(())
}

/// Ends every family of a client.
pub(super) async fn end_all_of_client(
    connection: &mut Connection,
    tenant: &TenantId,
    client: &ClientId,
    at: Timestamp,
) -> Result<()> {
    end_where(END_OF_CLIENT, connection, tenant, client.as_str(), EndReason::Revoked, at).await?;
    Ok(())
}

async fn end_where(
    text: &'static str,
    connection: &mut Connection,
    tenant: &TenantId,
    id: &str,
    reason: EndReason,
    at: Timestamp,
) -> Result<u64> {
    let ended = query(text).bind(tenant).bind(id).bind(at).bind(reason.name()).execute(connection).await?;
    Ok(ended.rows_affected())
}

/// What a grant rests on: its user and its client.
fn resting_on(grant: &Grant) -> Scope {
    Scope::shared(Name::User(&grant.tenant, &grant.user)).and_shared(Name::Client(&grant.tenant, &grant.client))
}

fn state_of(row: &Row) -> Result<GrantState> {
    let Some(at) = row.try_get("ended_at")? else { return Ok(GrantState::Active) };
    let reason = match row.try_get("end_reason")? {
        "revoked" => EndReason::Revoked,
        "replayed" => EndReason::Replayed,
        _ => return Err(StoreFailure::Corrupt("end_reason")),
    };
    Ok(GrantState::Ended { at, reason })
}

fn grant_of(row: &Row) -> Result<Grant> {
    Ok(Grant {
        tenant: row.try_get("tenant")?,
        id: row.try_get("id")?,
        client: row.try_get("client_id")?,
        user: row.try_get("user_id")?,
        scopes: set(row, "scopes")?,
        audiences: set(row, "audiences")?,
        auth_time: row.try_get("auth_time")?,
        acr: row.try_get("acr")?,
        amr: list(row, "amr")?,
        factors: list(row, "factors")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        state: state_of(row)?,
    })
}

fn lookup_of(row: &Row) -> Result<RefreshLookup> {
    Ok(RefreshLookup {
        grant: grant_of(row)?,
        generation: row.try_get("generation")?,
        live_generation: row.try_get("live_generation")?,
        spent_at: row.try_get("spent_at")?,
        successor_hsm: row.try_get("successor_hsm")?,
    })
}

#[async_trait]
impl Grants for SqlStore {
    async fn add_grant(
        &self,
        grant: &Grant,
        first: &SecretHash,
        credentials_version: i64,
        audit: Vec<Draft>,
    ) -> Result<bool, StoreError> {
        let input = (grant.clone(), Some(*first), credentials_version);
        self.writer.change("add grant", resting_on(grant), input, audit, add).await
    }

    async fn add_grant_without_refresh(
        &self,
        grant: &Grant,
        credentials_version: i64,
        audit: Vec<Draft>,
    ) -> Result<bool, StoreError> {
        let input = (grant.clone(), None, credentials_version);
        self.writer.change("add grant without refresh", resting_on(grant), input, audit, add).await
    }

    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        self.read_one("find grant", query(BY_ID).bind(tenant).bind(id), grant_of).await
    }

    async fn refresh_token(&self, tenant: &TenantId, hash: &SecretHash) -> Result<Option<RefreshLookup>, StoreError> {
        let query = query(BY_TOKEN).bind(tenant).bind(hash);
        self.read_one("find refresh token", query, lookup_of).await
    }

    async fn rotate(
        &self,
        grant: &Grant,
        spent: &SecretHash,
        successor: &SecretHash,
        derived_by: Option<&HsmName>,
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<RotateOutcome, StoreError> {
        let rotation = Rotation {
            tenant: grant.tenant.clone(),
            spent: *spent,
            successor: *successor,
            derived_by: derived_by.cloned(),
            at,
        };
        let scope = resting_on(grant).and_alone(Name::Grant(&grant.tenant, &grant.id));
        self.writer.change("rotate refresh token", scope, rotation, audit, rotate).await
    }

    async fn confirm_grant(&self, grant: &Grant, at: Timestamp, audit: Vec<Draft>) -> Result<bool, StoreError> {
        let scope = resting_on(grant).and_shared(Name::Grant(&grant.tenant, &grant.id));
        let input = (grant.tenant.clone(), grant.id.clone(), at);
        self.writer.change("confirm grant", scope, input, audit, confirm).await
    }

    async fn end_grant(
        &self,
        tenant: &TenantId,
        id: &GrantId,
        reason: EndReason,
        at: Timestamp,
        audit: AuditOnOutcome,
    ) -> Result<bool, StoreError> {
        let grant = self.grant(tenant, id).await?;
        let scope = grant.as_ref().map_or_else(Scope::free, resting_on).and_alone(Name::Grant(tenant, id));
        self.writer.change("end grant", scope, (tenant.clone(), id.clone(), reason, at), audit, end).await
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        prune::expired(&self.writer, now, now.min(self.latest.now())).await
    }
}
