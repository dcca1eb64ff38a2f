//! What is set of tenants: for each a row that holds, and one that waits.

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{change, fields, find, insert, insertions, rows, selections};
use super::declared;
use super::engine::{Connection, Result, Row, query};
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_core::audit::AuditEvent;
use signet_core::keys::TenantId;
use signet_store::{DeclaredNoun, SettingStatement, SettingStatements, StoreError};

/// The row that holds.
const CURRENT: &str = "current";
/// The row that waits.
const PROPOSED: &str = "proposed";

selections! {
    FIND = "SELECT {settings} FROM settings WHERE tenant = $1 AND stage = $2";
}

insertions! {
    ADD = "settings" "ON CONFLICT DO NOTHING";
}

texts! {
    REMOVE = "DELETE FROM settings WHERE tenant = $1 AND stage = $2";
}

/// What is to stand in a row, and what was seen there.
struct Replacement {
    tenant: TenantId,
    seen: Option<SettingStatement>,
    becomes: Option<SettingStatement>,
}

fn statement_of(row: &Row) -> Result<SettingStatement> {
    Ok(SettingStatement {
        document: row.try_get("document")?,
        stated_by: row.try_get("stated_by")?,
        stated_at: row.try_get("stated_at")?,
    })
}

async fn replace(stage: &'static str, replacement: &Replacement, connection: &mut Connection) -> Result<bool> {
    let Replacement { tenant, seen, becomes } = replacement;
    let there = find("settings", &[tenant, &stage.to_owned()], &mut *connection).await?;
    let found = match &there {
        None => None,
        Some(row) => Some(SettingStatement {
            document: row.value::<&str>("document")?.to_owned(),
            stated_by: row.value::<Option<&str>>("stated_by")?.map(str::to_owned),
            stated_at: row.value("stated_at")?,
        }),
    };
    if found != *seen {
        return Ok(false);
    }
    let Some(becomes) = becomes else {
        query(REMOVE).bind(tenant).bind(stage).execute(connection).await?;
        return Ok(true);
    };
    let set = fields()
        .set("tenant", tenant)
        .set("stage", stage)
        .set("document", becomes.document.as_str())
        .set("stated_by", becomes.stated_by.as_deref())
        .set("stated_at", becomes.stated_at);
    match there {
        None => insert(&ADD, set, vec![], connection).await,
        Some(row) => change(row, set, connection).await,
    }
}

async fn state(replacement: &Replacement, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    if !replace(CURRENT, replacement, &mut *connection).await? {
        return Ok(WriteOutcome::nothing(false));
    }
    query(REMOVE).bind(&replacement.tenant).bind(PROPOSED).execute(connection).await?;
    Ok(WriteOutcome::renewed(true))
}

async fn propose(replacement: &Replacement, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    Ok(WriteOutcome::applied_if(replace(PROPOSED, replacement, connection).await?))
}

/// What is set of a tenant, whether it holds or waits.
pub(super) fn of_tenant(tenant: &TenantId) -> Name<'_> {
    Name::Once(tenant, "settings", b"")
}

fn changing(tenant: &TenantId) -> Scope {
    Scope::alone(of_tenant(tenant))
}

#[async_trait]
impl SettingStatements for SqlStore {
    async fn settings(&self, tenant: &TenantId) -> Result<Option<SettingStatement>, StoreError> {
        self.read_one("read settings", rows(&FIND).bind(tenant).bind(CURRENT.to_owned()), statement_of).await
    }

    async fn proposed_settings(&self, tenant: &TenantId) -> Result<Option<SettingStatement>, StoreError> {
        self.read_one("read settings", rows(&FIND).bind(tenant).bind(PROPOSED.to_owned()), statement_of).await
    }

    async fn state_settings(
        &self,
        tenant: &TenantId,
        seen: Option<&SettingStatement>,
        stated: &SettingStatement,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let replacement = Replacement { tenant: tenant.clone(), seen: seen.cloned(), becomes: Some(stated.clone()) };
        let scope = changing(tenant).raising(tenant, Noun::Settings);
        self.writer.change("state settings", scope, replacement, audit, state).await
    }

    async fn declared(
        &self,
        tenant: &TenantId,
        noun: DeclaredNoun,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        // No id is empty.
        let page = declared::list(tenant, noun, after.unwrap_or_default(), limit);
        self.read_each("list what files state", page, |row| row.try_get("id")).await
    }

    async fn propose_settings(
        &self,
        tenant: &TenantId,
        seen: Option<&SettingStatement>,
        proposed: Option<&SettingStatement>,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let replacement = Replacement { tenant: tenant.clone(), seen: seen.cloned(), becomes: proposed.cloned() };
        self.writer.change("propose settings", changing(tenant), replacement, audit, propose).await
    }
}
