//! What becomes of factors after their enrolment.

use async_trait::async_trait;

use super::authority::{StoredRow, change, fields, find, rows, selections};
use super::engine::{Connection, Result, Row, ToValue as _, query};
use super::factors::{self, adding, factor_of};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::texts::texts;
use super::{SqlStore, users};
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;
use signet_store::{AuditOnOutcome, Factor, FactorEdit, FactorId, FactorLife, ListedFactor, Session, StoreError};

selections! {
    ALL = "SELECT {factors f}, u.name AS user_name
        FROM factors f JOIN users u ON u.tenant = f.tenant AND u.id = f.user_id
        WHERE f.tenant = $1 AND f.id > $2 ORDER BY f.id LIMIT $3";
    SESSION_HOLDS = "SELECT {sessions s}, {users u u_}
        FROM sessions s JOIN users u ON u.tenant = s.tenant AND u.id = s.user_id
        WHERE s.tenant = $1 AND s.id = $2 AND u.enabled = 1 AND u.credentials_version = s.credentials_version";
}

texts! {
    OF_SESSIONS_USER = "SELECT 1 FROM factors WHERE tenant = $1 AND id = $2 AND user_id = $3";
}

/// A factor with what is set of it.
struct Setting<T> {
    tenant: TenantId,
    id: FactorId,
    value: T,
}

impl<T> Setting<T> {
    fn new(tenant: &TenantId, id: &FactorId, value: T) -> Self {
        Self { tenant: tenant.clone(), id: id.clone(), value }
    }
}

