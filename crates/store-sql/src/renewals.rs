//! The renewal of the deployment's secret while servers run.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;

use super::SqlStore;
use super::engine::{Connection, Result, Row, Text, query};
use super::locks::{Name, Noun, Scope};
use super::outcome::WriteOutcome;
use super::seals::{self, deployment_row};
use super::secrets_at_rest::{generation_of, newest_of_deployment};
use super::texts::texts;
use signet_core::audit::{AuditEvent, NodeId};
use signet_core::keys::{SealedCopies, TenantId};
use signet_jose::clock::Timestamp;
use signet_store::{Renewal, Renewals, RenewedRows, StoreError};

texts! {
    FIND = "SELECT generation, began_at, writes_since FROM secret_renewals";
    BEGIN = "INSERT INTO secret_renewals (id, generation, began_at) VALUES (1, $1, $2) ON CONFLICT DO NOTHING";
    OPENED = "INSERT INTO secret_openings (node, generation) VALUES ($1, $2)
        ON CONFLICT (node) DO UPDATE SET generation = excluded.generation";
    WRITE = "UPDATE secret_renewals SET writes_since = $2 WHERE generation = $1 AND writes_since IS NULL";
    // Whoever holds a node's row began before, and is waited for.
    EVERY_NODE = "SELECT id FROM nodes ORDER BY id FOR UPDATE";
    END = "DELETE FROM secret_renewals WHERE generation = $1 AND writes_since IS NOT NULL";
    REMOVE_BEFORE = "DELETE FROM seals WHERE tenant = 'default' AND kind = 'deployment.secret' AND row_id < $1";
    REMOVE_ENVELOPES_BEFORE = "DELETE FROM envelopes
        WHERE tenant = 'default' AND kind = 'deployment.secret' AND row_id < $1";
}

pub(super) static WITHOUT: LazyLock<Text> = LazyLock::new(|| {
    let text = "SELECT n.id FROM nodes n WHERE n.retired_at IS NULL AND n.leased_until > {now} AND NOT EXISTS (
            SELECT 1 FROM secret_openings o WHERE o.node = n.id AND o.generation = $1) ORDER BY n.id";
    Text::by_clock(text, "$2")
});

fn renewal_of(row: &Row) -> Result<Renewal> {
    Ok(Renewal {
        generation: generation_of(row.try_get("generation")?)?,
        began_at: row.try_get("began_at")?,
        writes_since: row.try_get("writes_since")?,
    })
}

async fn begin(
    (generation, seals, at): &(u8, SealedCopies, Timestamp),
    connection: &mut Connection,
) -> Result<WriteOutcome<bool>> {
    let newest = newest_of_deployment(&mut *connection).await?;
    if newest.is_none_or(|newest| newest.checked_add(1) != Some(*generation)) {
        return Ok(WriteOutcome::nothing(false));
    }
    let row = deployment_row(*generation);
    if query(BEGIN).bind(&row).bind(at).execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(WriteOutcome::nothing(false));
    }
    seals::add(connection, &TenantId::default_tenant(), seals::DEPLOYMENT, &row, seals).await?;
    Ok(WriteOutcome::renewed(true))
}

async fn say_opened((node, row): &(NodeId, String), connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(OPENED).bind(node).bind(row).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

async fn write_by((row, at): &(String, Timestamp), connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(WRITE).bind(row).bind(at).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

async fn await_all((): &(), connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(EVERY_NODE).fetch_all(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

async fn end(row: &String, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    if query(END).bind(row).execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(WriteOutcome::nothing(false));
    }
    for text in [REMOVE_ENVELOPES_BEFORE, REMOVE_BEFORE] {
        query(text).bind(row).execute(&mut *connection).await?;
    }
    Ok(WriteOutcome::renewed(true))
}

fn renewing() -> Scope {
    let tenant = TenantId::default_tenant();
    Scope::alone(Name::Once(&tenant, seals::DEPLOYMENT, b"")).raising(&tenant, Noun::Secrets)
}

#[async_trait]
impl Renewals for SqlStore {
    async fn renewal(&self) -> std::result::Result<Option<Renewal>, StoreError> {
        self.read_one("look for a renewal of the secret", query(FIND), renewal_of).await
    }

    async fn begin_renewal(
        &self,
        generation: u8,
        seals: &SealedCopies,
        at: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> std::result::Result<bool, StoreError> {
        let input = (generation, seals.clone(), at);
        self.writer.change("begin to renew the secret", renewing(), input, audit, begin).await
    }

    async fn say_opened(&self, generation: u8) -> std::result::Result<(), StoreError> {
        let input = (self.node.clone(), deployment_row(generation));
        self.writer.change("say that the secret was opened", Scope::free(), input, vec![], say_opened).await
    }

    async fn nodes_without(&self, generation: u8, at: Timestamp) -> std::result::Result<Vec<NodeId>, StoreError> {
        let without = query(WITHOUT.clone()).bind(deployment_row(generation)).bind(at);
        self.read_each("list nodes that lack the secret", without, |row| row.try_get("id")).await
    }

    async fn write_by(&self, generation: u8, at: Timestamp) -> std::result::Result<(), StoreError> {
        let input = (deployment_row(generation), at);
        self.writer.change("write by the renewed secret", renewing(), input, vec![], write_by).await?;
        // Twice: who waited for the first one may have looked before the change.
        for _ in 0..2 {
            // As a retirement, which waits for another node's row as well.
            let scope = Scope::alone(Name::Once(&TenantId::default_tenant(), "nodes", b""));
            self.writer.change("wait for what is being written", scope, (), vec![], await_all).await?;
        }
        Ok(())
    }

    async fn renew_some(&self, generation: u8, budget: Duration) -> std::result::Result<RenewedRows, StoreError> {
        let passed = self.pass_over_rows(generation, budget).await;
        passed.map_err(|failure| failure.during("write rows under the renewed secret"))
    }

    async fn end_renewal(&self, generation: u8, audit: Vec<AuditEvent>) -> std::result::Result<bool, StoreError> {
        let row = deployment_row(generation);
        self.writer.change("end the renewal of the secret", renewing(), row, audit, end).await
    }
}
