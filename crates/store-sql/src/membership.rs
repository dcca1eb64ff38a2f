//! The deployment as a whole.

use std::sync::LazyLock;

use async_trait::async_trait;

use super::authority::{change, each_of, fields, selections};
use super::engine::{Connection, Result, Row, Text, query};
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::texts::texts;
use super::{SqlStore, chain};
use signet_core::audit::{AuditEvent, NodeId};
use signet_core::keys::{HsmName, SealMode, TenantId, TokenInfo};
use signet_jose::clock::Timestamp;
use signet_store::{Generations, HsmMember, Membership, SealedSecrets, StoreError};

selections! {
    LIVE_KEYS = "SELECT {keys} FROM keys WHERE hsm = $1 AND state IN ('next', 'active')";
}

texts! {
    TOKENS = "SELECT name, label, manufacturer, model, serial, firmware, bound_at, retired_at
        FROM hsm_tokens ORDER BY name";
    SEALED = "SELECT kind, hsm, substr(blob, 1, 1), COUNT(*) FROM seals GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    BIND = "INSERT INTO hsm_tokens (name, label, manufacturer, model, serial, firmware, bound_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (name) DO UPDATE SET retired_at = NULL, bound_at = excluded.bound_at
        WHERE hsm_tokens.retired_at IS NOT NULL";
    RETIRE = "UPDATE hsm_tokens SET retired_at = $2 WHERE name = $1 AND retired_at IS NULL AND EXISTS (
        SELECT 1 FROM keys k JOIN hsm_tokens t ON t.name = k.hsm
        WHERE k.hsm <> $1 AND t.retired_at IS NULL AND k.purpose = 'token_signing' AND k.state = 'active')";
}

/// What an HSM token says of itself, as it was written down.
pub(super) fn token_info(row: &Row) -> Result<TokenInfo> {
    Ok(TokenInfo {
        label: row.try_get("label")?,
        manufacturer: row.try_get("manufacturer")?,
        model: row.try_get("model")?,
        serial: row.try_get("serial")?,
        firmware: row.try_get("firmware")?,
    })
}

fn token_of(row: &Row) -> Result<(HsmName, TokenInfo)> {
    Ok((row.try_get("name")?, token_info(row)?))
}

fn sealed_of(row: &Row) -> Result<SealedSecrets> {
    let (mode, count): (Vec<u8>, i64) = (row.try_get(2)?, row.try_get(3)?);
    Ok(SealedSecrets {
        kind: row.try_get("kind")?,
        hsm: row.try_get("hsm")?,
        mode: SealMode::of_blob(mode.first()),
        count: count.unsigned_abs(),
    })
}

async fn bind(
    (name, token, at): &(HsmName, TokenInfo, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<()>> {
    let bound = query(BIND)
        .bind(name)
        .bind(&token.label)
        .bind(&token.manufacturer)
        .bind(&token.model)
        .bind(&token.serial)
        .bind(&token.firmware)
        .bind(at)
        .execute(connection)
        .await?;
    Ok(if bound.rows_affected() == 0 { WriteOutcome::nothing(()) } else { WriteOutcome::renewed(()) })
}

fn member_of(row: &Row) -> Result<HsmMember> {
    let (name, token) = token_of(row)?;
    Ok(HsmMember { name, token, bound_at: row.try_get("bound_at")?, retired_at: row.try_get("retired_at")? })
}

async fn retire(
    (name, at, until): &(HsmName, Timestamp, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let retired = query(RETIRE).bind(name).bind(at).execute(&mut *connection).await?;
    if retired.rows_affected() == 0 {
        return Ok(WriteOutcome::nothing(false));
    }
    for key in each_of(&LIVE_KEYS).bind(name).stored(&mut *connection).await? {
        let retiring = fields().set("state", "retiring").set("state_since", *at).set("state_until", *until);
        change(key, retiring, &mut *connection).await?;
    }
    Ok(WriteOutcome::renewed(true))
}

pub(super) static PROBE: LazyLock<Text> = LazyLock::new(|| {
    let text = "INSERT INTO probe (node, probed_at) VALUES ($1, {now})
        ON CONFLICT (node) DO UPDATE SET probed_at = excluded.probed_at RETURNING probed_at";
    Text::by_clock(text, "$2")
});

async fn probe((node, at): &(NodeId, Timestamp), connection: &mut Connection) -> Result<WriteOutcome<Timestamp>> {
    let row = query(PROBE.clone()).bind(node).bind(at).fetch_one(connection).await?;
    Ok(WriteOutcome::nothing(row.try_get("probed_at")?))
}

#[async_trait]
impl Membership for SqlStore {
    async fn generations(&self, tenant: &TenantId) -> Result<Generations, StoreError> {
        let query = chain::generations_query(tenant.as_str());
        self.read("read the generations", query, chain::generations_of).await
    }

    async fn hsm_tokens(&self) -> Result<Vec<(HsmName, TokenInfo)>, StoreError> {
        self.read_each("list HSM tokens", query(TOKENS), token_of).await
    }

    async fn hsm_members(&self) -> Result<Vec<HsmMember>, StoreError> {
        self.read_each("list HSM tokens", query(TOKENS), member_of).await
    }

    async fn retire_hsm_token(
        &self,
        name: &HsmName,
        at: Timestamp,
        until: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<bool, StoreError> {
        let scope = Scope::alone(Name::KeyRing).raising(&TenantId::default_tenant(), Noun::Keys);
        let scope = scope.raising(&TenantId::default_tenant(), Noun::Members);
        self.writer.change("retire HSM token", scope, (name.clone(), at, until), audit, retire).await
    }

    async fn bind_hsm_token(
        &self,
        name: &HsmName,
        token: &TokenInfo,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> Result<(), StoreError> {
        let scope = Scope::alone(Name::KeyRing).raising(&TenantId::default_tenant(), Noun::Members);
        self.writer.change("bind HSM token", scope, (name.clone(), token.clone(), at), audit, bind).await
    }

    async fn sealed_secrets(&self) -> Result<Vec<SealedSecrets>, StoreError> {
        let operation = "count sealed secrets";
        self.read_each(operation, query(SEALED), sealed_of).await
    }

    async fn probe(&self, at: Timestamp) -> Result<Timestamp, StoreError> {
        self.writer.change("probe", Scope::free(), (self.node.clone(), at), vec![], probe).await
    }
}