/// What is set of a factor, where what was seen (label and state) still is so.
struct Edit {
    seen: Option<(String, &'static str)>,
    set: FactorEdit,
    at: Timestamp,
}

impl Edit {
    fn is_of(&self, factor: &StoredRow) -> Result<bool> {
        let Some((label, state)) = &self.seen else { return Ok(true) };
        Ok(factor.value::<&str>("label")? == label && factor.value::<&str>("state")? == *state)
    }
}

async fn edit(
    Setting { tenant, id, value }: &Setting<Edit>,
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let (from, to): (&[&str], _) = match value.set.enabled {
        None => (&[], None),
        Some(true) if value.set.requested_by.is_some() => (&["disabled"], Some("pending")),
        Some(true) => (&["disabled"], Some("enabled")),
        Some(false) => (&["enabled", "wants_two_codes", "wants_next_code"], Some("disabled")),
    };
    let found = find("factors", &[tenant, id], &mut *connection).await?;
    let Some(factor) = found else { return Ok(WriteOutcome::nothing(false)) };
    let user = factor.value("user_id")?;
    if !value.is_of(&factor)? || (to.is_some() && !from.contains(&factor.value("state")?)) {
        return Ok(WriteOutcome::nothing(false));
    }
    let label = value.set.label.iter().fold(fields(), |set, label| set.set("label", label));
    let set = to.iter().fold(label, |set, state| set.set("state", *state));
    let asked = value.set.requested_by.iter().filter(|_| to == Some("pending"));
    let set = asked.fold(set, |set, by| set.set("requested_by", by));
    if !change(factor, set, &mut *connection).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    if value.set.enabled == Some(false) {
        users::renew_credentials(connection, tenant, &user, value.at).await?;
    }
    Ok(WriteOutcome::renewed(true))
}

/// Whether a session still is one, by what the commit sees.
async fn holds(session: &Session, connection: &mut Connection) -> Result<bool> {
    let query = rows(&SESSION_HOLDS).bind(&session.tenant).bind(&session.id);
    Ok(query.fetch_optional(connection).await?.is_some())
}

/// Adds a factor; on a session's behalf only while that holds and is of the factor's user.
pub(super) async fn add_for(
    session: Option<&Session>,
    factor: &Factor,
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    match session {
        Some(session) if session.user != factor.user || !holds(session, connection).await? => {
            Ok(WriteOutcome::nothing(false))
        }
        _ => factors::add(factor, connection).await,
    }
}

async fn add_own((session, factor): &(Session, Factor), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    add_for(Some(session), factor, connection).await
}

async fn remove_own(
    (session, id, at): &(Session, FactorId, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let own = query(OF_SESSIONS_USER).bind(&session.tenant).bind(id);
    let own = own.bind(&session.user).fetch_optional(&mut *connection).await?;
    if own.is_some() && holds(session, connection).await? {
        return factors::remove(&(session.tenant.clone(), id.clone(), *at), connection).await;
    }
    Ok(WriteOutcome::nothing(false))
}

async fn approve(
    Setting { tenant, id, value: approver }: &Setting<String>,
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let Some(factor) = find("factors", &[tenant, id], &mut *connection).await? else {
        return Ok(WriteOutcome::rejected(false));
    };
    let is_anothers = factor.value::<&str>("state")? == "pending"
        && factor.value::<Option<&str>>("requested_by")?.is_some_and(|requested_by| requested_by != approver);
    let is_approved = is_anothers && change(factor, fields().set("state", "enabled"), connection).await?;
    Ok(if is_approved { WriteOutcome::renewed(true) } else { WriteOutcome::rejected(false) })
}

async fn take_over(
    Setting { tenant, id, value: (asked_by, by) }: &Setting<(String, String)>,
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let Some(factor) = find("factors", &[tenant, id], &mut *connection).await? else {
        return Ok(WriteOutcome::nothing(false));
    };
    let is_theirs = factor.value::<&str>("state")? == "pending"
        && factor.value::<Option<&str>>("requested_by")? == Some(asked_by.as_str());
    Ok(WriteOutcome::renewed_if(is_theirs && change(factor, fields().set("requested_by", by), connection).await?))
}

fn listed_of(row: &Row) -> Result<ListedFactor> {
    Ok(ListedFactor { factor: factor_of(row)?, user_name: row.try_get("user_name")? })
}

#[async_trait]
impl FactorLife for SqlStore {
    async fn all_factors(
        &self,
        tenant: &TenantId,
        after: Option<&FactorId>,
        limit: u32,
    ) -> Result<Vec<ListedFactor>, StoreError> {
        let after = ("id", after.map_or("", FactorId::as_str).to_value());
        let of = |rows: &[Row]| rows.iter().map(listed_of).collect();
        self.read_page("list all factors", rows(&ALL).bind(tenant), after, limit, of).await
    }

    async fn set_factor_enabled(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        enabled: bool,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let set = FactorEdit { enabled: Some(enabled), ..FactorEdit::default() };
        let scope = self.changing(tenant, id).await?;
        let setting = Setting::new(tenant, id, Edit { seen: None, set, at });
        self.writer.change("set factor enabled", scope, setting, audit, edit).await
    }

    async fn add_own_factor(
        &self,
        session: &Session,
        factor: &Factor,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = adding(Some(session), factor);
        self.writer.change("add own factor", scope, (session.clone(), factor.clone()), audit, add_own).await
    }

    async fn remove_own_factor(
        &self,
        session: &Session,
        id: &FactorId,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = self.changing(&session.tenant, id).await?;
        let scope = scope.and_shared(Name::Session(&session.tenant, &session.id));
        self.writer.change("remove own factor", scope, (session.clone(), id.clone(), at), audit, remove_own).await
    }

    async fn approve_factor(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        approver: &str,
        audit: AuditOnOutcome,
    ) -> Result<bool, StoreError> {
        let setting = Setting::new(tenant, id, approver.to_owned());
        let scope = self.changing(tenant, id).await?;
        self.writer.change("approve factor", scope, setting, audit, approve).await
    }

    async fn take_over_request(
        &self,
        tenant: &TenantId,
        id: &FactorId,
        asked_by: &str,
        by: &str,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let setting = Setting::new(tenant, id, (asked_by.to_owned(), by.to_owned()));
        let scope = Scope::alone(Name::Factor(tenant, id));
        self.writer.change("take over request", scope, setting, audit, take_over).await
    }

    async fn change_factor(
        &self,
        seen: &Factor,
        set: &FactorEdit,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let (tenant, id) = (&seen.tenant, &seen.id);
        // Where nothing but the label changes, nothing ends.
        let scope = match set.enabled {
            Some(_) => self.changing(tenant, id).await?,
            None => Scope::alone(Name::Factor(tenant, id)),
        };
        let seen = Some((seen.label.clone(), seen.state.name()));
        let setting = Setting::new(tenant, id, Edit { seen, set: set.clone(), at });
        self.writer.change("change factor", scope, setting, audit, edit).await
    }
}
