//! The node's audit chain as the writer moves it: the tail that a transaction reads first and writes last, and the records
//! between, in multi-row statements.

use std::sync::{Arc, LazyLock};

use super::engine::{Connection, Query, Result, Row, Text, WriteConnection, query};
use super::row::array;
use super::secrets_at_rest::generation_of;
use super::texts::texts;
use signet_core::audit::chain::Moment;
use signet_core::audit::{AuditEvent, Head, NodeId};
use signet_jose::clock::{Clock, Timestamp};
use signet_store::{Generations, StoreFailure};

texts! {
    TAIL = "SELECT head_sequence, head_hash, head_at FROM nodes WHERE id = $1";
    LOCK_TAIL = "SELECT lease, retired_at, head_sequence, head_hash, head_at, (SELECT MAX(restored) FROM halts) AS restored,
            (SELECT MAX(row_id) FROM seals WHERE tenant = 'default' AND kind = 'deployment.secret' AND row_id NOT IN (
                SELECT generation FROM secret_renewals WHERE writes_since IS NULL)) AS secret
        FROM nodes WHERE id = $1 FOR UPDATE";
    HALT = "INSERT INTO halts (id, node, at, restored) VALUES (1, $1, $2, 0) ON CONFLICT DO NOTHING";
    JOIN = "INSERT INTO nodes (id, name, joined_at, lease, head_sequence, head_hash, head_at)
        VALUES ($1, '', $2, 0, 0, $3, 0) ON CONFLICT DO NOTHING";
    HASH_AT = "SELECT hash FROM audit_records WHERE node = $1 AND sequence = $2";
    LATEST = "SELECT MAX(head_at) AS latest FROM nodes";
    GENERATIONS = "SELECT noun, value FROM generations WHERE tenant IN ($1, '')";
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
    /// Both as a transaction of their own, where the tail is still the one that is known: one turn for a whole group. It gives
    /// the generations of a tenant as of then, and the row `moved`.
    pub(super) at_once: Text,
}

pub(super) static INSERTS: LazyLock<[Insert; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|rows| {
        let alone = insert_text(rows);
        let set_tail = set_tail_text(rows);
        let with_tail = Text::Each {
            sqlite: format!("{alone}; {set_tail}").into(),
            postgres: format!("WITH appended AS ({alone}) {set_tail}").into(),
        };
        Insert { rows, alone: alone.into(), with_tail, at_once: at_once_text(rows) }
    })
});

/// The parameters of [`insert_text`], the new tail, the hash of the known one, the lease that is held (0 where none has to be),
/// then the tenant whose generations are asked for.
fn at_once_text(rows: usize) -> Text {
    let [hash, lease, tenant] = [4, 5, 6].map(|place| parameters(rows) + place);
    let generations = format!("SELECT noun, value FROM generations WHERE tenant IN (${tenant}, '')");
    let known = format!(
        "id = $3 AND head_sequence = $1 - 1 AND head_hash = ${hash} AND retired_at IS NULL
            AND (${lease} = 0 OR lease = ${lease}) AND NOT EXISTS (SELECT 1 FROM halts)"
    );
    let insert = |records: String, condition: &str| {
        format!(
            "INSERT INTO audit_records (node, sequence, at, tenant, text, hash)
            SELECT * FROM (VALUES {records}) AS records WHERE EXISTS (SELECT 1 FROM {condition})"
        )
    };
    let for_sqlite = insert(records_text(rows, ["$3", "$2"], |hash| hash), &format!("nodes WHERE {known}"));
    // PostgreSQL takes a parameter's type from the column only where it stands in the column's place.
    let first = ["CAST($3 AS TEXT)", "CAST($2 AS BIGINT)"];
    let for_postgres = insert(records_text(rows, first, |hash| format!("CAST({hash} AS BYTEA)")), "moved");
    let set_tail = set_tail_text(rows).replace("id = $3", &known);
    Text::Each {
        sqlite: format!(
            "BEGIN IMMEDIATE; {for_sqlite}; {set_tail} RETURNING 'moved' AS noun, 1 AS value; COMMIT; {generations}"
        )
        .into(),
        postgres: format!(
            "WITH moved AS ({} RETURNING 1), appended AS ({for_postgres})
            SELECT 'moved' AS noun, CAST(1 AS BIGINT) AS value FROM moved UNION ALL {generations}",
            set_tail.replace(&format!("${lease} = 0"), &format!("CAST(${lease} AS BIGINT) = 0"))
        )
        .into(),
    }
}

/// `$1` is the first record's sequence, `$2` the moment of all, `$3` the node; then tenant, text and hash of each.
fn insert_text(rows: usize) -> String {
    format!(
        "INSERT INTO audit_records (node, sequence, at, tenant, text, hash) VALUES {}",
        records_text(rows, ["$3", "$2"], |hash| hash)
    )
}

