//! A backup's rows go into an empty store. Nobody can open it until all of them are there and were compared with what was signed,
//! and until what nobody can know the state of is ended, on the record, in the commit that opens it. From then on commands may
//! change it, and no server writes until an operator has said what had ended since.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_core::audit::{AuditEvent, NodeId};
use signet_core::backup::{Header, Statement, TableHeader};
use signet_jose::clock::Timestamp;
use signet_store::{EndReason, FactorState, StoreError, StoreFailure};

use super::SqlStore;
use super::authority::{Fields, StoredRow, change_each, fields, selections};
use super::engine::{Connection, Engine, Result, ToValue as _, Value, WriteConnection, query};
use super::grants;
use super::locks::Scope;
use super::moves::{self, BACKUP};
use super::outcome::WriteOutcome;
use super::pages::{self, Summing, Values};
use super::schema::{self, SchemaState};
use super::seals;
use super::tables::{Column, Kind, Table, table};
use super::texts::texts;

selections! {
    LIVE_GRANTS = "SELECT {grants} FROM grants WHERE ended_at IS NULL AND (tenant, id) > ($1, $2)
        ORDER BY tenant, id LIMIT 512 FOR NO KEY UPDATE";
    COUNTING = "SELECT {factors} FROM factors WHERE kind IN ('totp', 'hotp', 'yubico_otp') AND (tenant, id) > ($1, $2)
        ORDER BY tenant, id LIMIT 512 FOR NO KEY UPDATE";
    OTP_KEYS = "SELECT {otp_keys} FROM otp_keys WHERE enabled = 1 AND (tenant, public_id) > ($1, $2)
        ORDER BY tenant, public_id LIMIT 512 FOR NO KEY UPDATE";
}

texts! {
    // Their codes are in no backup.
    REMOVE_RECOVERY_SEALS = "DELETE FROM seals
        WHERE kind = $1 AND (tenant, row_id) IN (SELECT tenant, id FROM factors WHERE kind = 'recovery')";
    REMOVE_RECOVERY_ENVELOPES = "DELETE FROM envelopes
        WHERE kind = $1 AND (tenant, row_id) IN (SELECT tenant, id FROM factors WHERE kind = 'recovery')";
    REMOVE_RECOVERY = "DELETE FROM factors WHERE kind = 'recovery'";
    OPEN = "DELETE FROM store_moves WHERE move_id = $1";
    END_SESSIONS = "DELETE FROM sessions";
    // Nobody may take a number for known that was given before.
    RAISE_GENERATIONS = "UPDATE generations SET value = value + 1000000";
    AWAIT_ANSWER = "INSERT INTO halts (id, node, at, restored) VALUES (1, $1, $2, 1)
        ON CONFLICT (id) DO UPDATE SET restored = 1";
    // Every row that verifies is written under the newest one by then.
    END_OLD_SECRETS = "DELETE FROM seals WHERE tenant = 'default' AND kind = 'deployment.secret' AND row_id < (
        SELECT MAX(s.row_id) FROM seals s WHERE s.tenant = 'default' AND s.kind = 'deployment.secret')";
    END_OLD_SECRETS_ENVELOPES = "DELETE FROM envelopes WHERE tenant = 'default' AND kind = 'deployment.secret' AND row_id < (
        SELECT MAX(s.row_id) FROM seals s WHERE s.tenant = 'default' AND s.kind = 'deployment.secret')";
    GO_ON = "DELETE FROM halts WHERE restored = 1";
    HALTS = "SELECT restored FROM halts";
    KEEP_DECISION = "INSERT INTO restores (at) VALUES ($1) ON CONFLICT DO NOTHING";
    DECISIONS = "SELECT COUNT(*) AS decisions FROM restores WHERE at > $1";
}

/// Rows of a table, as a backup has them.
#[derive(Debug, Clone)]
pub struct Rows {
    table: &'static Table,
    columns: Vec<&'static Column>,
    rows: Vec<Values>,
}

