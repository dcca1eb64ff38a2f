//! Grants and their refresh families.

use async_trait::async_trait;

use super::authority::{
    Fields, StoredRow, change, change_each, change_page, each_of, fields, find, insert, insertions, rows, selections,
};
use super::engine::{Connection, FromValue as _, Result, Row, ToValue as _};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::row::{joined, list, set};
use super::{SqlStore, prune};
use signet_core::audit::AuditEvent;
use signet_core::keys::{HsmName, TenantId};
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_store::{
    AuditOnOutcome, ClientId, EndReason, Grant, GrantId, GrantState, Grants, ListedGrant, RefreshLookup, RotateOutcome,
    StoreError, StoreFailure, UserId,
};

selections! {
    BY_ID = "SELECT {grants} FROM grants WHERE tenant = $1 AND id = $2";
    BY_TOKEN = "SELECT {grants g}, {refresh_tokens t t_},
            (SELECT MAX(f.generation) FROM refresh_tokens f WHERE f.tenant = t.tenant AND f.grant_id = t.grant_id)
                AS live_generation
        FROM refresh_tokens t JOIN grants g ON g.tenant = t.tenant AND g.id = t.grant_id
        WHERE t.tenant = $1 AND t.hash = $2";
    TO_SPEND = "SELECT {refresh_tokens t} FROM refresh_tokens t
        JOIN grants g ON g.tenant = t.tenant AND g.id = t.grant_id
        JOIN users u ON u.tenant = g.tenant AND u.id = g.user_id
        JOIN clients c ON c.tenant = g.tenant AND c.id = g.client_id
        WHERE t.tenant = $1 AND t.hash = $2 AND t.spent_at IS NULL
            AND g.ended_at IS NULL AND g.expires_at > $3 AND u.enabled = 1 AND c.enabled = 1";
    CONFIRM = "SELECT {grants g} FROM grants g
        JOIN users u ON u.tenant = g.tenant AND u.id = g.user_id
        JOIN clients c ON c.tenant = g.tenant AND c.id = g.client_id
        WHERE g.tenant = $1 AND g.id = $2
        AND g.ended_at IS NULL AND g.expires_at > $3 AND u.enabled = 1 AND c.enabled = 1";
    HELD_OF_USER = "SELECT {grants g}, c.name AS client_name,
            (SELECT MAX(t.spent_at) FROM refresh_tokens t WHERE t.tenant = g.tenant AND t.grant_id = g.id) AS last_used_at
        FROM grants g LEFT JOIN clients c ON c.tenant = g.tenant AND c.id = g.client_id
        WHERE g.tenant = $1 AND g.user_id = $2 AND g.id > $3 AND g.ended_at IS NULL AND g.expires_at > $4
        ORDER BY g.id LIMIT $5";
    OF_USER = "SELECT {grants} FROM grants WHERE tenant = $1 AND user_id = $2 AND id > $3 AND ended_at IS NULL
        ORDER BY id LIMIT 512 FOR NO KEY UPDATE";
    OF_CLIENT = "SELECT {grants} FROM grants WHERE tenant = $1 AND client_id = $2 AND id > $3 AND ended_at IS NULL
        ORDER BY id LIMIT 512 FOR NO KEY UPDATE";
}

insertions! {
    ADD = "grants" "WHERE EXISTS (SELECT 1 FROM users
            WHERE tenant = {tenant} AND id = {user_id} AND enabled = 1 AND credentials_version = {1})
        AND EXISTS (SELECT 1 FROM clients WHERE tenant = {tenant} AND id = {client_id} AND enabled = 1)";
    ADD_TOKEN = "refresh_tokens" "";
}

