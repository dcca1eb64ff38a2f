//! A pass over every row of every authority table.

use super::macs::id_of;
use crate::SqlStore;
use crate::engine::{Connection, Result};
use crate::pages;
use crate::tables::{TABLES, Table};
use signet_store::{StoreError, StoreFailure};

/// How many rows of a table are named that do not verify.
const NAMED: usize = 100;

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
        let checked = async {
            let macs = self.trust.load_full().ok_or(StoreFailure::NoRowKeys)?;
            let mut snapshot = self.engine.snapshot().await?;
            let mut checked = Vec::new();
            for table in TABLES.iter().filter(|table| table.is_authority) {
                let verifies = |row: &pages::Values| macs.verifies(table, row);
                checked.push(check_table(snapshot.statements(), table, &verifies).await?);
            }
            snapshot.end().await;
            Ok(checked)
        };
        checked.await.map_err(|failure: StoreFailure| failure.during("check the rows"))
    }
}

async fn check_table(
    connection: &mut Connection,
    table: &'static Table,
    verifies: &(dyn Fn(&pages::Values) -> bool + Sync),
) -> Result<TableCheck> {
    let mut checked = TableCheck { table: table.name, rows: 0, forged: 0, named: Vec::new() };
    let mut after = None;
    loop {
        let page = pages::page(connection, table, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(checked) };
        after = Some(pages::key_of(table, last));
        let forged = page.iter().filter(|row| !verifies(row)).map(|row| id_of(table, row)).collect();
        checked.add(page.len() as u64, forged);
    }
}