/// The records as rows of values, with node and moment of all, and each hash, as they are written there.
fn records_text(rows: usize, [node, at]: [&str; 2], hash_text: impl Fn(String) -> String) -> String {
    let row = |index: usize| {
        let first = parameters(index) + 1;
        let hash = hash_text(format!("${}", first + 2));
        format!("({node}, $1 + {index}, {at}, ${first}, ${}, {hash})", first + 1)
    };
    (0..rows).map(row).collect::<Vec<String>>().join(", ")
}

/// How many parameters the insertion of so many records has.
const fn parameters(rows: usize) -> usize {
    rows * 3 + 3
}

/// Writes the tail after so many records, by the parameters that follow theirs: sequence, hash, moment.
fn set_tail_text(rows: usize) -> String {
    let [sequence, hash, at] = [1, 2, 3].map(|place| parameters(rows) + place);
    format!("UPDATE nodes SET head_sequence = ${sequence}, head_hash = ${hash}, head_at = ${at} WHERE id = $3")
}

/// What a transaction reads first and writes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// The end of the chain.
    pub(super) head: Head,
    /// The last record's moment: the next one is never earlier.
    pub(super) at: Timestamp,
}

/// The tail of a chain without records.
const EMPTY: Tail = Tail { head: Head { sequence: 0, hash: [0; 32] }, at: Timestamp::from_unix_millis(0) };

/// Reads the tail of a node's chain.
pub(super) async fn tail(connection: &mut Connection, node: &NodeId) -> Result<Tail> {
    let row = query(TAIL).bind(node).fetch_optional(connection).await?;
    row.map_or(Ok(EMPTY), |row| tail_of(&row))
}

/// The moment of the last record of whatever chain.
pub(super) async fn latest(connection: &mut Connection) -> Result<Option<Timestamp>> {
    let latest: Option<Timestamp> = query(LATEST).fetch_one(connection).await?.try_get("latest")?;
    Ok(latest.filter(|at| *at > EMPTY.at))
}

/// Begins a transaction that writes as this node, and reads the tail of its chain. A node that never wrote joins.
/// Errors: [`StoreFailure::Fenced`] where the node was retired, or its lease is not this one any more (0: none has to be held);
/// [`StoreFailure::RolledBack`] where some node found records of its own gone, unless whoever decides about that asks;
/// [`StoreFailure::Unanswered`] for a server where the store was restored and nobody has said what had ended since its copy;
/// [`StoreFailure::Unavailable`] where the deployment's secret is of another generation than the one that this process has.
pub(super) async fn begin(
    connection: &mut dyn WriteConnection,
    node: &NodeId,
    lease: i64,
    decides: bool,
    clock: &dyn Clock,
) -> Result<Tail> {
    let first = query(LOCK_TAIL).bind(node);
    let row = match connection.begin(&first.text, first.values).await? {
        Some(row) => row,
        None => {
            let connection = connection.statements();
            query(JOIN).bind(node).bind(clock.now()).bind(EMPTY.head.hash).execute(&mut *connection).await?;
            query(LOCK_TAIL).bind(node).fetch_one(connection).await?
        }
    };
    match row.try_get::<Option<i64>, _>("restored")? {
        Some(0) if !decides => return Err(StoreFailure::RolledBack),
        // Only servers hold their node's lease.
        Some(1) if lease != 0 => return Err(StoreFailure::Unanswered),
        _ => {}
    }
    write_by_generation(&row, connection.statements())?;
    if row.try_get::<Option<Timestamp>, _>("retired_at")?.is_some() {
        return Err(StoreFailure::Fenced("this node was retired: it writes nothing any more"));
    }
    if lease != 0 && row.try_get::<i64, _>("lease")? != lease {
        return Err(StoreFailure::Fenced("another process is this node by now: this one writes nothing any more"));
    }
    tail_of(&row)
}

/// Has rows written by the generation of the secret that all write by now. What a process writes by an older one is void.
fn write_by_generation(row: &Row, connection: &mut Connection) -> Result<()> {
    let (Some(stored), Some(macs)) = (row.try_get::<Option<&str>, _>("secret")?, connection.row_macs()) else {
        return Ok(());
    };
    let generation = generation_of(stored)?;
    if macs.has(generation) {
        connection.write_by(generation);
        return Ok(());
    }
    let text = "the deployment's secret is of another generation than this process has: nothing is written until it was opened anew";
    Err(StoreFailure::Unavailable(text.to_owned()))
}

fn tail_of(row: &Row) -> Result<Tail> {
    Ok(Tail { head: head_of(row)?, at: row.try_get("head_at")? })
}

pub(super) fn head_of(row: &Row) -> Result<Head> {
    Ok(Head { sequence: row.try_get("head_sequence")?, hash: array(row, "head_hash")? })
}

fn bind_tail(query: Query, tail: Tail) -> Query {
    query.bind(tail.head.sequence).bind(tail.head.hash).bind(tail.at)
}

