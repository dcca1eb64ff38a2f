//! The nodes, and the right of a process to be one.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;

use super::SqlStore;
use super::chain::head_of;
use super::engine::{Connection, Result, Row, Text, query};
use super::locks::{Name, Scope};
use super::outcome::WriteOutcome;
use super::texts::texts;
use signet_core::audit::{AuditEvent, NodeId};
use signet_core::keys::TenantId;
use signet_jose::clock::Timestamp;
use signet_store::{HsmRate, Node, NodeHolder, NodeLease, Nodes, StoreError, StoreFailure};

texts! {
    LIST = "SELECT id, name, joined_at, leased_until, retired_at, head_sequence, head_hash
        FROM nodes ORDER BY joined_at, id";
    FORGET_RATES = "DELETE FROM node_rates WHERE node = $1";
    KEEP_RATE = "INSERT INTO node_rates (node, hsm, most_per_second, capacity) VALUES ($1, $2, $3, $4)";
    RATES = "SELECT node, hsm, most_per_second, capacity FROM node_rates ORDER BY hsm, node";
    GIVE_BACK = "UPDATE nodes SET leased_until = NULL WHERE id = $1 AND process = $2";
    RETIRE = "UPDATE nodes SET retired_at = $2, lease = lease + 1, leased_until = NULL
        WHERE id = $1 AND retired_at IS NULL";
}

/// The lease rises where another process takes it.
pub(super) static LEASE: LazyLock<Text> = LazyLock::new(|| {
    let text = "UPDATE nodes SET name = $2, process = $3, leased_until = {now} + $6,
            lease = CASE WHEN process = $3 THEN lease ELSE lease + 1 END
        WHERE id = $1 AND retired_at IS NULL
            AND (process = $3 OR process = $4 OR leased_until IS NULL OR leased_until <= {now})
        RETURNING lease";
    Text::by_clock(text, "$5")
});

fn node_of(row: &Row) -> Result<Node> {
    Ok(Node {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        joined_at: row.try_get("joined_at")?,
        leased_until: row.try_get("leased_until")?,
        retired_at: row.try_get("retired_at")?,
        head: head_of(row)?,
    })
}

type Asked = (NodeId, NodeHolder, Timestamp, Duration);

/// The lease's number where it is held now.
async fn lease((node, holder, at, lasts): &Asked, connection: &mut Connection) -> Result<WriteOutcome<Option<i64>>> {
    let leased = query(LEASE.clone())
        .bind(node)
        .bind(&holder.name)
        .bind(&holder.process)
        .bind(&holder.ended)
        .bind(at)
        .bind(i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX))
        .fetch_optional(connection)
        .await?;
    Ok(WriteOutcome::nothing(leased.map(|row| row.try_get("lease")).transpose()?))
}

async fn give_back((node, process): &(NodeId, String), connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(GIVE_BACK).bind(node).bind(process).execute(connection).await?;
    Ok(WriteOutcome::nothing(()))
}

async fn keep_rates((node, rates): &(NodeId, Vec<HsmRate>), connection: &mut Connection) -> Result<WriteOutcome<()>> {
    query(FORGET_RATES).bind(node).execute(&mut *connection).await?;
    for HsmRate { hsm, most_per_second, capacity } in rates {
        let [most, capacity] = [most_per_second, capacity].map(|rate| rate.map(i64::from));
        query(KEEP_RATE).bind(node).bind(hsm).bind(most).bind(capacity).execute(&mut *connection).await?;
    }
    Ok(WriteOutcome::nothing(()))
}

fn rate_of(row: &Row) -> Result<(NodeId, HsmRate)> {
    let number = |column| {
        let rate: Option<i64> = row.try_get(column)?;
        rate.map(|rate| u32::try_from(rate).map_err(|_| StoreFailure::Corrupt(column))).transpose()
    };
    let (most_per_second, capacity) = (number("most_per_second")?, number("capacity")?);
    Ok((row.try_get("node")?, HsmRate { hsm: row.try_get("hsm")?, most_per_second, capacity }))
}

/// A transaction of the node that is under way holds its row: this one waits for its end.
async fn retire((node, at): &(NodeId, Timestamp), connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let retired = query(RETIRE).bind(node).bind(at).execute(connection).await?;
    Ok(WriteOutcome::applied_if(retired.rows_affected() > 0))
}

#[async_trait]
impl Nodes for SqlStore {
    fn node(&self) -> &NodeId {
        &self.node
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.read_each("list nodes", query(LIST), node_of).await
    }

    async fn lease_node(&self, holder: &NodeHolder, at: Timestamp, lasts: Duration) -> Result<NodeLease, StoreError> {
        let asked = (self.node.clone(), holder.clone(), at, lasts);
        let leased = self.writer.change("lease the node", Scope::free(), asked, vec![], lease).await;
        match leased {
            Ok(Some(number)) => {
                self.writer.write_under(number);
                Ok(NodeLease::Held)
            }
            Ok(None) => Ok(NodeLease::Taken),
            Err(error) => {
                let is_retired = |node: &Node| node.id == self.node && node.retired_at.is_some();
                match error.failure {
                    StoreFailure::Fenced(_) if self.nodes().await?.iter().any(is_retired) => Ok(NodeLease::Retired),
                    StoreFailure::Fenced(_) => Ok(NodeLease::Taken),
                    _ => Err(error),
                }
            }
        }
    }

    async fn give_back_node(&self, process: &str) -> Result<(), StoreError> {
        let asked = (self.node.clone(), process.to_owned());
        self.writer.change("give the node back", Scope::free(), asked, vec![], give_back).await
    }

    async fn keep_rates(&self, rates: &[HsmRate]) -> Result<(), StoreError> {
        let asked = (self.node.clone(), rates.to_vec());
        self.writer.change("keep the node's rates", Scope::free(), asked, vec![], keep_rates).await
    }

    async fn rates(&self) -> Result<Vec<(NodeId, HsmRate)>, StoreError> {
        self.read_each("list the nodes' rates", query(RATES), rate_of).await
    }

    async fn retire_node(&self, node: &NodeId, at: Timestamp, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        // One at a time: two nodes that retire each other must not wait for each other's row.
        let scope = Scope::alone(Name::Once(&TenantId::default_tenant(), "nodes", b""));
        self.writer.change("retire node", scope, (node.clone(), at), audit, retire).await
    }
}