impl Rows {
    /// None yet.
    /// Errors: [`StoreFailure::Refused`] where this program knows no such table, or no such column of it.
    pub fn of(header: &TableHeader) -> Result<Self> {
        let unknown = || {
            StoreFailure::Refused(format!(
                "this program has no table {} as the backup has it: use the program that made it",
                header.table
            ))
        };
        let table = table(&header.table).filter(|table| table.is_in_backups()).ok_or_else(unknown)?;
        let column = |(name, kind): &(String, String)| {
            table.columns.iter().find(|column| column.name == name && column.kind.name() == kind)
        };
        let columns = header.columns.iter().map(column).collect::<Option<_>>().ok_or_else(unknown)?;
        Ok(Self { table, columns, rows: Vec::new() })
    }

    /// Adds a row.
    /// Errors: [`StoreFailure::Corrupt`] where something else stands in a column than the column's kind.
    pub fn add(&mut self, row: &[serde_json::Value]) -> Result<()> {
        let values = self.columns.iter().zip(row).map(|(column, value)| value_of(column.kind, value));
        self.rows.push(values.collect::<Option<_>>().ok_or(StoreFailure::Corrupt("row"))?);
        Ok(())
    }

    /// Whether they are a page, to be written at once.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= pages::PAGE
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, where it has more columns by now.
    pub fn gained(&self) -> Option<&'static str> {
        (self.columns.len() != self.table.columns.len()).then_some(self.table.name)
    }

    /// Takes those that are there, and leaves none.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self { table: self.table, columns: self.columns.clone(), rows: std::mem::take(&mut self.rows) }
    }
}

fn value_of(kind: Kind, value: &serde_json::Value) -> Option<Value> {
    if value.is_null() {
        return Some(pages::null(kind));
    }
    Some(match kind {
        Kind::Number => Value::Number(Some(value.as_i64()?)),
        Kind::Text => Value::Text(Some(value.as_str()?.to_owned())),
        Kind::Bytes => Value::Bytes(Some(URL_SAFE_NO_PAD.decode(value.as_str()?).ok()?)),
    })
}

/// How much was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Refresh families.
    pub grants: u64,
    /// Sets of recovery codes.
    pub recovery: u64,
    /// TOTP factors whose codes until now are spent.
    pub totp: u64,
}

/// What counts, and nobody knows how far it was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubted {
    /// HOTP and Yubico OTP factors, which want two codes in a row.
    pub want_two: u64,
    /// Keys of the validation protocol, which are disabled.
    pub disabled: u64,
}

/// What keeps the nodes from writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    /// Some node found records of its own gone: an operator decides.
    Behind,
    /// The store is a copy that was put back: an operator says what had ended since.
    Restored,
}

/// An empty store that a backup goes into.
pub struct Restoring<'e> {
    engine: &'e dyn Engine,
    writing: Box<dyn WriteConnection>,
}

impl<'e> Restoring<'e> {
    /// Takes an empty store for it. `file` is the backup's name, for whoever finds the store half filled; `to` the store's.
    /// Errors: [`StoreFailure::Refused`] where the store is not empty, or the backup is of a newer program.
    pub async fn begin(
        engine: &'e dyn Engine,
        header: &Header,
        file: &str,
        to: &str,
        at: Timestamp,
    ) -> Result<Self, StoreError> {
        let begun = async {
            check_schema(header)?;
            if moves::committed(engine).await?.is_some() {
                return Err(StoreFailure::Refused(format!("{to} was filled before: make a new one")));
            }
            moves::check_empty(engine, to).await?;
            moves::arrive(engine, &header.id, &format!("{BACKUP}{file}"), at).await?;
            Ok(Self { engine, writing: engine.connect().await? })
        };
        begun.await.map_err(|failure: StoreFailure| failure.during("restore"))
    }

