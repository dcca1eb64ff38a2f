//! The audit log: records in multi-row statements, and the tail of the chain.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, Sqlite};

use super::SqliteStore;
use super::fault::{Fault, Result};
use super::row::array;
use super::texts::texts;
use super::writer::Effect;
use signet_core::audit::chain::chain_at;
use signet_core::audit::{Checkpoint, Draft, Head, Record};
use signet_jose::clock::{Clock, Timestamp};
use signet_store::{AuditLog, KeyMention, StoreError, StoreFailure, Told};

texts! {
    TAIL = "SELECT generation, head_sequence, head_hash, head_at FROM deployment WHERE id = 1";
    HASH_AT = "SELECT hash FROM audit_records WHERE sequence = $1";
    RECORDS = "SELECT sequence, at, text, hash FROM audit_records WHERE sequence >= $1 ORDER BY sequence LIMIT $2";
    HEAD = "SELECT head_sequence, head_hash FROM deployment WHERE id = 1";
    ADD_CHECKPOINT = "INSERT INTO audit_checkpoints (sequence, at, jws) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    CHECKPOINTS = "SELECT sequence, at, jws FROM audit_checkpoints WHERE sequence >= $1 ORDER BY sequence LIMIT $2";
    KEY_MENTIONS = "SELECT json_extract(text, '$.event'), COALESCE(json_extract(text, '$.key'), ''), json_extract(text, '$.signed'), \
        json_extract(text, '$.reason'), COUNT(*), COALESCE(SUM(json_extract(text, '$.signatures')), 0) \
        FROM audit_records WHERE sequence > $1 AND sequence <= $2 \
        AND (json_extract(text, '$.key') IS NOT NULL OR json_extract(text, '$.event') = 'custody.begun') \
        GROUP BY 1, 2, 3, 4";
    CHECKPOINT_HEADERS = "SELECT substr(jws, 1, instr(jws, '.') - 1), COUNT(*) FROM audit_checkpoints \
        WHERE sequence > $1 AND sequence <= $2 GROUP BY 1";
    LAST_CHECKPOINT = "SELECT sequence, at, jws FROM audit_checkpoints ORDER BY sequence DESC LIMIT 1";
}

/// The rows of one statement: few sizes, so that each is prepared once. The greatest first, the last one 1. A group that
/// is usual takes one statement.
const SIZES: [usize; 18] = [64, 32, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];

/// The statements that insert so many records.
pub(super) struct Insert {
    rows: usize,
    /// The records alone.
    pub(super) alone: Arc<str>,
    /// The records, and the tail that they make: one turn of the connection's thread rather than two.
    with_tail: Arc<str>,
}

pub(super) static INSERTS: LazyLock<[Insert; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|rows| {
        let alone = insert_text(rows);
        let with_tail = format!("{alone}; {}", set_tail_text(parameters(rows) + 1));
        Insert { rows, alone: alone.into(), with_tail: with_tail.into() }
    })
});

/// Writes the tail.
pub(super) static SET_TAIL: LazyLock<Arc<str>> = LazyLock::new(|| set_tail_text(1).into());

/// Begins a transaction that writes, and reads the tail in the same turn of the connection's thread.
static BEGIN: LazyLock<Arc<str>> = LazyLock::new(|| format!("BEGIN IMMEDIATE; {TAIL}").into());

/// `$1` is the first record's sequence, `$2` the moment of all; then tenant, text and hash of each.
fn insert_text(rows: usize) -> String {
    let row = |index: usize| {
        let first = parameters(index) + 1;
        format!("($1 + {index}, $2, ${}, ${}, ${})", first, first + 1, first + 2)
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!("INSERT INTO audit_records (sequence, at, tenant, text, hash) VALUES {}", rows.join(", "))
}

/// How many parameters the insertion of so many records has.
const fn parameters(rows: usize) -> usize {
    rows * 3 + 2
}

/// The tail's parameters from `first` on: generation, sequence, hash, moment.
fn set_tail_text(first: usize) -> String {
    let [sequence, hash, at] = [first + 1, first + 2, first + 3];
    format!(
        "UPDATE deployment SET generation = ${first}, head_sequence = ${sequence}, head_hash = ${hash}, \
        head_at = ${at} WHERE id = 1"
    )
}

/// What a transaction reads first and writes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// The deployment's generation.
    pub(super) generation: i64,
    /// The end of the chain.
    pub(super) head: Head,
    /// The last record's moment: the next one is never earlier.
    pub(super) at: Timestamp,
}

