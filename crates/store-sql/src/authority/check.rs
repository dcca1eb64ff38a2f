//! A pass over every row of every authority table.

use super::macs::{RowMacs, id_of};
use super::stored::texts_of;
use crate::SqlStore;
use crate::engine::{Connection, Result};
use crate::pages;
use crate::tables::{TABLES, Table, table};
use signet_store::{RefusedRow, StoreError, StoreFailure};

/// How many rows of a table are named that do not verify.
const NAMED: usize = 100;

/// Tables that grow with the number of users, or with use.
const GROWING: [&str; 7] =
    ["users", "factors", "recovery_codes", "grants", "refresh_tokens", "sessions", "revocations"];

/// What a pass over a table found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCheck {
    /// The table.
    pub table: &'static str,
    /// How many rows were checked.
    pub rows: u64,
    /// How many of them do not verify.
    pub forged: u64,
    /// What names those rows: the first hundred.
    pub named: Vec<String>,
}

impl TableCheck {
    /// Adds rows that were looked at, and what names those that do not verify.
    pub(super) fn add(&mut self, rows: u64, forged: Vec<String>) {
        self.rows = self.rows.saturating_add(rows);
        self.forged = self.forged.saturating_add(forged.len() as u64);
        self.named.extend(forged.into_iter().take(NAMED.saturating_sub(self.named.len())));
    }
}

impl SqlStore {
    /// Checks every row of every authority table, as they are at one moment, a page at a time.
    /// Errors: [`StoreFailure::NoRowKeys`] where no keys are at hand; what the engine says.
    pub async fn check_rows(&self) -> Result<Vec<TableCheck>, StoreError> {
        self.check_rows_of_all(&[]).await
    }

    /// Checks every row of the authority tables that do not grow with use: what is quickly done.
    /// Errors: as for [`check_rows`](Self::check_rows).
    pub async fn check_few_rows(&self) -> Result<Vec<TableCheck>, StoreError> {
        self.check_rows_of_all(&GROWING).await
    }

    async fn check_rows_of_all(&self, but: &[&str]) -> Result<Vec<TableCheck>, StoreError> {
        let checked = async {
            let macs = self.trust.load_full().ok_or(StoreFailure::NoRowKeys)?;
            let mut snapshot = self.engine.snapshot().await?;
            let mut checked = Vec::new();
            for table in TABLES.iter().filter(|table| table.is_authority && !but.contains(&table.name)) {
                checked.push(check_table(snapshot.statements(), table, &macs).await?);
            }
            snapshot.end().await;
            Ok(checked)
        };
        checked.await.map_err(|failure: StoreFailure| failure.during("check the rows"))
    }
}

impl SqlStore {
    /// Rows that were refused, and are still to be refused.
    pub(crate) async fn still_refused(&self) -> Result<Vec<RefusedRow>> {
        let Some(macs) = self.trust.load_full() else { return Ok(Vec::new()) };
        let mut refused = Vec::new();
        for ((name, id), key) in macs.refused() {
            let Some(table) = table(name) else { continue };
            let find = &texts_of(table)?.find;
            let held = find.held.first().ok_or(StoreFailure::Corrupt("row"))?;
            let rows = self.engine.read(&find.text, key).await?;
            let found = rows.first().map(|row| held.values(row)).transpose()?;
            if found.is_some_and(|row| !macs.verifies(table, row)) {
                refused.push(RefusedRow { table: name, id });
            } else {
                macs.forget(name, &id);
            }
        }
        Ok(refused)
    }
}

async fn check_table(connection: &mut Connection, table: &'static Table, macs: &RowMacs) -> Result<TableCheck> {
    let mut checked = TableCheck { table: table.name, rows: 0, forged: 0, named: Vec::new() };
    let mut after = None;
    loop {
        let page = pages::page(connection, table, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(checked) };
        after = Some(pages::key_of(table, last));
        let forged = page.iter().filter(|row| !macs.verifies(table, row));
        let forged = forged.map(|row| {
            // The log has it, and whoever asks for what was refused.
            macs.refusal(table, row);
            id_of(table, row)
        });
        let forged = forged.collect();
        checked.add(page.len() as u64, forged);
    }
}
