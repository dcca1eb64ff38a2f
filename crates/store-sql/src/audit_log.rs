//! The audit log, to be read, and its checkpoints.

use std::sync::LazyLock;

use async_trait::async_trait;

use super::SqlStore;
use super::chain::head_of;
use super::engine::{Connection, Result, Row, Text, query};
use super::locks::Scope;
use super::outcome::WriteOutcome;
use super::row::array;
use super::texts::texts;
use signet_core::audit::{AuditEvent, Checkpoint, Head, NodeId, Record};
use signet_store::{AuditLog, Generations, KeptCounts, KeyMention, StoreError, StoreFailure};

texts! {
    RECORDS = "SELECT node, sequence, at, text, hash FROM audit_records WHERE node = $1 AND sequence >= $2
        ORDER BY sequence LIMIT $3";
    HEADS = "SELECT id, head_sequence, head_hash FROM nodes WHERE head_sequence > 0 ORDER BY id";
    ADD_CHECKPOINT = "INSERT INTO audit_checkpoints (node, sequence, at, jws) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING";
    CHECKPOINTS = "SELECT node, sequence, at, jws FROM audit_checkpoints WHERE node = $1 AND sequence >= $2
        ORDER BY sequence LIMIT $3";
    KEPT_COUNTS = "SELECT sequence, hash, counts FROM record_counts WHERE node = $1";
    KEEP_FIRST_COUNTS = "INSERT INTO record_counts (node, sequence, hash, counts) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING";
    KEEP_COUNTS = "UPDATE record_counts SET sequence = $2, hash = $3, counts = $4
        WHERE node = $1 AND sequence = $5 AND hash = $6 AND counts = $7";
    FORGET_COUNTS = "DELETE FROM record_counts WHERE node = $1";
    LAST_CHECKPOINT = "SELECT node, sequence, at, jws FROM audit_checkpoints WHERE node = $1
        ORDER BY sequence DESC LIMIT 1";
}

/// What differs between the engines: JSON in a column, and the first part of a text.
pub(super) static EACH: LazyLock<[Text; 2]> = LazyLock::new(|| {
    let key_mentions = |member: fn(&str) -> String, number: &str| {
        let [event, key, signed, reason, signatures] = ["event", "key", "signed", "reason", "signatures"].map(member);
        format!(
            "SELECT {event}, COALESCE({key}, ''), {signed}, {reason}, COUNT(*),
                CAST(COALESCE(SUM(CAST({signatures} AS {number})), 0) AS {number})
            FROM audit_records WHERE node = $3 AND sequence > $1 AND sequence <= $2
                AND ({key} IS NOT NULL OR {event} = 'custody.begun')
            GROUP BY 1, 2, 3, 4"
        )
    };
    let headers = |first_part: &str| {
        format!(
            "SELECT {first_part}, COUNT(*) FROM audit_checkpoints
            WHERE node = $3 AND sequence > $1 AND sequence <= $2 GROUP BY 1"
        )
    };
    [
        Text::Each {
            sqlite: key_mentions(|name| format!("json_extract(text, '$.{name}')"), "INTEGER").into(),
            postgres: key_mentions(|name| format!("(CAST(text AS JSON) ->> '{name}')"), "BIGINT").into(),
        },
        Text::Each {
            sqlite: headers("substr(jws, 1, instr(jws, '.') - 1)").into(),
            postgres: headers("split_part(jws, '.', 1)").into(),
        },
    ]
});

fn record_of(row: &Row) -> Result<Record> {
    Ok(Record {
        node: row.try_get("node")?,
        sequence: row.try_get("sequence")?,
        at: row.try_get("at")?,
        text: row.try_get("text")?,
        hash: array(row, "hash")?,
    })
}

fn checkpoint_of(row: &Row) -> Result<Checkpoint> {
    Ok(Checkpoint {
        node: row.try_get("node")?,
        sequence: row.try_get("sequence")?,
        at: row.try_get("at")?,
        jws: row.try_get("jws")?,
    })
}

fn mention_of(row: &Row) -> Result<KeyMention> {
    let records: i64 = row.try_get(4)?;
    Ok(KeyMention {
        event: row.try_get(0)?,
        key: row.try_get(1)?,
        signed: row.try_get(2)?,
        reason: row.try_get(3)?,
        records: records.unsigned_abs(),
        signatures: row.try_get(5)?,
    })
}

fn header_of(row: &Row) -> Result<(String, u64)> {
    let count: i64 = row.try_get(1)?;
    Ok((row.try_get(0)?, count.unsigned_abs()))
}

fn kept_of(row: &Row) -> Result<KeptCounts> {
    let up_to = Head { sequence: row.try_get("sequence")?, hash: array(row, "hash")? };
    Ok(KeptCounts { up_to, counts: row.try_get("counts")? })
}

type Keeping = (NodeId, Option<KeptCounts>, KeptCounts);