    /// Writes rows.
    /// Errors: what the engine says.
    pub async fn write(&mut self, rows: Rows) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (text, values) = pages::insertion(rows.table.name, &rows.columns, rows.rows);
        self.writing.alone(&text, values).await.map(drop).map_err(|failure| failure.during("restore"))
    }

    /// Ends the writing, and compares what is in the store with what was signed. A table that has gained columns since is compared by its count alone.
    /// Errors: [`StoreFailure::Refused`] where it differs.
    pub async fn check(self, statement: &Statement, gained: &[&str]) -> Result<(), StoreError> {
        self.writing.close().await;
        let checked = async {
            let mut snapshot = self.engine.snapshot().await?;
            for stated in &statement.tables {
                let table = table(&stated.table).ok_or(StoreFailure::Corrupt("table"))?;
                let sum = sum_of(snapshot.statements(), table).await?;
                if sum.rows != stated.rows || (sum.hash != stated.hash && !gained.contains(&table.name)) {
                    return Err(StoreFailure::Refused(format!(
                        "the table {} does not hold what the backup holds: make the store anew and try again",
                        table.name
                    )));
                }
            }
            snapshot.end().await;
            Ok(())
        };
        checked.await.map_err(|failure: StoreFailure| failure.during("restore"))
    }
}

/// The migrations of a backup are those of this program, or its first ones.
fn check_schema(header: &Header) -> Result<()> {
    let applied = header.schema.iter().map(|(version, hash)| {
        let hash = URL_SAFE_NO_PAD.decode(hash).ok().and_then(|hash| hash.try_into().ok());
        Ok(schema::Applied {
            version: *version,
            name: "?".to_owned(),
            hash: hash.ok_or(StoreFailure::Corrupt("backup"))?,
        })
    });
    match schema::state_of(&applied.collect::<Result<Vec<_>>>()?) {
        Ok(SchemaState::Current | SchemaState::Behind(_)) => Ok(()),
        Ok(SchemaState::Empty) => Err(StoreFailure::Corrupt("backup")),
        Err(_) => {
            Err(StoreFailure::Refused("the backup was made by a newer program: restore it by that one".to_owned()))
        }
    }
}

