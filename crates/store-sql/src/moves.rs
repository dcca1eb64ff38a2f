//! A store on its way to another one, or from one: what each state of it may do. A store that leaves is opened by nobody but the
//! copy, from before its first row is read until it is taken back; one that arrives, by nobody until all is there.

use super::engine::{Connection, Engine, Result, Row, Text, Value, query};
use super::pages;
use super::tables::TABLES;
use super::texts::texts;
use signet_jose::clock::Timestamp;
use signet_store::StoreFailure;

texts! {
    FIND = "SELECT move_id, state, peer, at FROM store_moves WHERE id = 1";
    SET_STATE = "UPDATE store_moves SET state = $1, at = $2 WHERE move_id = $3";
    FORGET = "DELETE FROM store_moves WHERE move_id = $1";
    LEAVE = "INSERT INTO store_moves (id, move_id, state, peer, at) VALUES (1, $1, 'leaving', $2, $3)";
}

const ARRIVE: &str = "INSERT INTO store_moves (id, move_id, state, peer, at) VALUES (1, $1, 'arriving', $2, $3)";

/// What the name of a peer begins with that is a backup.
pub(crate) const BACKUP: &str = "backup:";

/// Whatever process still has the file open: each change of weight has a record, in the same commit.
pub(crate) const CLOSE: &str = "CREATE TRIGGER IF NOT EXISTS store_closed BEFORE INSERT ON audit_records
    BEGIN SELECT RAISE(ABORT, 'this store is closed: it moved to another one'); END";
pub(crate) const REOPEN: &str = "DROP TRIGGER IF EXISTS store_closed";
pub(crate) const IS_CLOSED: &str =
    "SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger' AND name = 'store_closed'";

/// How far a move is, as one side of it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Leaving,
    Left,
    Arriving,
    Arrived,
}

impl State {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Arriving => "arriving",
            Self::Arrived => "arrived",
        }
    }
}

/// A move, as one side of it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) peer: String,
    at: Timestamp,
}

/// The move that a store is in.
pub(crate) async fn find(connection: &mut Connection) -> Result<Option<Move>> {
    query(FIND).fetch_optional(connection).await?.map(|row| move_of(&row)).transpose()
}

/// The move that a store is in, as it is committed.
pub(crate) async fn committed(engine: &dyn Engine) -> Result<Option<Move>> {
    engine.read(&FIND.into(), vec![]).await?.first().map(move_of).transpose()
}

fn move_of(row: &Row) -> Result<Move> {
    let state = [State::Leaving, State::Left, State::Arriving, State::Arrived]
        .into_iter()
        .find(|state| row.try_get::<&str, _>("state").is_ok_and(|name| name == state.name()));
    Ok(Move {
        id: row.try_get("move_id")?,
        state: state.ok_or(StoreFailure::Corrupt("state"))?,
        peer: row.try_get("peer")?,
        at: row.try_get("at")?,
    })
}

/// Runs a statement that is a whole transaction.
pub(crate) async fn write(engine: &dyn Engine, text: impl Into<Text> + Send, values: Vec<Value>) -> Result<()> {
    let mut connection = engine.connect().await?;
    let written = connection.alone(&text.into(), values).await;
    connection.close().await;
    written.map(drop)
}

/// Begins a move on the side that leaves.
pub(crate) async fn leave(engine: &dyn Engine, id: &str, to: &str, at: Timestamp) -> Result<()> {
    write(engine, LEAVE, vec![text(id), text(to), moment(at)]).await
}

/// Begins a move on the side that arrives.
pub(crate) async fn arrive(engine: &dyn Engine, id: &str, from: &str, at: Timestamp) -> Result<()> {
    write(engine, ARRIVE, vec![text(id), text(from), moment(at)]).await
}

/// Forgets a move that was given up.
pub(crate) async fn forget(engine: &dyn Engine, id: &str) -> Result<()> {
    write(engine, FORGET, vec![text(id)]).await
}

/// Whether nothing is in a store but what a new one begins with.
/// Errors: [`StoreFailure::Refused`] with the first table that has rows.
pub(crate) async fn check_empty(engine: &dyn Engine, name: &str) -> Result<()> {
    let mut snapshot = engine.snapshot().await?;
    for table in TABLES.iter().filter(|table| table.is_copied()) {
        if pages::has_rows(snapshot.statements(), table).await? {
            return Err(StoreFailure::Refused(format!(
                "{name} is not empty ({} has rows): only an empty database is filled",
                table.name
            )));
        }
    }
    snapshot.end().await;
    Ok(())
}

/// Moves one side of it on.
pub(crate) async fn set(engine: &dyn Engine, id: &str, state: State, at: Timestamp) -> Result<()> {
    write(engine, SET_STATE, vec![text(state.name()), moment(at), text(id)]).await
}

fn text(text: &str) -> Value {
    Value::Text(Some(text.to_owned()))
}

fn moment(at: Timestamp) -> Value {
    Value::Number(Some(at.unix_millis()))
}

/// Whether a store may be opened to be worked on.
/// Errors: [`StoreFailure::Refused`] with where it is and what to do.
pub(crate) fn check(found: Option<&Move>) -> Result<()> {
    let Some(Move { state, peer, at, .. }) = found else { return Ok(()) };
    Err(StoreFailure::Refused(match state {
        State::Arrived => return Ok(()),
        State::Leaving => format!(
            "the store is closed, to be copied to {peer}: go on by `signet store copy --to {peer}`, or take it back by `signet store \
             copy --give-up`"
        ),
        State::Left => format!("the store moved to {peer} on {at} and is closed for good: set store.url to that one"),
        State::Arriving if peer.starts_with(BACKUP) => format!(
            "the store was being filled from {peer}, which did not end: make a new one, and run `signet restore` again"
        ),
        State::Arriving => {
            format!("the database is being filled from {peer} and is not complete: run `signet store copy` there again")
        }
    }))
}
