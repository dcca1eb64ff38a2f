//! Rows are written anew under the newest generation of the deployment's secret while servers serve. Pages are read without a lock;
//! what is of an older generation is read again under the names that guard it, and written where it still is. The pass is
//! repeated until one finds no such row: whatever is written meanwhile is written by the newest generation already.

use std::time::Duration;

use tokio::time::Instant;

use super::guards::guarding;
use super::macs::{Standing, id_of};
use super::stored::{StoredRow, change_all, fields, texts_of};
use crate::SqlStore;
use crate::engine::{Connection, Result};
use crate::locks::Scope;
use crate::outcome::WriteOutcome;
use crate::pages::{self, Values, key_of};
use crate::tables::{TABLES, Table};
use signet_store::{RenewedRows, StoreFailure};

/// Rows of a transaction: each of them locks up to four names.
const AT_ONCE: usize = 32;

/// Where a pass is that goes on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pass {
    generation: u8,
    /// The table that is looked at, by its place among the authority tables.
    table: usize,
    after: Option<Values>,
    /// Whether it found a row of an older generation.
    has_older: bool,
    rows: RenewedRows,
}

impl Pass {
    /// The next one over all tables, where there must be one.
    fn again(&mut self) {
        (self.table, self.after) = (0, None);
        self.rows.complete = !self.has_older;
        if self.has_older {
            (self.rows.done, self.rows.refused, self.has_older) = (0, 0, false);
        }
    }
}

fn authority_table(place: usize) -> Option<&'static Table> {
    TABLES.iter().filter(|table| table.is_authority).nth(place)
}

impl SqlStore {
    /// Goes on with the pass for so long.
    pub(crate) async fn pass_over_rows(&self, generation: u8, budget: Duration) -> Result<RenewedRows> {
        let until = Instant::now() + budget;
        let mut held = self.renewing.lock().await;
        let mut pass = held.take().filter(|pass| pass.generation == generation).unwrap_or_default();
        if pass.rows.of == 0 {
            (pass.generation, pass.rows.of) = (generation, self.count_rows().await?);
        }
        pass.rows.complete = false;
        while !pass.rows.complete {
            match authority_table(pass.table) {
                Some(table) => self.pass_over_page(&mut pass, table).await?,
                None => pass.again(),
            }
            // Kept after each page: a failure in the next one costs that one alone.
            *held = Some(pass.clone());
            if Instant::now() >= until {
                break;
            }
        }
        Ok(pass.rows)
    }

    async fn pass_over_page(&self, pass: &mut Pass, table: &'static Table) -> Result<()> {
        let macs = self.trust.load_full().ok_or(StoreFailure::NoRowKeys)?;
        if macs.newest() != pass.generation {
            return Err(StoreFailure::Unavailable("this process has not opened the renewed secret".to_owned()));
        }
        let mut snapshot = self.engine.snapshot().await?;
        let page = pages::page(snapshot.statements(), table, pass.after.as_deref()).await;
        snapshot.end().await;
        let page = page?;
        let mut older = Vec::new();
        for row in &page {
            match macs.standing(table, row) {
                Standing::Newest => {}
                Standing::Older => older.push(row),
                Standing::Refused => {
                    // The log has it, and whoever asks for what was refused.
                    macs.refusal(table, row);
                    tracing::debug!(table = table.name, row = id_of(table, row), "left as it is");
                    pass.rows.refused = pass.rows.refused.saturating_add(1);
                }
            }
        }
        pass.has_older |= !older.is_empty();
        for rows in older.chunks(AT_ONCE) {
            let rewritten = self.rewrite(table, rows).await?;
            pass.rows.rewritten = pass.rows.rewritten.saturating_add(rewritten);
        }
        pass.rows.done = pass.rows.done.saturating_add(page.len() as u64);
        match page.last() {
            Some(last) if page.len() >= pages::PAGE => pass.after = Some(key_of(table, last)),
            _ => (pass.table, pass.after) = (pass.table.saturating_add(1), None),
        }
        Ok(())
    }

    async fn rewrite(&self, table: &'static Table, rows: &[&Values]) -> Result<u64> {
        let mut scope = Scope::free();
        for row in rows {
            scope = guarding(scope, table, row)?;
        }
        let keys: Vec<Values> = rows.iter().map(|row| key_of(table, row)).collect();
        let operation = "write rows under the renewed secret";
        let written = self.writer.change(operation, scope, (table, keys), vec![], rewrite).await;
        written.map_err(|error| error.failure)
    }
}

/// Each of the rows that still is of an older generation.
async fn rewrite(
    (table, keys): &(&'static Table, Vec<Values>),
    connection: &mut Connection,
) -> Result<WriteOutcome<u64>> {
    let macs = connection.row_macs().ok_or(StoreFailure::NoRowKeys)?;
    let find = &texts_of(table)?.find;
    let held = find.held.first().ok_or(StoreFailure::Corrupt("row"))?;
    let mut older = Vec::with_capacity(keys.len());
    for key in keys {
        let found = connection.rows(&find.text, key.clone()).await?;
        let Some(row) = found.first() else { continue };
        let row = held.values(row)?.to_vec();
        if macs.standing(table, &row) == Standing::Older {
            older.push((StoredRow { table, row }, fields()));
        }
    }
    Ok(WriteOutcome::nothing(change_all(older, connection).await?))
}
