//! Rows are written anew under the newest generation of the deployment's secret: each that verifies under an older one, page by page,
//! each page in a commit of its own. A row that does not verify stays as it is, and grants nothing.

use super::check::TableCheck;
use super::macs::{RowMacs, Standing, id_of};
use super::stored::{StoredRow, change_all, fields, texts_of};
use crate::SqlStore;
use crate::engine::{Connection, Result, Value};
use crate::locks::Scope;
use crate::outcome::WriteOutcome;
use crate::pages::{self, Values, key_of};
use crate::tables::{Kind, TABLES, Table};
use signet_store::{StoreError, StoreFailure};

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct RenewalProgress {
    /// How many rows were looked at, of all tables.
    pub done: u64,
    /// How many there are.
    pub of: u64,
}

/// What a page came to.
#[derive(Debug, Clone)]
struct Page {
    rows: u64,
    refused: Vec<String>,
    /// The last row's key; none where no row was left.
    last: Option<Values>,
}

impl SqlStore {
    /// Writes every row that verifies under an older generation of the deployment's secret under the newest one, and returns what was
    /// looked at: `forged` are those that do not verify, which stay so. Interrupted, it is called again.
    /// Errors: [`StoreFailure::NoRowKeys`]; what the engine says.
    pub async fn renew_rows(&self, told: &(dyn Fn(RenewalProgress) + Sync)) -> Result<Vec<TableCheck>, StoreError> {
        let of = self.count_rows().await.map_err(|failure| failure.during("count rows"))?;
        let (mut renewed, mut done) = (Vec::new(), 0_u64);
        for table in authority_tables() {
            let mut checked = TableCheck { table: table.name, rows: 0, forged: 0, named: Vec::new() };
            let mut after = before_all(table);
            while let (page, Some(last)) = self.renew_page(table, after).await? {
                after = last;
                checked.add(page.rows, page.refused);
                done = done.saturating_add(page.rows);
                told(RenewalProgress { done, of });
            }
            renewed.push(checked);
        }
        Ok(renewed)
    }

    pub(super) async fn count_rows(&self) -> Result<u64> {
        let (mut snapshot, mut rows) = (self.engine.snapshot().await?, 0_u64);
        for table in authority_tables() {
            rows = rows.saturating_add(pages::count(snapshot.statements(), table).await?);
        }
        snapshot.end().await;
        Ok(rows)
    }

    async fn renew_page(&self, table: &'static Table, after: Values) -> Result<(Page, Option<Values>), StoreError> {
        let operation = "write rows under the renewed secret";
        let mut page = self.writer.change(operation, Scope::slow(), (table, after), vec![], renew_page).await?;
        let last = page.last.take();
        Ok((page, last))
    }
}

fn authority_tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| table.is_authority)
}

/// What stands before every key: no tenant and no id is empty.
fn before_all(table: &Table) -> Values {
    let kind = |name: &&str| table.columns.iter().find(|column| column.name == *name).map(|column| column.kind);
    let least = |kind| match kind {
        Kind::Number => Value::Number(Some(i64::MIN)),
        Kind::Text => Value::Text(Some(String::new())),
        Kind::Bytes => Value::Bytes(Some(Vec::new())),
    };
    table.key.iter().filter_map(kind).map(least).collect()
}

async fn renew_page(
    (table, after): &(&'static Table, Values),
    connection: &mut Connection,
) -> Result<WriteOutcome<Page>> {
    let macs = connection.row_macs().ok_or(StoreFailure::NoRowKeys)?;
    let selection = &texts_of(table)?.page;
    let held = selection.held.first().ok_or(StoreFailure::Corrupt("row"))?;
    let rows = connection.rows(&selection.text, after.clone()).await?;
    let values = rows.iter().map(|row| Ok(held.values(row)?.to_vec())).collect::<Result<Vec<Values>>>()?;
    let last = values.last().map(|row| key_of(table, row));
    let looked_at = values.len() as u64;
    let (older, refused) = sorted(&macs, table, values);
    change_all(older.into_iter().map(|row| (row, fields())).collect(), connection).await?;
    Ok(WriteOutcome::applied(Page { rows: looked_at, refused, last }))
}

/// The rows that verify under an older generation, and the names of those that do not verify.
fn sorted(macs: &RowMacs, table: &'static Table, rows: Vec<Values>) -> (Vec<StoredRow>, Vec<String>) {
    let (mut older, mut refused) = (Vec::new(), Vec::new());
    for row in rows {
        match macs.standing(table, &row) {
            Standing::Newest => {}
            Standing::Older => older.push(StoredRow { table, row }),
            Standing::Refused => {
                // The log has it.
                macs.refusal(table, &row);
                refused.push(id_of(table, &row));
            }
        }
    }
    (older, refused)
}
