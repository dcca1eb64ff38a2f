//! The store in an SQL database: every statement and every conditional write of [`signet_store`]'s contracts, once, for
//! whatever engine is behind the ports of [`engine`].
//!
//! It decides what is written and under which condition, how many jobs share one commit, and how what has expired goes. It
//! never decides who may do what, never opens what is sealed, never answers before a commit is durable, and names no
//! database driver: `signet-store-sqlite` and `signet-store-postgres` connect.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::authority::{Held, TABLE_TEXTS, Trust};
use self::engine::{Connection, Engine, Query, Result, Row, ToValue as _, Value};
use self::writer::Writer;
use signet_core::audit::{Checkpoint, NodeId};
use signet_jose::clock::{Clock, Timestamp};
use signet_store::anchor::Anchor;
use signet_store::{AuditLog, StoreError, StoreFailure};

mod audit_log;
pub mod authority;
pub mod backup;
mod ceremonies;
mod chain;
mod clients;
pub mod copy;
mod declared;
pub mod engine;
mod envelopes;
mod factor_life;
mod factors;
mod failpoints;
mod grants;
mod group;
mod idempotency;
mod joins;
mod key_ring;
mod keys;
mod leases;
mod locks;
mod logins;
mod membership;
mod moves;
mod nodes;
mod otp_validation;
mod outcome;
pub mod pages;
mod prune;
mod recovery_codes;
mod renewals;
pub mod restore;
mod revocations;
mod role_requests;
mod row;
mod rules;
pub mod schema;
mod seals;
mod secrets_at_rest;
mod sessions;
mod settings;
mod sign_in;
mod stock;
pub mod tables;
mod texts;
mod tries;
mod users;
mod writer;

/// The store in an SQL database. Implements every contract of [`signet_store`].
pub struct SqlStore {
    /// The node that this process is.
    node: NodeId,
    writer: Writer,
    engine: Arc<dyn Engine>,
    anchor: Option<Anchor>,
    /// Whether the anchor held nothing at the opening, and there were checkpoints.
    is_unanchored: bool,
    /// How late it can be.
    latest: LatestTime,
    /// What rows of authority tables are written and checked by.
    trust: Trust,
    /// How far rows are written under a renewed secret, as far as this process does that.
    renewing: tokio::sync::Mutex<Option<authority::Pass>>,
}