/// Refuses a stored chain that does not go through the record that this process saw committed last.
pub(super) async fn check_not_behind(
    connection: &mut Connection,
    node: &NodeId,
    stored: Head,
    seen: Head,
) -> Result<()> {
    if stored == seen || seen.sequence == 0 {
        return Ok(());
    }
    if stored.sequence < seen.sequence || hash_at(connection, node, seen.sequence).await? != Some(seen.hash) {
        return Err(StoreFailure::RolledBack);
    }
    Ok(())
}

/// Has every node stand still, since records of this one are gone. By itself, whatever becomes of what found that.
pub(super) async fn halt(connection: &mut dyn WriteConnection, node: &NodeId, clock: &dyn Clock) -> Result<()> {
    let halt = query(HALT).bind(node).bind(clock.now());
    connection.alone(&halt.text, halt.values).await.map(drop)
}

/// The hash of a node's record of this place, where it is there.
pub(super) async fn hash_at(connection: &mut Connection, node: &NodeId, sequence: i64) -> Result<Option<[u8; 32]>> {
    let row = query(HASH_AT).bind(node).bind(sequence).fetch_optional(connection).await?;
    row.map(|row| array(&row, "hash")).transpose()
}

/// Chains drafts onto the known tail in a transaction of their own, and returns the tail after them and the generations of a
/// tenant; `None`, and nothing written, where the stored tail is another one by now, or the drafts are none or too many for
/// one statement.
pub(super) async fn append_at_once(
    connection: &mut dyn WriteConnection,
    (node, lease): (&NodeId, i64),
    known: Tail,
    drafts: &[&AuditEvent],
    tenant: &str,
    clock: &dyn Clock,
) -> Result<Option<(Tail, Generations)>> {
    let Some(insert) = INSERTS.iter().find(|insert| insert.rows == drafts.len()) else { return Ok(None) };
    let mut tail = Tail { at: clock.now().max(known.at), ..known };
    let statement = bind_records(query(insert.at_once.clone()), node, &mut tail, drafts);
    let statement = bind_tail(statement, tail).bind(known.head.hash).bind(lease).bind(tenant);
    let rows = connection.alone(&statement.text, statement.values).await?;
    let is_moved = rows.iter().any(|row| row.try_get::<&str, _>("noun") == Ok("moved"));
    Ok(if is_moved { Some((tail, generations_of(&rows)?)) } else { None })
}

/// The generations of a tenant as of now, in the middle of a transaction.
pub(super) async fn generations(connection: &mut Connection, tenant: &str) -> Result<Generations> {
    generations_of(&query(GENERATIONS).bind(tenant).fetch_all(connection).await?)
}

/// Asks for the generations of a tenant.
pub(super) fn generations_query(tenant: &str) -> Query {
    query(GENERATIONS).bind(tenant)
}

pub(super) fn generations_of(rows: &[Row]) -> Result<Generations> {
    let mut generations = Generations::default();
    for row in rows {
        let value: i64 = row.try_get("value")?;
        match row.try_get("noun")? {
            "keys" => generations.keys = value,
            "clients" => generations.clients = value,
            "secrets" => generations.secrets = value,
            "members" => generations.members = value,
            "settings" => generations.settings = value,
            _ => {}
        }
    }
    Ok(generations)
}

/// Chains drafts onto the tail and writes both; returns the tail after them.
pub(super) async fn append(
    connection: &mut Connection,
    node: &NodeId,
    before: Tail,
    drafts: &[&AuditEvent],
    clock: &dyn Clock,
) -> Result<Tail> {
    // The chain's time never goes back, whatever the clock does.
    let mut tail = Tail { at: clock.now().max(before.at), ..before };
    let mut rest = drafts;
    while let Some(Insert { rows, alone, with_tail, .. }) = INSERTS.iter().find(|insert| insert.rows <= rest.len()) {
        let (now, later) = rest.split_at(*rows);
        let text = if later.is_empty() { with_tail.clone() } else { Text::Made(Arc::clone(alone)) };
        let mut insert = bind_records(query(text), node, &mut tail, now);
        if later.is_empty() {
            insert = bind_tail(insert, tail);
        }
        insert.execute(connection).await?;
        rest = later;
    }
    Ok(if drafts.is_empty() { before } else { tail })
}

/// Binds the records that drafts become after the tail, which is then the last of them.
fn bind_records(query: Query, node: &NodeId, tail: &mut Tail, drafts: &[&AuditEvent]) -> Query {
    let moment = Moment::new(node, tail.at);
    let query = query.bind(tail.head.sequence.saturating_add(1)).bind(tail.at).bind(node);
    drafts.iter().fold(query, |query, draft| {
        let (text, head) = moment.link(tail.head, draft);
        tail.head = head;
        query.bind(&draft.tenant).bind(text).bind(head.hash)
    })
}
