//! The audit chain as the writer moves it: the tail that a transaction reads first and writes last, and the records
//! between, in multi-row statements.

use std::sync::{Arc, LazyLock};

use super::engine::{Connection, Query, Result, Row, Text, WriteConnection, query};
use super::row::array;
use super::texts::texts;
use signet_core::audit::chain::chain_at;
use signet_core::audit::{Draft, Head};
use signet_jose::clock::{Clock, Timestamp};
use signet_store::StoreFailure;

texts! {
    TAIL = "SELECT generation, head_sequence, head_hash, head_at FROM deployment WHERE id = 1";
    LOCK_TAIL = "SELECT generation, head_sequence, head_hash, head_at FROM deployment WHERE id = 1 FOR UPDATE";
    HASH_AT = "SELECT hash FROM audit_records WHERE sequence = $1";
}

/// The rows of one statement: few sizes, so that each is prepared once. The greatest first, the last one 1. A group that
/// is usual takes one statement.
const SIZES: [usize; 18] = [64, 32, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];

/// The statements that insert so many records.
pub(super) struct Insert {
    rows: usize,
    /// The records alone.
    pub(super) alone: Arc<str>,
    /// The records, and the tail that they make: one turn of the connection rather than two.
    with_tail: Text,
    /// Both as a transaction of their own, where the tail is still the one that is known: one turn for a whole group.
    pub(super) at_once: Text,
}

pub(super) static INSERTS: LazyLock<[Insert; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|rows| {
        let alone = insert_text(rows);
        let set_tail = set_tail_text(parameters(rows) + 1);
        let with_tail = Text::Each {
            sqlite: format!("{alone}; {set_tail}").into(),
            postgres: format!("WITH appended AS ({alone}) {set_tail}").into(),
        };
        Insert { rows, alone: alone.into(), with_tail, at_once: at_once_text(rows) }
    })
});

/// The parameters of [`insert_text`], the new tail, then the generation and the hash of the known one. It gives a row where the
/// tail was the known one.
fn at_once_text(rows: usize) -> Text {
    let [generation, hash] = [5, 6].map(|place| parameters(rows) + place);
    let known = format!("id = 1 AND generation = ${generation} AND head_sequence = $1 - 1 AND head_hash = ${hash}");
    let insert = |records: String, condition: &str| {
        format!(
            "INSERT INTO audit_records (sequence, at, tenant, text, hash)
            SELECT * FROM (VALUES {records}) AS records WHERE EXISTS (SELECT 1 FROM {condition})"
        )
    };
    let for_sqlite = insert(records_text(rows, "$2", |hash| hash), &format!("deployment WHERE {known}"));
    // PostgreSQL takes a parameter's type from the column only where it stands in the column's place.
    let records = records_text(rows, "CAST($2 AS BIGINT)", |hash| format!("CAST({hash} AS BYTEA)"));
    let for_postgres = insert(records, "moved");
    let set_tail = set_tail_text(parameters(rows) + 1).replace("id = 1", &known);
    Text::Each {
        sqlite: format!("BEGIN IMMEDIATE; {for_sqlite}; {set_tail} RETURNING 1; COMMIT").into(),
        postgres: format!("WITH moved AS ({set_tail} RETURNING 1), appended AS ({for_postgres}) SELECT * FROM moved")
            .into(),
    }
}

/// Writes the tail.
pub(super) static SET_TAIL: LazyLock<Arc<str>> = LazyLock::new(|| set_tail_text(1).into());

/// `$1` is the first record's sequence, `$2` the moment of all; then tenant, text and hash of each.
fn insert_text(rows: usize) -> String {
    format!(
        "INSERT INTO audit_records (sequence, at, tenant, text, hash) VALUES {}",
        records_text(rows, "$2", |hash| hash)
    )
}