impl SqlStore {
    /// Opens the store in a database that has the schema, as a node: its chain is the one that is appended to. `anchor` is the
    /// file to which checkpoints are appended too, outside of the database.
    /// Errors: [`StoreFailure::RolledBack`] where the anchor holds a checkpoint that its audit chain does not go through; what
    /// the engine says.
    pub async fn open(
        engine: Arc<dyn Engine>,
        node: NodeId,
        anchor: Option<Anchor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StoreError> {
        Self::try_open(engine, node, anchor, clock, false).await.map(Arc::new).map_err(|failure| failure.during("open"))
    }

    /// Opens a store that may be on its way to another one, or behind what was written to it, for whoever decides about that.
    /// Errors: as for [`open`](Self::open).
    pub async fn open_to_copy(
        engine: Arc<dyn Engine>,
        node: NodeId,
        anchor: Option<Anchor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StoreError> {
        Self::try_open(engine, node, anchor, clock, true).await.map(Arc::new).map_err(|failure| failure.during("open"))
    }

    async fn try_open(
        engine: Arc<dyn Engine>,
        node: NodeId,
        anchor: Option<Anchor>,
        clock: Arc<dyn Clock>,
        may_leave: bool,
    ) -> Result<Self> {
        // Before the heads: other processes may write on between the two, and no chain ever ends before its anchor.
        let anchored = anchor.as_ref().map(Anchor::furthest).transpose()?.flatten();
        let mut connection = engine.connect().await?;
        if !may_leave {
            let moved = moves::find(connection.statements()).await?;
            if let Err(moved) = moves::check(moved.as_ref()) {
                connection.close().await;
                return Err(moved);
            }
        }
        if let Some(checkpoint) = &anchored
            && is_behind(connection.statements(), checkpoint).await?
        {
            connection.close().await;
            return Err(StoreFailure::RolledBack);
        }
        let has_checkpoints = audit_log::has_checkpoints(connection.statements(), &node).await?;
        let is_unanchored = anchor.is_some() && anchored.is_none() && has_checkpoints;
        let latest = LatestTime::at_opening(chain::latest(connection.statements()).await?, clock.now());
        let tail = chain::tail(connection.statements(), &node).await?;
        let trust = Trust::default();
        let writer = Writer::start(connection, engine.clone(), (node.clone(), may_leave), tail, clock, trust.clone());
        Ok(Self { node, writer, engine, anchor, is_unanchored, latest, trust, renewing: tokio::sync::Mutex::default() })
    }

    /// Whether rows of authority tables are written and checked by now.
    pub fn has_row_keys(&self) -> bool {
        self.trust.load().is_some()
    }

    /// Refuses where the anchor is gone, empty or unreadable, and the store has checkpoints of this node: whether it is the newest copy
    /// can't be told then.
    /// Errors: [`StoreFailure::Unanchored`].
    pub fn check_anchored(&self) -> Result<(), StoreError> {
        match &self.anchor {
            Some(anchor) if self.is_unanchored => {
                Err(StoreFailure::Unanchored(anchor.path().display().to_string()).during("look at the anchor"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the chain that a checkpoint is of goes through the record that it covers last.
    pub async fn goes_through(&self, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
        let stands = AuditLog::records(self, &checkpoint.node, checkpoint.sequence, 1).await?;
        let stands = stands.first().filter(|record| record.sequence == checkpoint.sequence).map(|record| record.hash);
        let signed = signet_core::audit::chain::stated_end(checkpoint).map(|end| end.hash);
        Ok(stands.is_some() && stands == signed)
    }

    /// What a failure of the database's machine would cost, as [`Engine::weakness`] says.
    /// Errors: why it can't be told.
    pub async fn weakness(&self) -> Result<Option<String>, StoreError> {
        self.engine.weakness().await.map_err(|failure| failure.during("ask how durable the store is"))
    }

    /// Lets the writes that wait finish, then closes every connection. Later calls answer that it is closed.
    pub async fn close(&self) {
        // The readers go first, so that the last connection to close is the writer's: SQLite's then folds the log back.
        self.engine.close().await;
        self.writer.close().await;
    }

    /// Runs a query, and reads its rows together.
    async fn read<T>(
        &self,
        operation: &'static str,
        query: Query,
        of: impl FnOnce(&[Row]) -> Result<T> + Send,
    ) -> Result<T, StoreError> {
        // What an older copy says may have been revoked since.
        if self.writer.is_behind() {
            return Err(StoreFailure::RolledBack.during(operation));
        }
        let (held, leaves_out) = (query.held.clone(), query.leaves_out);
        let rows = self.engine.read(&query.text, query.values).await;
        let rows = rows.and_then(|rows| self.checked(held.as_deref(), leaves_out, rows));
        rows.and_then(|rows| of(&rows)).map_err(|failure| failure.during(operation))
    }

    /// What was read, where it verifies, or nothing is known to check it by.
    fn checked(&self, held: Option<&[Held]>, leaves_out: bool, rows: Vec<Row>) -> Result<Vec<Row>> {
        match (held, self.trust.load().as_ref()) {
            (Some(held), Some(macs)) => authority::checked(held, leaves_out, rows, macs),
            _ => Ok(rows),
        }
    }

    /// A page of a list that is in the order of a column: so many as are asked for of what comes after a value. These two are bound
    /// last. Where rows do not verify, those after them stand in for them, so that a page that is not full is the last one.
    async fn read_page<T>(
        &self,
        operation: &'static str,
        query: Query,
        (column, mut after): (&'static str, Value),
        limit: u32,
        of: impl Fn(&[Row]) -> Result<Vec<T>> + Send + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let mut page = Vec::new();
        loop {
            let lacking = limit.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
            let mut unchecked = query.clone();
            unchecked.values.extend([after, lacking.to_value()]);
            let held = unchecked.held.take();
            let read = self.read(operation, unchecked, |rows| Ok(rows.to_vec())).await?;
            let (places, last) = places(&read, column).map_err(|failure| failure.during(operation))?;
            let rows = self.checked(held.as_deref(), true, read).and_then(|rows| of(&rows));
            page.extend(rows.map_err(|failure| failure.during(operation))?);
            match last {
                Some(last) if places >= lacking && page.len() < limit as usize => after = last,
                _ => return Ok(page),
            }
        }
    }

    /// Runs a query, and reads each row by itself.
    async fn read_each<T>(
        &self,
        operation: &'static str,
        query: Query,
        of: impl Fn(&Row) -> Result<T> + Send,
    ) -> Result<Vec<T>, StoreError> {
        self.read(operation, query, |rows| rows.iter().map(of).collect()).await
    }

    /// Runs a query that finds one row or none.
    async fn read_one<T>(
        &self,
        operation: &'static str,
        query: Query,
        of: impl FnOnce(&Row) -> Result<T> + Send,
    ) -> Result<Option<T>, StoreError> {
        self.read(operation, query, |rows| rows.first().map(of).transpose()).await
    }
}

/// How many values follow one another in a column, and the last of them.
fn places(rows: &[Row], column: &'static str) -> Result<(u32, Option<Value>)> {
    let (mut places, mut last) = (0_u32, None);
    for row in rows {
        let value = row.values_from(column, 1).and_then(<[Value]>::first).ok_or(StoreFailure::Corrupt(column))?;
        if last.as_ref() != Some(value) {
            (places, last) = (places.saturating_add(1), Some(value.clone()));
        }
    }
    Ok((places, last))
}

/// Whether a chain does not go through the record that a checkpoint of it covers last: it ends before, or has another one there.
async fn is_behind(connection: &mut Connection, checkpoint: &Checkpoint) -> Result<bool> {
    let stands = chain::hash_at(connection, &checkpoint.node, checkpoint.sequence).await?;
    let signed = signet_core::audit::chain::stated_end(checkpoint).map(|end| end.hash);
    Ok(stands.is_none() || stands != signed)
}

/// How far the clock may be ahead of the audit chain's last record at opening.
const BELIEVED_AHEAD: Duration = Duration::from_hours(24);

/// The latest that it can be, whatever the clock says: from what was written last, and the time that passes meanwhile.
#[derive(Debug)]
struct LatestTime {
    at_opening: Timestamp,
    opened: Instant,
}

impl LatestTime {
    fn at_opening(written: Option<Timestamp>, clock: Timestamp) -> Self {
        let believed = written.map_or(clock, |written| clock.min(written.plus(BELIEVED_AHEAD)));
        Self { at_opening: believed, opened: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.at_opening.plus(self.opened.elapsed())
    }
}

/// Every SQL text that the store runs on its tables, in an engine's words, for the test that prepares each.
pub fn sql_texts(dialect: engine::Dialect) -> Vec<String> {
    let named = [
        audit_log::TEXTS,
        backup::TEXTS,
        ceremonies::TEXTS,
        chain::TEXTS,
        clients::TEXTS,
        envelopes::TEXTS,
        factor_life::TEXTS,
        factors::TEXTS,
        idempotency::TEXTS,
        joins::TEXTS,
        key_ring::TEXTS,
        leases::TEXTS,
        membership::TEXTS,
        moves::TEXTS,
        nodes::TEXTS,
        otp_validation::TEXTS,
        recovery_codes::TEXTS,
        renewals::TEXTS,
        restore::TEXTS,
        role_requests::TEXTS,
        seals::TEXTS,
        secrets_at_rest::TEXTS,
        sessions::TEXTS,
        stock::TEXTS,
        declared::TEXTS,
        settings::TEXTS,
        users::TEXTS,
        group::TEXTS,
    ];
    let made = chain::INSERTS.iter().map(|insert| insert.alone.clone());
    let at_once = chain::INSERTS.iter().map(|insert| &insert.at_once);
    let single = [
        &*factors::FORGET_NONCES,
        &*leases::TAKE,
        &*logins::ADD,
        &*logins::ALL,
        &*logins::CHANGE,
        &*logins::ONE,
        &*membership::PROBE,
        &*nodes::LEASE,
        &*renewals::WITHOUT,
        &*secrets_at_rest::REMOVE_OF_TOKEN,
        &*sessions::TOUCH,
        &*stock::KNOWN,
    ];
    let each = audit_log::EACH.iter().chain(&*prune::EACH).chain(single).chain(at_once).cloned();
    let each = each.chain(texts_of_rows());
    let texts = named.concat().into_iter().map(engine::Text::from).chain(made.map(engine::Text::Made)).chain(each);
    texts.map(|text| text.of(dialect).as_str().to_owned()).collect()
}

/// Those that read whole rows of authority tables, or write them.
fn texts_of_rows() -> Vec<engine::Text> {
    let selections = [
        clients::SELECTIONS,
        factor_life::SELECTIONS,
        factors::SELECTIONS,
        grants::SELECTIONS,
        key_ring::SELECTIONS,
        keys::SELECTIONS,
        membership::SELECTIONS,
        otp_validation::SELECTIONS,
        recovery_codes::SELECTIONS,
        restore::SELECTIONS,
        revocations::SELECTIONS,
        role_requests::SELECTIONS,
        rules::SELECTIONS,
        settings::SELECTIONS,
        sessions::SELECTIONS,
        sign_in::SELECTIONS,
        stock::SELECTIONS,
        tries::SELECTIONS,
        users::SELECTIONS,
    ];
    let insertions = [
        clients::INSERTIONS,
        factors::INSERTIONS,
        grants::INSERTIONS,
        keys::INSERTIONS,
        otp_validation::INSERTIONS,
        recovery_codes::INSERTIONS,
        revocations::INSERTIONS,
        role_requests::INSERTIONS,
        rules::INSERTIONS,
        settings::INSERTIONS,
        sessions::INSERTIONS,
        stock::INSERTIONS,
        tries::INSERTIONS,
        users::INSERTIONS,
    ];
    let selected = selections.concat().into_iter().map(|selection| &selection.text);
    let inserted = insertions.concat().into_iter().map(|insertion| &insertion.text);
    let of_rows = selected.chain(inserted).chain(TABLE_TEXTS.values().flat_map(|texts| texts.texts()));
    of_rows.cloned().collect()
}
