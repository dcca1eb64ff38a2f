//! Users.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{Fields, StoredRow, change, fields, find, insert, insertions, rows, selections};
use super::engine::{Connection, Result, Row, ToValue as _, query};
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::row::{fold, joined, set};
use super::texts::texts;
use super::{declared, grants, role_requests, seals, tries};
use signet_core::audit::AuditEvent;
use signet_core::keys::{SealedCopies, TenantId};
use signet_core::user_name::compared_name;
use signet_jose::clock::Timestamp;
use signet_store::{DeclaredNoun, FactorId, StoreError, User, UserEdit, UserId, Users};

/// Reads users, each in one row for every seal of the password.
macro_rules! select_users {
    () => {
        select_users!("{users u}", "users")
    };
    ($columns:literal, $rows:literal) => {
        concat!(
            "SELECT ",
            $columns,
            ", s.hsm, s.blob FROM ",
            $rows,
            " u LEFT JOIN seals s ON s.tenant = u.tenant AND s.kind = 'users.password' AND s.row_id = u.id"
        )
    };
}
pub(super) use select_users;

selections! {
    BY_NAME = concat!(select_users!(), " WHERE u.tenant = $1 AND u.compared_name = $2 ORDER BY s.hsm");
    BY_ID = concat!(select_users!(), " WHERE u.tenant = $1 AND u.id = $2 ORDER BY s.hsm");
    LIST = concat!(
        select_users!(
            "{users u}",
            "(SELECT * FROM users WHERE tenant = $1 AND compared_name > $2 ORDER BY compared_name LIMIT $3)"
        ),
        " ORDER BY u.compared_name, s.hsm"
    );
}

insertions! {
    ADD = "users" "ON CONFLICT DO NOTHING";
}

texts! {
    FACTORS = "SELECT id FROM factors WHERE tenant = $1 AND user_id = $2";
    REMOVE = "DELETE FROM users WHERE tenant = $1 AND id = $2";
    REMOVE_TRIES = "DELETE FROM tries WHERE tenant = $1 AND place = $2";
}

async fn add(user: &User, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let row = fields()
        .set("tenant", &user.tenant)
        .set("id", &user.id)
        .set("name", &user.name)
        .set("compared_name", compared_name(&user.name))
        .set("roles", joined(&user.roles))
        .set("enabled", user.enabled)
        .set("credentials_version", user.credentials_version)
        .set("created_at", user.created_at);
    if !insert(&ADD, row, vec![], &mut *connection).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    if let Some(password) = &user.password {
        seals::add(connection, &user.tenant, seals::PASSWORD, user.id.as_str(), password).await?;
    }
    Ok(WriteOutcome::renewed(true))
}

async fn declare(user: &User, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let added = add(user, &mut *connection).await?;
    if added.answer {
        declared::mark(connection, &user.tenant, DeclaredNoun::Users, user.id.as_str()).await?;
    }
    Ok(added)
}

/// A user with what is set of them, and when.
struct Setting<T> {
    tenant: TenantId,
    id: UserId,
    value: T,
    at: Timestamp,
}

/// What is set of a user, where what was seen still is so.
struct Edit {
    seen: Option<User>,
    set: UserEdit,
}

impl Edit {
    fn of(set: UserEdit) -> Self {
        Self { seen: None, set }
    }
}

/// Whether roles and `enabled` still are what was seen.
pub(super) fn is_as_seen(seen: &User, user: &StoredRow) -> Result<bool> {
    Ok(user.value::<&str>("roles")? == joined(&seen.roles) && user.value::<bool>("enabled")? == seen.enabled)
}