async fn sum_of(connection: &mut Connection, table: &'static Table) -> Result<pages::TableSum> {
    let (mut sum, mut after) = (Summing::default(), None);
    loop {
        let page = pages::page(connection, table, after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(pages::key_of(table, last));
        for row in &page {
            sum.add(row);
        }
    }
    Ok(sum.finish(table.name))
}

impl SqlStore {
    /// Ends, in one commit and on the record, what nobody can know the state of since the moment that the store shows. No server
    /// writes until the [`answer`](Self::answer). For a store that was put back, or failed over, in its place.
    /// Errors: what the engine says; the nodes stand still then.
    pub async fn go_on(&self, at: Timestamp, record: AuditEvent) -> Result<Ended, StoreError> {
        let input = (self.node.clone(), at);
        self.writer.change("end what may have ended", Scope::slow(), input, vec![record], end_in_place).await
    }

    /// What keeps the nodes from writing, if anything does.
    /// Errors: what the engine says.
    pub async fn standstill(&self) -> Result<Option<Standstill>, StoreError> {
        let restored = self.read_one("ask whether nodes stand still", query(HALTS), |row| row.try_get("restored"));
        Ok(restored.await?.map(|restored: i64| if restored == 1 { Standstill::Restored } else { Standstill::Behind }))
    }

    /// Lets the servers write again, on the record: what had ended since the copy was ended again. Where nobody knows how far
    /// tokens that count were counted since, factors want two codes in a row, and keys of the validation protocol are disabled.
    /// Errors: what the engine says.
    pub async fn answer(&self, knows_counts: bool, record: AuditEvent) -> Result<Doubted, StoreError> {
        self.writer.change("let the servers go on", Scope::slow(), knows_counts, vec![record], answer).await
    }

    /// Whether somebody decided by [`go_on`](Self::go_on) since.
    /// Errors: what the engine says.
    pub async fn was_decided_since(&self, at: Timestamp) -> Result<bool, StoreError> {
        let decisions = query(DECISIONS).bind(at);
        let decisions = self.read_one("look for a decision", decisions, |row| row.try_get::<i64, _>("decisions"));
        Ok(decisions.await?.is_some_and(|decisions| decisions > 0))
    }

    /// Ends, in one commit and on the record, what could have been ended since a backup, and lets the store be opened.
    /// Errors: what the engine says; the store stays closed then.
    pub async fn open_restored(&self, id: &str, at: Timestamp, record: AuditEvent) -> Result<Ended, StoreError> {
        let input = (self.node.clone(), at, id.to_owned());
        self.writer.change("end what may have ended", Scope::slow(), input, vec![record], end_all).await
    }
}

async fn end_in_place((node, at): &(NodeId, Timestamp), connection: &mut Connection) -> Result<WriteOutcome<Ended>> {
    let ended = end_rights(node, *at, connection).await?;
    for text in [END_SESSIONS, RAISE_GENERATIONS] {
        query(text).execute(&mut *connection).await?;
    }
    query(KEEP_DECISION).bind(at).execute(connection).await?;
    Ok(WriteOutcome::renewed(ended))
}

async fn end_all(
    (node, at, id): &(NodeId, Timestamp, String),
    connection: &mut Connection,
) -> Result<WriteOutcome<Ended>> {
    let ended = end_rights(node, *at, connection).await?;
    query(OPEN).bind(id).execute(connection).await?;
    Ok(WriteOutcome::renewed(ended))
}

async fn answer(knows_counts: &bool, connection: &mut Connection) -> Result<WriteOutcome<Doubted>> {
    let doubted = if *knows_counts { Doubted::default() } else { doubt_counting(&mut *connection).await? };
    for text in [END_OLD_SECRETS_ENVELOPES, END_OLD_SECRETS, RAISE_GENERATIONS, GO_ON] {
        query(text).execute(&mut *connection).await?;
    }
    Ok(WriteOutcome::renewed(doubted))
}

async fn end_rights(node: &NodeId, at: Timestamp, connection: &mut Connection) -> Result<Ended> {
    let ended = |_: &StoredRow| Ok(Some(grants::ended(EndReason::Revoked, at)));
    let grants = change_each(&LIVE_GRANTS, &[], before_all(), ended, &mut *connection).await?;
    let spent = |factor: &StoredRow| spent_until(factor, at);
    let totp = change_each(&COUNTING, &[], before_all(), spent, &mut *connection).await?;
    for text in [REMOVE_RECOVERY_SEALS, REMOVE_RECOVERY_ENVELOPES] {
        query(text).bind(seals::FACTOR).execute(&mut *connection).await?;
    }
    let recovery = query(REMOVE_RECOVERY).execute(connection).await?.rows_affected();
    query(AWAIT_ANSWER).bind(node).bind(at).execute(connection).await?;
    Ok(Ended { grants, recovery, totp })
}

/// No tenant is empty, so every row stands after this key.
fn before_all() -> Values {
    vec!["".to_value(), "".to_value()]
}

/// A TOTP factor at the furthest step whose code could have been accepted until now, if it is behind that.
fn spent_until(factor: &StoredRow, at: Timestamp) -> Result<Option<Fields>> {
    if factor.value::<&str>("kind")? != "totp" {
        return Ok(None);
    }
    let number = |column| factor.value::<i64>(column);
    let step = at.unix_seconds().checked_div(number("totp_step_seconds")?);
    let step = step.ok_or(StoreFailure::Corrupt("totp_step_seconds"))?;
    let furthest = step.saturating_add(number("totp_window")?).saturating_add(number("totp_drift")?.max(0));
    Ok((number("totp_last_step")? < furthest).then(|| fields().set("totp_last_step", furthest)))
}

/// Nobody knows how far these were counted since: factors want two codes in a row, and keys of nobody are disabled.
async fn doubt_counting(connection: &mut Connection) -> Result<Doubted> {
    let enabled = |factor: &StoredRow| {
        let counts = ["hotp", "yubico_otp"].contains(&factor.value("kind")?);
        let is_in_use = ["enabled", "wants_next_code"].contains(&factor.value("state")?);
        Ok((counts && is_in_use).then(|| fields().set("state", FactorState::WantsTwo.name())))
    };
    let want_two = change_each(&COUNTING, &[], before_all(), enabled, &mut *connection).await?;
    let disabled = |_: &StoredRow| Ok(Some(fields().set("enabled", false)));
    let disabled = change_each(&OTP_KEYS, &[], before_all(), disabled, connection).await?;
    Ok(Doubted { want_two, disabled })
}