/// Reads the tail, inside the transaction that will move it.
pub(super) async fn tail(connection: &mut SqliteConnection) -> Result<Tail> {
    tail_of(&sqlx::query(TAIL).fetch_one(connection).await?)
}

/// Begins a transaction that writes, and reads the tail.
pub(super) async fn begin(connection: &mut SqliteConnection) -> Result<Tail> {
    tail_of(&sqlx::query(AssertSqlSafe(Arc::clone(&BEGIN))).fetch_one(connection).await?)
}

fn tail_of(row: &SqliteRow) -> Result<Tail> {
    Ok(Tail {
        generation: row.try_get("generation")?,
        head: head_of(row)?,
        at: Timestamp::from_unix_millis(row.try_get("head_at")?),
    })
}

fn head_of(row: &SqliteRow) -> Result<Head> {
    Ok(Head { sequence: row.try_get("head_sequence")?, hash: array(row, "head_hash")? })
}

type BoundQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind_tail(query: BoundQuery<'_>, tail: Tail) -> BoundQuery<'_> {
    query.bind(tail.generation).bind(tail.head.sequence).bind(tail.head.hash.to_vec()).bind(tail.at.unix_millis())
}

/// Refuses a stored chain that does not go through the record that this process saw committed last.
pub(super) async fn check_not_behind(connection: &mut SqliteConnection, stored: Head, seen: Head) -> Result<()> {
    if stored == seen || seen.sequence == 0 {
        return Ok(());
    }
    if stored.sequence <= seen.sequence {
        return Err(StoreFailure::RolledBack.into());
    }
    let row = sqlx::query(HASH_AT).bind(seen.sequence).fetch_optional(connection).await?;
    let kept: Option<[u8; 32]> = row.map(|row| array(&row, "hash")).transpose()?;
    if kept == Some(seen.hash) { Ok(()) } else { Err(StoreFailure::RolledBack.into()) }
}

/// Chains drafts onto the tail, raises the generation by so much, and writes both; gives the tail after them.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    before: Tail,
    drafts: &[&Draft],
    renewals: i64,
    clock: &dyn Clock,
) -> Result<Tail> {
    let mut tail = Tail { generation: before.generation.saturating_add(renewals), ..before };
    if drafts.is_empty() {
        if tail != before {
            bind_tail(sqlx::query(AssertSqlSafe(Arc::clone(&SET_TAIL))), tail).execute(connection).await?;
        }
        return Ok(tail);
    }
    // The chain's time never goes back, whatever the clock does.
    tail.at = clock.now().max(before.at);
    let at_text = tail.at.to_string();
    let mut rest = drafts;
    while let Some(Insert { rows, alone, with_tail }) = INSERTS.iter().find(|insert| insert.rows <= rest.len()) {
        let (now, later) = rest.split_at(*rows);
        let text = if later.is_empty() { with_tail } else { alone };
        let mut insert = sqlx::query(AssertSqlSafe(Arc::clone(text)))
            .bind(tail.head.sequence.saturating_add(1))
            .bind(tail.at.unix_millis());
        for draft in now {
            let (record, head) = chain_at(tail.head, tail.at, &at_text, draft);
            insert = insert.bind(draft.tenant.as_str()).bind(record.text).bind(record.hash.to_vec());
            tail.head = head;
        }
        if later.is_empty() {
            insert = bind_tail(insert, tail);
        }
        insert.execute(&mut *connection).await?;
        rest = later;
    }
    Ok(tail)
}

fn record_of(row: &SqliteRow) -> Result<Record> {
    Ok(Record {
        sequence: row.try_get("sequence")?,
        at: Timestamp::from_unix_millis(row.try_get("at")?),
        text: row.try_get("text")?,
        hash: array(row, "hash")?,
    })
}