async fn edit(setting: &Setting<Edit>, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let Setting { tenant, id, value: Edit { seen, set: edit }, at } = setting;
    let found = find("users", &[tenant, id], &mut *connection).await?;
    let Some(user) = found else { return Ok(WriteOutcome::nothing(false)) };
    if let Some(seen) = seen
        && !is_as_seen(seen, &user)?
    {
        return Ok(WriteOutcome::nothing(false));
    }
    let mut set = if edit.enabled.is_some() { next_version(&user)? } else { fields() };
    if let Some(roles) = &edit.roles {
        set = set.set("roles", joined(roles));
    }
    if let Some(enabled) = edit.enabled {
        set = set.set("enabled", enabled);
    }
    change(user, set, &mut *connection).await?;
    if let Some(waiting) = &edit.waiting {
        role_requests::replace(connection, (tenant, id), waiting.as_ref()).await?;
    }
    if edit.enabled == Some(false) {
        grants::end_all_of_user(connection, tenant, id, *at).await?;
    }
    Ok(WriteOutcome::renewed(true))
}

async fn set_password(
    setting: &Setting<(SealedCopies, Option<i64>)>,
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let Setting { tenant, id, value: (value, seen), at } = setting;
    if let Some(seen) = seen {
        let user = find("users", &[tenant, id], &mut *connection).await?;
        let stands = user.map(|user| user.value::<i64>("credentials_version")).transpose()?;
        if stands != Some(*seen) {
            return Ok(WriteOutcome::nothing(false));
        }
    }
    if !renew_credentials(connection, tenant, id, *at).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    seals::remove(connection, tenant, seals::PASSWORD, id.as_str()).await?;
    seals::add(connection, tenant, seals::PASSWORD, id.as_str(), value).await?;
    Ok(WriteOutcome::renewed(true))
}

/// Ends all that the user's credentials so far have led to: grants, and sign-ins that are under way. `false` where the
/// user is gone.
pub(super) async fn renew_credentials(
    connection: &mut Connection,
    tenant: &TenantId,
    id: &UserId,
    at: Timestamp,
) -> Result<bool> {
    let Some(user) = find("users", &[tenant, id], &mut *connection).await? else { return Ok(false) };
    let renewed = next_version(&user)?;
    change(user, renewed, &mut *connection).await?;
    grants::end_all_of_user(connection, tenant, id, at).await?;
    Ok(true)
}

/// What makes every sign-in worthless that began before.
fn next_version(user: &StoredRow) -> Result<Fields> {
    let version: i64 = user.value("credentials_version")?;
    Ok(fields().set("credentials_version", version.saturating_add(1)))
}

/// Factors, grants and refresh tokens go by their foreign keys; seals have none, because several tables own them.
async fn remove((tenant, id): &(TenantId, UserId), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    seals::remove_of_factors(connection, tenant, id.as_str()).await?;
    seals::remove(connection, tenant, seals::PASSWORD, id.as_str()).await?;
    declared::forget(connection, tenant, DeclaredNoun::Users, id.as_str()).await?;
    query(REMOVE_TRIES).bind(tenant).bind(id).execute(&mut *connection).await?;
    let removed = query(REMOVE).bind(tenant).bind(id).execute(connection).await?;
    Ok(WriteOutcome::renewed_if(removed.rows_affected() > 0))
}

/// What a change of a user locks. Every grant, session and rotation of theirs rests on it.
pub(super) fn changing(tenant: &TenantId, id: &UserId) -> Scope {
    Scope::alone(Name::User(tenant, id)).and_alone(Name::ManyGrants(tenant))
}

/// What a new user locks.
fn adding(user: &User) -> Scope {
    Scope::alone(Name::User(&user.tenant, &user.id))
        .and_alone(Name::Once(&user.tenant, "user name", compared_name(&user.name).as_bytes()))
        .raising(&user.tenant, Noun::Secrets)
}

fn user_of(row: &Row) -> Result<(User, SealedCopies)> {
    let user = User {
        tenant: row.try_get("tenant")?,
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        roles: set(row, "roles")?,
        enabled: row.try_get("enabled")?,
        password: None,
        credentials_version: row.try_get("credentials_version")?,
        created_at: row.try_get("created_at")?,
    };
    Ok((user, SealedCopies::default()))
}

