//! A deployment moves to another store: every row of every table that is copied, page by page, then all of it compared.
//!
//! The old store is closed first, and stays so: what is read is the same however often the copy is interrupted, and goes on
//! after the last row that arrived. Only once every row was compared does the old store say that it is left, and then the new one
//! that it is complete. At no moment can both be opened.

use super::SqlStore;
use super::engine::{Connection, Engine, Result};
use super::moves::{self, Move, State};
use super::pages::{self, Summing, TableSum};
use super::tables::{TABLES, Table};
use signet_core::audit::AuditEvent;
use signet_jose::clock::Timestamp;
use signet_store::{AuditLog as _, StoreError, StoreFailure};

/// What a copy is about.
#[derive(Debug, Clone)]
pub struct Moving {
    /// A fresh name, for a move that has none yet.
    pub fresh_id: String,
    /// The old store's URL.
    pub from: String,
    /// The new store's URL.
    pub to: String,
    /// What is recorded last in the old store.
    pub record: AuditEvent,
    /// The time.
    pub at: Timestamp,
}

/// What is done at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Rows go over.
    Copying,
    /// Rows of both sides are compared.
    Comparing,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What is done.
    pub step: Step,
    /// With which table.
    pub table: &'static str,
    /// How many of its rows are done.
    pub done: u64,
    /// How many it has.
    pub of: u64,
}

/// Hears how far it is.
pub type Told<'t> = &'t (dyn Fn(Progress) + Sync);

impl SqlStore {
    /// Moves everything to an empty store, or goes on where this move was interrupted. Returns what was found equal.
    /// Errors: [`StoreFailure::Refused`] where the new store is not empty, is another move's, or holds other rows in the
    /// end; what the engines say. A later call goes on.
    pub async fn copy_to(
        &self,
        target: &dyn Engine,
        moving: &Moving,
        told: Told<'_>,
    ) -> Result<Vec<TableSum>, StoreError> {
        self.try_copy(target, moving, told).await.map_err(|failure| failure.during("copy"))
    }

    async fn try_copy(&self, target: &dyn Engine, moving: &Moving, told: Told<'_>) -> Result<Vec<TableSum>> {
        let arrived = moves::committed(target).await?;
        check_target(target, arrived.as_ref(), self.moved().await?.as_ref(), &moving.to).await?;
        let own = self.close_for(moving).await?;
        if own.state == State::Left && arrived.as_ref().is_some_and(|arrived| arrived.state == State::Arrived) {
            return Err(StoreFailure::Refused(format!(
                "all of it is at {} already: set store.url to that one",
                own.peer
            )));
        }
        if arrived.is_none() {
            moves::arrive(target, &own.id, &moving.from, moving.at).await?;
        }
        for table in TABLES.iter().filter(|table| table.is_copied()) {
            self.copy_table(target, table, told).await?;
        }
        let sums = self.compare(target, told).await?;
        moves::set(self.engine.as_ref(), &own.id, State::Left, moving.at).await?;
        moves::set(target, &own.id, State::Arrived, moving.at).await?;
        Ok(sums)
    }

    async fn moved(&self) -> Result<Option<Move>> {
        moves::committed(self.engine.as_ref()).await
    }

    /// Lets nobody open the store, writes the last record, and lets nobody who has it open write another one.
    async fn close_for(&self, moving: &Moving) -> Result<Move> {
        let engine = self.engine.as_ref();
        let own = match self.moved().await? {
            Some(own) => own,
            None => {
                moves::leave(engine, &moving.fresh_id, &moving.to, moving.at).await?;
                self.moved().await?.ok_or(StoreFailure::Corrupt("row"))?
            }
        };
        let closed = engine.read(&moves::IS_CLOSED.into(), vec![]).await?;
        if closed.first().map(|row| row.try_get::<bool, _>(0)).transpose()? != Some(true) {
            self.append(vec![moving.record.clone()]).await.map_err(|error| error.failure)?;
            moves::write(engine, moves::CLOSE, vec![]).await?;
        }
        Ok(own)
    }

