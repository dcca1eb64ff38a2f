//! Roles that wait for another person's approval.

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{StoredRow, change, each_of, fields, find, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, query};
use super::outcome::WriteOutcome;
use super::row::{joined, set};
use super::texts::texts;
use super::users::{changing, is_as_seen};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_store::{RoleRequest, RoleRequests, StoreError, User, UserId};

selections! {
    FIND = "SELECT {role_requests} FROM role_requests WHERE tenant = $1 AND user_id = $2";
    ALL = "SELECT {role_requests r}, u.name AS user_name
        FROM role_requests r JOIN users u ON u.tenant = r.tenant AND u.id = r.user_id
        WHERE r.tenant = $1 ORDER BY r.requested_at, r.user_id";
}

insertions! {
    ADD = "role_requests" "";
}

texts! {
    FORGET = "DELETE FROM role_requests WHERE tenant = $1 AND user_id = $2";
}

fn request_of(row: &Row) -> Result<RoleRequest> {
    Ok(RoleRequest {
        roles: set(row, "roles")?,
        requested_by: row.try_get("requested_by")?,
        requested_at: row.try_get("requested_at")?,
    })
}

fn listed_of(row: &Row) -> Result<(String, RoleRequest)> {
    Ok((row.try_get("user_name")?, request_of(row)?))
}

/// Has these roles wait, in the place of what did, or none.
pub(super) async fn replace(
    connection: &mut Connection,
    (tenant, user): (&TenantId, &UserId),
    request: Option<&RoleRequest>,
) -> Result<()> {
    query(FORGET).bind(tenant).bind(user).execute(&mut *connection).await?;
    if let Some(RoleRequest { roles, requested_by, requested_at }) = request {
        let row = fields()
            .set("tenant", tenant)
            .set("user_id", user)
            .set("roles", joined(roles))
            .set("requested_by", requested_by)
            .set("requested_at", *requested_at);
        insert(&ADD, row, vec![], connection).await?;
    }
    Ok(())
}

/// The request of a user, where it still is what was seen.
async fn found((seen, request): (&User, &RoleRequest), connection: &mut Connection) -> Result<Option<StoredRow>> {
    let Some(row) = find("role_requests", &[&seen.tenant, &seen.id], connection).await? else { return Ok(None) };
    let is_it = row.value::<&str>("roles")? == joined(&request.roles)
        && row.value::<&str>("requested_by")? == request.requested_by
        && row.value::<i64>("requested_at")? == request.requested_at.unix_millis();
    Ok(is_it.then_some(row))
}

async fn approve((seen, request): &(User, RoleRequest), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let (tenant, id) = (&seen.tenant, &seen.id);
    let asked = found((seen, request), &mut *connection).await?;
    let user = find("users", &[tenant, id], &mut *connection).await?;
    let (Some(_), Some(user)) = (asked, user) else { return Ok(WriteOutcome::nothing(false)) };
    if !is_as_seen(seen, &user)? {
        return Ok(WriteOutcome::nothing(false));
    }
    change(user, fields().set("roles", joined(&seen.roles | &request.roles)), &mut *connection).await?;
    replace(connection, (tenant, id), None).await?;
    Ok(WriteOutcome::renewed(true))
}

async fn take_over(
    (seen, request, by): &(User, RoleRequest, String),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let Some(row) = found((seen, request), &mut *connection).await? else { return Ok(WriteOutcome::nothing(false)) };
    Ok(WriteOutcome::applied_if(change(row, fields().set("requested_by", by), connection).await?))
}

#[async_trait]
impl RoleRequests for SqlStore {
    async fn role_request(&self, tenant: &TenantId, user: &UserId) -> Result<Option<RoleRequest>, StoreError> {
        self.read_one("find role request", rows(&FIND).bind(tenant).bind(user), request_of).await
    }

    async fn role_requests(&self, tenant: &TenantId) -> Result<Vec<(String, RoleRequest)>, StoreError> {
        self.read_each("list role requests", each_of(&ALL).bind(tenant), listed_of).await
    }

    async fn approve_roles(
        &self,
        seen: &User,
        request: &RoleRequest,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let input = (seen.clone(), request.clone());
        self.writer.change("approve roles", changing(&seen.tenant, &seen.id), input, audit, approve).await
    }

    async fn take_over_role_request(
        &self,
        seen: &User,
        request: &RoleRequest,
        by: &str,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let input = (seen.clone(), request.clone(), by.to_owned());
        self.writer.change("take over role request", changing(&seen.tenant, &seen.id), input, audit, take_over).await
    }
}