pub(super) fn users_of(rows: &[Row]) -> Result<Vec<User>> {
    let users = fold(rows, user_of, |(_, seals)| seals)?;
    let with_password =
        |(user, seals): (User, SealedCopies)| User { password: Some(seals).filter(|s| !s.0.is_empty()), ..user };
    Ok(users.into_iter().map(with_password).collect())
}

#[async_trait]
impl Users for SqlStore {
    async fn add_user(&self, user: &User, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        self.writer.change("add user", adding(user), user.clone(), audit, add).await
    }

    async fn declare_user(&self, user: &User, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        self.writer.change("declare user", adding(user), user.clone(), audit, declare).await
    }

    async fn user_by_name(&self, tenant: &TenantId, name: &str) -> Result<Option<User>, StoreError> {
        Ok(self.read("find user", rows(&BY_NAME).bind(tenant).bind(compared_name(name)), users_of).await?.pop())
    }

    async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<User>, StoreError> {
        Ok(self.read("find user", rows(&BY_ID).bind(tenant).bind(id), users_of).await?.pop())
    }

    async fn users(&self, tenant: &TenantId, after: Option<&str>, limit: u32) -> Result<Vec<User>, StoreError> {
        // No name is empty, so every name stands after the empty one.
        let after = compared_name(after.unwrap_or_default()).to_value();
        self.read_page("list users", rows(&LIST).bind(tenant), ("compared_name", after), limit, users_of).await
    }

    async fn set_user_enabled(
        &self,
        tenant: &TenantId,
        id: &UserId,
        enabled: bool,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let set = UserEdit { enabled: Some(enabled), ..UserEdit::default() };
        let setting = Setting { tenant: tenant.clone(), id: id.clone(), value: Edit::of(set), at };
        self.writer.change("enable user", changing(tenant, id), setting, audit, edit).await
    }

    async fn set_user_roles(
        &self,
        tenant: &TenantId,
        id: &UserId,
        roles: &BTreeSet<String>,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        // Nothing ends by it.
        let at = Timestamp::from_unix_millis(0);
        let set = UserEdit { roles: Some(roles.clone()), ..UserEdit::default() };
        let setting = Setting { tenant: tenant.clone(), id: id.clone(), value: Edit::of(set), at };
        self.writer.change("set roles", changing(tenant, id), setting, audit, edit).await
    }

    async fn change_user(
        &self,
        seen: &User,
        edited: &UserEdit,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let value = Edit { seen: Some(seen.clone()), set: edited.clone() };
        let scope = changing(&seen.tenant, &seen.id);
        let setting = Setting { tenant: seen.tenant.clone(), id: seen.id.clone(), value, at };
        self.writer.change("change user", scope, setting, audit, edit).await
    }

    async fn set_user_password(
        &self,
        tenant: &TenantId,
        id: &UserId,
        password: &SealedCopies,
        seen: Option<i64>,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let setting = Setting { tenant: tenant.clone(), id: id.clone(), value: (password.clone(), seen), at };
        self.writer
            .change("set password", changing(tenant, id).raising(tenant, Noun::Secrets), setting, audit, set_password)
            .await
    }

    async fn remove_user(&self, tenant: &TenantId, id: &UserId, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        let factors = query(FACTORS).bind(tenant).bind(id);
        let factors = self.read_each("list factors", factors, |row| row.try_get::<FactorId, _>("id")).await?;
        let all = changing(tenant, id).and_alone(tries::of_place(tenant, id.as_str())).raising(tenant, Noun::Secrets);
        let scope = factors.iter().fold(all, |scope, id| scope.and_alone(Name::Factor(tenant, id)));
        self.writer.change("remove user", scope, (tenant.clone(), id.clone()), audit, remove).await
    }
}