async fn add(
    (grant, first, credentials_version): &(Grant, Option<SecretHash>, i64),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let (ended_at, end_reason) = match grant.state {
        GrantState::Active => (None, None),
        GrantState::Ended { at, reason } => (Some(at.unix_millis()), Some(reason.name())),
    };
    let row = fields()
        .set("tenant", &grant.tenant)
        .set("id", &grant.id)
        .set("client_id", &grant.client)
        .set("user_id", &grant.user)
        .set("scopes", joined(&grant.scopes))
        .set("audiences", joined(&grant.audiences))
        .set("auth_time", grant.auth_time)
        .set("acr", &grant.acr)
        .set("amr", joined(&grant.amr))
        .set("factors", joined(&grant.factors))
        .set("created_at", grant.created_at)
        .set("expires_at", grant.expires_at)
        .set("ended_at", ended_at)
        .set("end_reason", end_reason);
    if !insert(&ADD, row, vec![credentials_version.to_value()], &mut *connection).await? {
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
    let row = fields().set("tenant", tenant).set("hash", hash).set("grant_id", grant).set("generation", generation);
    insert(&ADD_TOKEN, row, vec![], connection).await?;
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
    let live = rows(&TO_SPEND).bind(&rotation.tenant).bind(rotation.spent).bind(rotation.at);
    let Some(token) = live.stored_one(&mut *connection).await? else {
        return Ok(WriteOutcome::rejected(RotateOutcome::Lost));
    };
    let (grant, generation): (String, i64) = (token.value("grant_id")?, token.value("generation")?);
    let spent = fields().set("spent_at", rotation.at).set("successor_hsm", &rotation.derived_by);
    if !change(token, spent, &mut *connection).await? {
        return Ok(WriteOutcome::rejected(RotateOutcome::Lost));
    }
    add_token(connection, &rotation.tenant, &rotation.successor, &grant, generation.saturating_add(1)).await?;
    Ok(WriteOutcome::applied(RotateOutcome::Rotated))
}

async fn confirm(
    (tenant, id, at): &(TenantId, GrantId, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let holds = rows(&CONFIRM).bind(tenant).bind(id).bind(at).fetch_optional(connection).await?.is_some();
    Ok(if holds { WriteOutcome::applied(true) } else { WriteOutcome::nothing(false) })
}

async fn end(
    (tenant, id, reason, at): &(TenantId, GrantId, EndReason, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let Some(grant) = find("grants", &[tenant, id], &mut *connection).await? else {
        return Ok(WriteOutcome::rejected(false));
    };
    let is_live = grant.value::<Option<i64>>("ended_at")?.is_none();
    let is_ended = is_live && change(grant, ended(*reason, *at), connection).await?;
    Ok(if is_ended { WriteOutcome::applied(true) } else { WriteOutcome::rejected(false) })
}

/// What a grant says that has ended.
pub(super) fn ended(reason: EndReason, at: Timestamp) -> Fields {
    fields().set("ended_at", at).set("end_reason", reason.name())
}

/// Ends every family of a user.
pub(super) async fn end_all_of_user(
    connection: &mut Connection,
    tenant: &TenantId,
    user: &UserId,
    at: Timestamp,
) -> Result<()> {
    let ended = |_: &StoredRow| Ok(Some(ended(EndReason::Revoked, at)));
    // No id is empty, so every grant stands after the empty one.
    let bound = [tenant.to_value(), user.as_str().to_value()];
    change_each(&OF_USER, &bound, vec!["".to_value()], ended, connection).await?;
    Ok(())
}

/// Ends a page of a client's families: those after this id. Returns the id after which the next page stands.
pub(super) async fn end_page_of_client(
    connection: &mut Connection,
    (tenant, client): (&TenantId, &ClientId),
    after: &str,
    at: Timestamp,
) -> Result<Option<String>> {
    let ended = |_: &StoredRow| Ok(Some(ended(EndReason::Revoked, at)));
    let bound = [tenant.to_value(), client.as_str().to_value()];
    let page = change_page(&OF_CLIENT, &bound, vec![after.to_value()], &ended, connection).await?;
    Ok(page.and_then(|(_, last)| last.first().and_then(String::from_value)))
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

fn listed_of(row: &Row) -> Result<ListedGrant> {
    Ok(ListedGrant {
        grant: grant_of(row)?,
        client_name: row.try_get("client_name")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}

fn lookup_of(row: &Row) -> Result<RefreshLookup> {
    Ok(RefreshLookup {
        grant: grant_of(row)?,
        generation: row.try_get("t_generation")?,
        live_generation: row.try_get("live_generation")?,
        spent_at: row.try_get("t_spent_at")?,
        successor_hsm: row.try_get("t_successor_hsm")?,
    })
}

#[async_trait]
impl Grants for SqlStore {
    async fn add_grant(
        &self,
        grant: &Grant,
        first: &SecretHash,
        credentials_version: i64,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let input = (grant.clone(), Some(*first), credentials_version);
        self.writer.change("add grant", resting_on(grant), input, audit, add).await
    }

    async fn add_grant_without_refresh(
        &self,
        grant: &Grant,
        credentials_version: i64,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let input = (grant.clone(), None, credentials_version);
        self.writer.change("add grant without refresh", resting_on(grant), input, audit, add).await
    }

    async fn grant(&self, tenant: &TenantId, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        self.read_one("find grant", rows(&BY_ID).bind(tenant).bind(id), grant_of).await
    }

    async fn grants_of_user(
        &self,
        tenant: &TenantId,
        user: &UserId,
        after: Option<&GrantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ListedGrant>, StoreError> {
        // No id is empty, so every grant stands after the empty one.
        let after = after.map_or("", GrantId::as_str);
        let page = each_of(&HELD_OF_USER).bind(tenant).bind(user).bind(after).bind(now).bind(limit);
        self.read_each("list grants", page, listed_of).await
    }

    async fn refresh_token(&self, tenant: &TenantId, hash: &SecretHash) -> Result<Option<RefreshLookup>, StoreError> {
        let query = rows(&BY_TOKEN).bind(tenant).bind(hash);
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

    async fn confirm_grant(&self, grant: &Grant, at: Timestamp, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
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
