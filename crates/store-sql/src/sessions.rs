//! Sign-ins in a browser.

use async_trait::async_trait;
use std::sync::LazyLock;

use super::authority::{change, each_of, fields, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, Text, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::row::{joined, list};
use super::texts::texts;
use super::{SqlStore, users};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_store::{Session, SessionId, Sessions, StoreError, UserId};

selections! {
    BY_SECRET = "SELECT {sessions s}, {users u u_} FROM sessions s JOIN users u ON u.tenant = s.tenant AND u.id = s.user_id
        WHERE s.tenant = $1 AND s.secret_hash = $2 AND s.expires_at > $3 AND s.last_seen_at > $4
            AND u.enabled = 1 AND u.credentials_version = s.credentials_version";
    OF_USER = "SELECT {sessions s}, {users u u_} FROM sessions s JOIN users u ON u.tenant = s.tenant AND u.id = s.user_id
        WHERE s.tenant = $1 AND s.user_id = $2 AND s.expires_at > $3 AND s.last_seen_at > $4
            AND u.enabled = 1 AND u.credentials_version = s.credentials_version
        ORDER BY s.created_at DESC, s.id DESC";
    TO_RENEW = "SELECT {sessions s} FROM sessions s JOIN users u ON u.tenant = s.tenant AND u.id = $3
        WHERE s.tenant = $1 AND s.id = $2 AND s.secret_hash = $5 AND s.credentials_version = $4
            AND u.enabled = 1 AND u.credentials_version = $4";
}

insertions! {
    ADD = "sessions" "WHERE EXISTS (SELECT 1 FROM users
            WHERE tenant = {tenant} AND id = {user_id} AND enabled = 1 AND credentials_version = {credentials_version})
        ON CONFLICT DO NOTHING";
}

texts! {
    END = "DELETE FROM sessions WHERE tenant = $1 AND user_id = $2 AND id = $3";
    END_ALL = "DELETE FROM sessions WHERE tenant = $1 AND user_id = $2";
}

/// Passes over a session that is being renewed or ended just now.
pub(super) static TOUCH: LazyLock<Text> = LazyLock::new(|| {
    Text::passing_over(
        "UPDATE sessions SET last_seen_at = $3 WHERE (tenant, id) IN (
            SELECT tenant, id FROM sessions WHERE tenant = $1 AND id = $2 AND last_seen_at < $3 {unlocked})",
    )
});

async fn add((session, secret): &(Session, SecretHash), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let row = fields()
        .set("tenant", &session.tenant)
        .set("id", &session.id)
        .set("user_id", &session.user)
        .set("secret_hash", secret)
        .set("credentials_version", session.credentials_version)
        .set("address", &session.address)
        .set("auth_time", session.auth_time)
        .set("acr", &session.acr)
        .set("amr", joined(&session.amr))
        .set("factors", joined(&session.factors))
        .set("created_at", session.created_at)
        .set("last_seen_at", session.last_seen_at)
        .set("expires_at", session.expires_at);
    Ok(WriteOutcome::applied_if(insert(&ADD, row, vec![], connection).await?))
}

async fn touch(
    (tenant, id, at): &(TenantId, SessionId, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<()>> {
    query(TOUCH.clone()).bind(tenant).bind(id).bind(at).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

async fn renew(
    (session, shown, secret): &(Session, SecretHash, SecretHash),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let found = rows(&TO_RENEW)
        .bind(&session.tenant)
        .bind(&session.id)
        .bind(&session.user)
        .bind(session.credentials_version)
        .bind(shown)
        .stored_one(&mut *connection)
        .await?;
    let Some(found) = found else { return Ok(WriteOutcome::nothing(false)) };
    let renewed = fields()
        .set("secret_hash", secret)
        .set("auth_time", session.auth_time)
        .set("acr", &session.acr)
        .set("amr", joined(&session.amr))
        .set("factors", joined(&session.factors))
        .set("last_seen_at", session.auth_time);
    Ok(WriteOutcome::applied_if(change(found, renewed, connection).await?))
}

async fn end(
    (tenant, user, id): &(TenantId, UserId, SessionId),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let ended = query(END).bind(tenant).bind(user).bind(id).execute(connection).await?;
    Ok(WriteOutcome::applied_if(ended.rows_affected() > 0))
}

async fn end_all(
    (tenant, user, at): &(TenantId, UserId, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let is_there = users::renew_credentials(connection, tenant, user, *at).await?;
    query(END_ALL).bind(tenant).bind(user).execute(connection).await?;
    Ok(if is_there { WriteOutcome::renewed(true) } else { WriteOutcome::nothing(false) })
}

fn session_of(row: &Row) -> Result<Session> {
    Ok(Session {
        tenant: row.try_get("tenant")?,
        id: row.try_get("id")?,
        user: row.try_get("user_id")?,
        credentials_version: row.try_get("credentials_version")?,
        address: row.try_get("address")?,
        auth_time: row.try_get("auth_time")?,
        acr: row.try_get("acr")?,
        amr: list(row, "amr")?,
        factors: list(row, "factors")?,
        created_at: row.try_get("created_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}

#[async_trait]
impl Sessions for SqlStore {
    async fn add_session(
        &self,
        session: &Session,
        secret: &SecretHash,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::shared(Name::User(&session.tenant, &session.user));
        self.writer.change("add session", scope, (session.clone(), *secret), audit, add).await
    }

    async fn session(
        &self,
        tenant: &TenantId,
        secret: &SecretHash,
        at: Timestamp,
        seen_after: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let query = rows(&BY_SECRET).bind(tenant).bind(secret).bind(at).bind(seen_after);
        self.read_one("find session", query, session_of).await
    }

    async fn sessions(
        &self,
        tenant: &TenantId,
        user: &UserId,
        at: Timestamp,
        seen_after: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        let query = each_of(&OF_USER).bind(tenant).bind(user).bind(at).bind(seen_after);
        self.read_each("list sessions", query, session_of).await
    }

    async fn touch_session(&self, tenant: &TenantId, id: &SessionId, at: Timestamp) -> Result<(), StoreError> {
        self.writer.change("touch session", Scope::free(), (tenant.clone(), id.clone(), at), vec![], touch).await
    }

    async fn renew_session(
        &self,
        session: &Session,
        shown: &SecretHash,
        secret: &SecretHash,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let user = Name::User(&session.tenant, &session.user);
        let scope = Scope::shared(user).and_alone(Name::Session(&session.tenant, &session.id));
        self.writer.change("renew session", scope, (session.clone(), *shown, *secret), audit, renew).await
    }

    async fn end_session(
        &self,
        tenant: &TenantId,
        user: &UserId,
        id: &SessionId,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::shared(Name::User(tenant, user)).and_alone(Name::Session(tenant, id));
        self.writer.change("end session", scope, (tenant.clone(), user.clone(), id.clone()), audit, end).await
    }

    async fn sign_out_everywhere(
        &self,
        tenant: &TenantId,
        user: &UserId,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::alone(Name::User(tenant, user)).and_alone(Name::ManyGrants(tenant));
        self.writer.change("sign out", scope, (tenant.clone(), user.clone(), at), audit, end_all).await
    }
}