fn checkpoint_of(row: &SqliteRow) -> Result<Checkpoint> {
    Ok(Checkpoint {
        sequence: row.try_get("sequence")?,
        at: Timestamp::from_unix_millis(row.try_get("at")?),
        jws: row.try_get("jws")?,
    })
}

fn mention_of(row: &SqliteRow) -> Result<KeyMention> {
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

fn header_of(row: &SqliteRow) -> Result<(String, u64)> {
    let count: i64 = row.try_get(1)?;
    Ok((row.try_get(0)?, count.unsigned_abs()))
}

async fn insert_checkpoint(checkpoint: &Checkpoint, connection: &mut SqliteConnection) -> Result<Effect<bool>> {
    let inserted = sqlx::query(ADD_CHECKPOINT)
        .bind(checkpoint.sequence)
        .bind(checkpoint.at.unix_millis())
        .bind(checkpoint.jws.as_str())
        .execute(connection)
        .await?;
    Ok(Effect::nothing(inserted.rows_affected() == 1))
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn append(&self, told: Vec<Draft>) -> std::result::Result<i64, StoreError> {
        self.writer.append(told).await
    }

    async fn records(&self, first: i64, limit: u32) -> std::result::Result<Vec<Record>, StoreError> {
        let rows = self.read_all("read audit records", sqlx::query(RECORDS).bind(first).bind(i64::from(limit))).await?;
        rows.iter().map(record_of).collect::<Result<_>>().map_err(|fault| fault.during("read audit records"))
    }

    async fn head(&self) -> std::result::Result<Head, StoreError> {
        let operation = "read the head of the audit chain";
        let row = self.read_one(operation, sqlx::query(HEAD)).await?;
        let head = row.ok_or(Fault::corrupt("deployment")).and_then(|row| head_of(&row));
        head.map_err(|fault| fault.during(operation))
    }

    /// Kept in the anchor first: where that fails the database has no such checkpoint either, so that the next one is
    /// signed and tried in the same way. The records that it covers are in the database already.
    async fn add_checkpoint(&self, checkpoint: &Checkpoint) -> std::result::Result<bool, StoreError> {
        let operation = "keep a checkpoint";
        if let Some(anchor) = &self.anchor {
            anchor.append(checkpoint).await.map_err(|failure| StoreError { operation, failure })?;
        }
        self.writer
            .change(operation, checkpoint.clone(), Told::default(), |checkpoint, connection| {
                Box::pin(insert_checkpoint(checkpoint, connection))
            })
            .await
    }

    async fn key_mentions(&self, after: i64, up_to: i64) -> std::result::Result<Vec<KeyMention>, StoreError> {
        let operation = "count the records that name a key";
        let rows = self.read_all(operation, sqlx::query(KEY_MENTIONS).bind(after).bind(up_to)).await?;
        rows.iter().map(mention_of).collect::<Result<_>>().map_err(|fault| fault.during(operation))
    }

    async fn checkpoint_headers(&self, after: i64, up_to: i64) -> std::result::Result<Vec<(String, u64)>, StoreError> {
        let operation = "count checkpoints";
        let rows = self.read_all(operation, sqlx::query(CHECKPOINT_HEADERS).bind(after).bind(up_to)).await?;
        rows.iter().map(header_of).collect::<Result<_>>().map_err(|fault| fault.during(operation))
    }

    async fn checkpoints(&self, first: i64, limit: u32) -> std::result::Result<Vec<Checkpoint>, StoreError> {
        let rows =
            self.read_all("read checkpoints", sqlx::query(CHECKPOINTS).bind(first).bind(i64::from(limit))).await?;
        rows.iter().map(checkpoint_of).collect::<Result<_>>().map_err(|fault| fault.during("read checkpoints"))
    }

    async fn last_checkpoint(&self) -> std::result::Result<Option<Checkpoint>, StoreError> {
        let row = self.read_one("read the last checkpoint", sqlx::query(LAST_CHECKPOINT)).await?;
        row.as_ref().map(checkpoint_of).transpose().map_err(|fault| fault.during("read the last checkpoint"))
    }
}
