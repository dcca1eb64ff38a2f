//! Logins at HSM tokens: one row a token, changed by its version.

use std::sync::LazyLock;

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Query, Result, Row, Text, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::row::{joined, number, set};
use signet_core::audit::AuditEvent;
use signet_core::keys::login::{EndedLogin, Presenting};
use signet_core::keys::{LoginRecord, TenantId, TokenIdentity};
use signet_jose::clock::Timestamp;
use signet_store::{LoginChange, Logins, StoreError, StoredLogins};

const COLUMNS: &str =
    "manufacturer, model, serial, label, hsm, version, refused_by, refusal, unknown, unknown_by, unknown_end, closed,
    stopped, allowed, cleared, presenting, presenting_allowed, presenting_until";

pub(super) static ALL: LazyLock<Text> = LazyLock::new(|| {
    let text = format!("SELECT {COLUMNS}, {{now}} AS now FROM hsm_logins ORDER BY manufacturer, model, serial, label");
    Text::by_clock(&text, "$1")
});

pub(super) static ONE: LazyLock<Text> = LazyLock::new(|| {
    let text = format!(
        "SELECT {COLUMNS}, {{now}} AS now FROM hsm_logins
        WHERE manufacturer = $1 AND model = $2 AND serial = $3 AND label = $4"
    );
    Text::by_clock(&text, "$5")
});

pub(super) static ADD: LazyLock<Text> = LazyLock::new(|| {
    let text = format!(
        "INSERT INTO hsm_logins ({COLUMNS})
        VALUES ($1, $2, $3, $4, $5, $6 + 1, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, {{now}} + $18)
        ON CONFLICT (manufacturer, model, serial, label) DO NOTHING"
    );
    Text::by_clock(&text, "$19")
});

pub(super) static CHANGE: LazyLock<Text> = LazyLock::new(|| {
    let text = "UPDATE hsm_logins SET hsm = $5, version = version + 1, refused_by = $7, refusal = $8, unknown = $9,
            unknown_by = $10, unknown_end = $11, closed = $12, stopped = $13, allowed = $14, cleared = $15, presenting = $16,
            presenting_allowed = $17, presenting_until = COALESCE({now} + $18, presenting_until)
        WHERE manufacturer = $1 AND model = $2 AND serial = $3 AND label = $4 AND version = $6";
    Text::by_clock(text, "$19")
});

/// What happened to a node, of the two columns that say so.
fn ended(row: &Row, node: &'static str, detail: &'static str) -> Result<Option<EndedLogin>> {
    let node: Option<String> = row.try_get(node)?;
    node.map(|node| Ok(EndedLogin { node, detail: row.try_get(detail)? })).transpose()
}

fn presenting(row: &Row) -> Result<Option<Presenting>> {
    let node: Option<String> = row.try_get("presenting")?;
    let until: Option<i64> = row.try_get("presenting_until")?;
    let now: i64 = row.try_get("now")?;
    let is_over = until.is_none_or(|until| until <= now);
    node.map(|node| Ok(Presenting { node, is_allowed: row.try_get("presenting_allowed")?, is_over })).transpose()
}

fn logins(row: &Row) -> Result<StoredLogins> {
    Ok(StoredLogins {
        token: TokenIdentity {
            manufacturer: row.try_get("manufacturer")?,
            model: row.try_get("model")?,
            serial: row.try_get("serial")?,
            label: row.try_get("label")?,
        },
        hsm: row.try_get("hsm")?,
        version: row.try_get("version")?,
        record: LoginRecord {
            refused: ended(row, "refused_by", "refusal")?,
            unknown: number(row, "unknown")?,
            last_unknown: ended(row, "unknown_by", "unknown_end")?,
            is_closed: row.try_get("closed")?,
            stopped: set(row, "stopped")?,
            allowed: set(row, "allowed")?,
            cleared: set(row, "cleared")?,
            presenting: presenting(row)?,
        },
    })
}

fn bound_to(text: &Text, token: &TokenIdentity) -> Query {
    query(text.clone()).bind(&token.manufacturer).bind(&token.model).bind(&token.serial).bind(&token.label)
}

type Asked = (LoginChange, Timestamp);

async fn change((change, at): &Asked, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let StoredLogins { token, hsm, version, record } = &change.logins;
    let text = if *version == 0 { &*ADD } else { &*CHANGE };
    let node = |ended: &Option<EndedLogin>| ended.as_ref().map(|ended| ended.node.clone());
    let detail = |ended: &Option<EndedLogin>| ended.as_ref().map(|ended| ended.detail.clone());
    let presenting = record.presenting.as_ref();
    let changed = bound_to(text, token)
        .bind(hsm)
        .bind(*version)
        .bind(node(&record.refused))
        .bind(detail(&record.refused))
        .bind(record.unknown)
        .bind(node(&record.last_unknown))
        .bind(detail(&record.last_unknown))
        .bind(record.is_closed)
        .bind(joined(&record.stopped))
        .bind(joined(&record.allowed))
        .bind(joined(&record.cleared))
        .bind(presenting.map(|presenting| presenting.node.clone()))
        .bind(presenting.is_some_and(|presenting| presenting.is_allowed))
        .bind(change.lasts.map(|lasts| i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX)))
        .bind(at)
        .execute(connection)
        .await?;
    Ok(WriteOutcome::applied_if(changed.rows_affected() == 1))
}

#[async_trait]
impl Logins for SqlStore {
    async fn logins(&self, at: Timestamp) -> Result<Vec<StoredLogins>, StoreError> {
        self.read_each("list logins at HSM tokens", query(ALL.clone()).bind(at), logins).await
    }

    async fn logins_of(&self, token: &TokenIdentity, at: Timestamp) -> Result<Option<StoredLogins>, StoreError> {
        self.read_one("read the logins at an HSM token", bound_to(&ONE, token).bind(at), logins).await
    }

    async fn change_logins(
        &self,
        asked: LoginChange,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let TokenIdentity { manufacturer, model, serial, label } = &asked.logins.token;
        let name = [manufacturer, model, serial, label].map(|part| format!("{}:{part}", part.len())).concat();
        let scope = Scope::alone(Name::Once(&TenantId::default_tenant(), "logins", name.as_bytes()));
        self.writer.change("change the logins at an HSM token", scope, (asked, at), audit, change).await
    }
}