    /// Takes a store back whose copy is not complete, on the record. Returns where it was to go; `None` where it was going
    /// nowhere.
    /// Errors: [`StoreFailure::Refused`] where it is complete.
    pub async fn give_up_copy(
        &self,
        record: impl FnOnce(&str) -> AuditEvent + Send,
    ) -> Result<Option<String>, StoreError> {
        let given_up = async {
            let Some(own) = self.moved().await? else { return Ok(None) };
            if own.state != State::Leaving {
                moves::check(Some(&own))?;
                return Ok(None);
            }
            moves::write(self.engine.as_ref(), moves::REOPEN, vec![]).await?;
            self.append(vec![record(&own.peer)]).await.map_err(|error| error.failure)?;
            moves::forget(self.engine.as_ref(), &own.id).await?;
            Ok(Some(own.peer))
        };
        given_up.await.map_err(|failure: StoreFailure| failure.during("take the store back"))
    }

    async fn copy_table(&self, target: &dyn Engine, table: &'static Table, told: Told<'_>) -> Result<()> {
        let columns: Vec<_> = table.columns.iter().collect();
        let mut source = self.engine.snapshot().await?;
        let mut writing = target.connect().await?;
        let of = pages::count(source.statements(), table).await?;
        let mut done = pages::count(writing.statements(), table).await?;
        let mut after = pages::last_key(writing.statements(), table).await?;
        told(Progress { step: Step::Copying, table: table.name, done, of });
        loop {
            let page = pages::page(source.statements(), table, after.as_deref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(pages::key_of(table, last));
            done = done.saturating_add(page.len() as u64);
            let (text, values) = pages::insertion(table.name, &columns, page);
            writing.alone(&text, values).await?;
            told(Progress { step: Step::Copying, table: table.name, done, of });
        }
        source.end().await;
        writing.close().await;
        Ok(())
    }

    async fn compare(&self, target: &dyn Engine, told: Told<'_>) -> Result<Vec<TableSum>> {
        let mut ours = self.engine.snapshot().await?;
        let mut theirs = target.snapshot().await?;
        let mut sums = Vec::new();
        for table in TABLES.iter().filter(|table| table.is_copied()) {
            sums.push(compare_table(ours.statements(), theirs.statements(), table, told).await?);
        }
        ours.end().await;
        theirs.end().await;
        Ok(sums)
    }
}

async fn compare_table(
    ours: &mut Connection,
    theirs: &mut Connection,
    table: &'static Table,
    told: Told<'_>,
) -> Result<TableSum> {
    let of = pages::count(ours, table).await?;
    let (mut after, mut sum, mut done) = (None, Summing::default(), 0_u64);
    loop {
        let (page, other) =
            (pages::page(ours, table, after.as_deref()).await?, pages::page(theirs, table, after.as_deref()).await?);
        if page != other {
            return Err(StoreFailure::Refused(different(table, &page, &other)));
        }
        let Some(last) = page.last() else { break };
        after = Some(pages::key_of(table, last));
        for row in &page {
            sum.add(row);
        }
        done = done.saturating_add(page.len() as u64);
        told(Progress { step: Step::Comparing, table: table.name, done, of });
    }
    Ok(sum.finish(table.name))
}

/// What differs first. A row's key may be a hash of something secret; what else stands in it is not told.
fn different(table: &Table, page: &[pages::Values], other: &[pages::Values]) -> String {
    let first = page.iter().zip(other).position(|(row, other)| row != other).unwrap_or(page.len().min(other.len()));
    let of = |row: Option<&pages::Values>| {
        row.map_or_else(|| "no more row".to_owned(), |row| format!("{:?}", pages::key_of(table, row)))
    };
    format!(
        "the stores differ in the table {}: {} here, {} there. Somebody wrote to the new one: drop it, make it anew, and run \
         `signet store copy` again",
        table.name,
        of(page.get(first)),
        of(other.get(first))
    )
}

/// Whether this store's rows may go there.
async fn check_target(target: &dyn Engine, arrived: Option<&Move>, own: Option<&Move>, to: &str) -> Result<()> {
    let refused = |text: String| Err(StoreFailure::Refused(text));
    if let Some(other) = own.filter(|own| own.peer != to) {
        return refused(format!(
            "the store is closed, to be copied to {}: name that one, or `--give-up` first",
            other.peer
        ));
    }
    match (arrived, own) {
        (Some(arrived), Some(own)) if arrived.id == own.id => Ok(()),
        (Some(arrived), _) => {
            refused(format!("{to} holds rows that were copied from {} before: make it anew", arrived.peer))
        }
        (None, _) => moves::check_empty(target, to).await,
    }
}