/// The records as rows of values, with the moment of all, and each hash, as they are written there.
fn records_text(rows: usize, at: &str, hash_text: impl Fn(String) -> String) -> String {
    let row = |index: usize| {
        let first = parameters(index) + 1;
        let hash = hash_text(format!("${}", first + 2));
        format!("($1 + {index}, {at}, ${first}, ${}, {hash})", first + 1)
    };
    (0..rows).map(row).collect::<Vec<String>>().join(", ")
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
pub(super) async fn tail(connection: &mut Connection) -> Result<Tail> {
    tail_of(&query(TAIL).fetch_one(connection).await?)
}

/// Begins a transaction that writes, and reads the tail.
pub(super) async fn begin(connection: &mut dyn WriteConnection) -> Result<Tail> {
    tail_of(&connection.begin(&LOCK_TAIL.into()).await?)
}

fn tail_of(row: &Row) -> Result<Tail> {
    Ok(Tail { generation: row.try_get("generation")?, head: head_of(row)?, at: row.try_get("head_at")? })
}

pub(super) fn head_of(row: &Row) -> Result<Head> {
    Ok(Head { sequence: row.try_get("head_sequence")?, hash: array(row, "head_hash")? })
}

fn bind_tail(query: Query, tail: Tail) -> Query {
    query.bind(tail.generation).bind(tail.head.sequence).bind(tail.head.hash).bind(tail.at)
}

/// Refuses a stored chain that does not go through the record that this process saw committed last.
pub(super) async fn check_not_behind(connection: &mut Connection, stored: Head, seen: Head) -> Result<()> {
    if stored == seen || seen.sequence == 0 {
        return Ok(());
    }
    if stored.sequence <= seen.sequence {
        return Err(StoreFailure::RolledBack);
    }
    let row = query(HASH_AT).bind(seen.sequence).fetch_optional(connection).await?;
    let kept: Option<[u8; 32]> = row.map(|row| array(&row, "hash")).transpose()?;
    if kept == Some(seen.hash) { Ok(()) } else { Err(StoreFailure::RolledBack) }
}

/// Chains drafts onto the known tail in a transaction of their own, and returns the tail after them; `None`, and nothing
/// written, where the stored tail is another one by now, or the drafts are none or too many for one statement.
pub(super) async fn append_at_once(
    connection: &mut dyn WriteConnection,
    known: Tail,
    drafts: &[&Draft],
    clock: &dyn Clock,
) -> Result<Option<Tail>> {
    let Some(insert) = INSERTS.iter().find(|insert| insert.rows == drafts.len()) else { return Ok(None) };
    let mut tail = Tail { at: clock.now().max(known.at), ..known };
    let statement = bind_records(query(insert.at_once.clone()), &mut tail, drafts);
    let statement = bind_tail(statement, tail).bind(known.generation).bind(known.head.hash);
    let moved = connection.alone(&statement.text, statement.values).await?;
    Ok((!moved.is_empty()).then_some(tail))
}

/// Chains drafts onto the tail, raises the generation by so much, and writes both; returns the tail after them.
pub(super) async fn append(
    connection: &mut Connection,
    before: Tail,
    drafts: &[&Draft],
    renewals: i64,
    clock: &dyn Clock,
) -> Result<Tail> {
    let mut tail = Tail { generation: before.generation.saturating_add(renewals), ..before };
    if drafts.is_empty() {
        if tail != before {
            bind_tail(query(Text::Made(Arc::clone(&SET_TAIL))), tail).execute(connection).await?;
        }
        return Ok(tail);
    }
    // The chain's time never goes back, whatever the clock does.
    tail.at = clock.now().max(before.at);
    let mut rest = drafts;
    while let Some(Insert { rows, alone, with_tail, .. }) = INSERTS.iter().find(|insert| insert.rows <= rest.len()) {
        let (now, later) = rest.split_at(*rows);
        let text = if later.is_empty() { with_tail.clone() } else { Text::Made(Arc::clone(alone)) };
        let mut insert = bind_records(query(text), &mut tail, now);
        if later.is_empty() {
            insert = bind_tail(insert, tail);
        }
        insert.execute(connection).await?;
        rest = later;
    }
    Ok(tail)
}

/// Binds the records that drafts become after the tail, which is then the last of them.
fn bind_records(query: Query, tail: &mut Tail, drafts: &[&Draft]) -> Query {
    let at_text = tail.at.to_string();
    let query = query.bind(tail.head.sequence.saturating_add(1)).bind(tail.at);
    drafts.iter().fold(query, |query, draft| {
        let (record, head) = chain_at(tail.head, tail.at, &at_text, draft);
        tail.head = head;
        query.bind(&draft.tenant).bind(record.text).bind(record.hash)
    })
}