async fn keep_counts((node, known, new): &Keeping, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let text = if known.is_some() { KEEP_COUNTS } else { KEEP_FIRST_COUNTS };
    let mut statement = query(text).bind(node).bind(new.up_to.sequence).bind(new.up_to.hash).bind(&new.counts);
    if let Some(known) = known {
        statement = statement.bind(known.up_to.sequence).bind(known.up_to.hash).bind(&known.counts);
    }
    Ok(WriteOutcome::nothing(statement.execute(connection).await?.rows_affected() == 1))
}

async fn forget_counts(node: &NodeId, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let forgotten = query(FORGET_COUNTS).bind(node).execute(connection).await?;
    Ok(WriteOutcome::applied_if(forgotten.rows_affected() == 1))
}

async fn insert_checkpoint(checkpoint: &Checkpoint, connection: &mut Connection) -> Result<WriteOutcome<bool>> {
    let inserted = query(ADD_CHECKPOINT)
        .bind(&checkpoint.node)
        .bind(checkpoint.sequence)
        .bind(checkpoint.at)
        .bind(&checkpoint.jws)
        .execute(connection)
        .await?;
    Ok(WriteOutcome::nothing(inserted.rows_affected() == 1))
}

/// Whether a node's chain has any checkpoint.
pub(super) async fn has_checkpoints(connection: &mut Connection, node: &NodeId) -> Result<bool> {
    Ok(query(LAST_CHECKPOINT).bind(node).fetch_optional(connection).await?.is_some())
}

#[async_trait]
impl AuditLog for SqlStore {
    async fn append(&self, audit: Vec<AuditEvent>) -> Result<Generations, StoreError> {
        self.writer.append(audit).await
    }

    async fn records(&self, node: &NodeId, first: i64, limit: u32) -> Result<Vec<Record>, StoreError> {
        let query = query(RECORDS).bind(node).bind(first).bind(limit);
        self.read_each("read audit records", query, record_of).await
    }

    async fn heads(&self) -> Result<Vec<(NodeId, Head)>, StoreError> {
        let head = |row: &Row| Ok((row.try_get("id")?, head_of(row)?));
        self.read_each("read where the audit chains end", query(HEADS), head).await
    }

    /// Kept in the anchor first: where that fails the database has no such checkpoint either, so that the next one is
    /// signed and tried in the same way. The records that it covers are in the database already.
    async fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
        let operation = "keep a checkpoint";
        // Begun anew, an anchor would vouch for whatever copy this is.
        self.check_anchored()?;
        if let Some(anchor) = &self.anchor {
            let kept = anchor.furthest().map_err(|failure| failure.during(operation))?;
            if let Some(kept) = kept
                && !self.goes_through(&kept).await?
            {
                return Err(StoreFailure::RolledBack.during(operation));
            }
            anchor.append(checkpoint).await.map_err(|failure| StoreError { operation, failure })?;
        }
        self.writer.change(operation, Scope::free(), checkpoint.clone(), vec![], insert_checkpoint).await
    }

    async fn key_mentions(&self, after: i64, up_to: i64) -> Result<Vec<KeyMention>, StoreError> {
        let operation = "count the records that name a key";
        self.read_each(operation, query(EACH[0].clone()).bind(after).bind(up_to).bind(&self.node), mention_of).await
    }

    async fn checkpoint_headers(&self, after: i64, up_to: i64) -> Result<Vec<(String, u64)>, StoreError> {
        let operation = "count checkpoints";
        self.read_each(operation, query(EACH[1].clone()).bind(after).bind(up_to).bind(&self.node), header_of).await
    }

    async fn kept_counts(&self) -> Result<Option<KeptCounts>, StoreError> {
        self.read_one("read the kept counts of records", query(KEPT_COUNTS).bind(&self.node), kept_of).await
    }

    // No name is locked: the row is this node's own, and its statement says which one it is to replace.
    async fn keep_counts(&self, known: Option<&KeptCounts>, counts: &KeptCounts) -> Result<bool, StoreError> {
        let input = (self.node.clone(), known.cloned(), counts.clone());
        self.writer.change("keep the counts of records", Scope::free(), input, vec![], keep_counts).await
    }

    async fn forget_counts(&self, audit: Vec<AuditEvent>) -> Result<bool, StoreError> {
        let operation = "forget the kept counts of records";
        self.writer.change(operation, Scope::free(), self.node.clone(), audit, forget_counts).await
    }

    async fn checkpoints(&self, node: &NodeId, first: i64, limit: u32) -> Result<Vec<Checkpoint>, StoreError> {
        let query = query(CHECKPOINTS).bind(node).bind(first).bind(limit);
        self.read_each("read checkpoints", query, checkpoint_of).await
    }

    async fn last_checkpoint(&self, node: &NodeId) -> Result<Option<Checkpoint>, StoreError> {
        self.read_one("read the last checkpoint", query(LAST_CHECKPOINT).bind(node), checkpoint_of).await
    }
}
