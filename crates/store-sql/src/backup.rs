//! A backup's rows: every table that goes into backups, as it was at one moment, page by page.

use std::io;

use async_trait::async_trait;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::SqlStore;
use super::chain::head_of;
use super::engine::{Connection, Result, Row, Snapshot, query};
use super::pages::{self, Summing};
use super::schema;
use super::tables::{TABLES, Table};
use super::texts::texts;
use signet_core::audit::{Head, NodeId};
use signet_core::backup::{Header, TableHeader, TableSum, line};
use signet_jose::clock::Timestamp;
use signet_store::{StoreError, StoreFailure};

texts! {
    HEADS = "SELECT id, head_sequence, head_hash FROM nodes WHERE head_sequence > 0 ORDER BY id";
}

/// What was written of a backup, and what remains to be stated of it.
#[derive(Debug, Clone)]
pub struct Written {
    /// Each table's rows.
    pub tables: Vec<TableSum>,
    /// SHA-256 over all that was written.
    pub hash: [u8; 32],
    /// The ends of the audit chains at the backup's moment.
    pub heads: Vec<(NodeId, Head)>,
}

/// Where a backup goes, a page at a time.
#[async_trait]
pub trait Sink: Send {
    /// Takes what comes next.
    /// Errors: it takes no more.
    async fn take(&mut self, bytes: Vec<u8>) -> io::Result<()>;
}

#[async_trait]
impl Sink for Vec<u8> {
    async fn take(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.extend(bytes);
        Ok(())
    }
}

/// What a backup is of.
#[derive(Debug, Clone)]
pub struct BackupOf {
    /// Its random name.
    pub id: String,
    /// The issuer.
    pub issuer: String,
    /// The time.
    pub at: Timestamp,
}

fn named_head(row: &Row) -> Result<(NodeId, Head)> {
    Ok((row.try_get("id")?, head_of(row)?))
}

impl SqlStore {
    /// Writes every row that goes into backups, as of one moment, while others write on. What is in memory at once is a page.
    /// Returns the first line, and what the statement is to be about.
    /// Errors: what the engine says; [`StoreFailure::Unavailable`] where `out` takes no more.
    pub async fn back_up(&self, of: BackupOf, out: &mut dyn Sink) -> Result<(Header, Written), StoreError> {
        self.try_back_up(of, out).await.map_err(|failure| failure.during("back up"))
    }

    async fn try_back_up(&self, of: BackupOf, out: &mut dyn Sink) -> Result<(Header, Written)> {
        let mut snapshot = self.engine.snapshot().await?;
        let written = write_all(snapshot.as_mut(), of, out).await;
        snapshot.end().await;
        written
    }
}

async fn write_all(snapshot: &mut dyn Snapshot, of: BackupOf, out: &mut dyn Sink) -> Result<(Header, Written)> {
    let connection = snapshot.statements();
    let schema = schema::applied(connection).await?;
    let schema = schema.into_iter().map(|one| (one.version, pages::base64url(&one.hash))).collect();
    let header = Header::new(of.id, of.issuer, of.at, schema);
    let mut writing = Writing { out, page: Vec::new(), hash: Sha256::new() };
    writing.line_of(&header)?;
    let mut tables = Vec::new();
    for table in TABLES.iter().filter(|table| table.is_in_backups()) {
        writing.line_of(&table_header(table, &header.id))?;
        let sum = write_table(connection, table, &mut writing).await?;
        tables.push(TableSum { table: table.name.to_owned(), rows: sum.rows, hash: sum.hash });
    }
    writing.hand_on().await?;
    let heads = query(HEADS).fetch_all(connection).await?.iter().map(named_head).collect::<Result<_>>()?;
    Ok((header, Written { tables, hash: writing.hash.finalize().into(), heads }))
}

async fn write_table(
    connection: &mut Connection,
    table: &'static Table,
    writing: &mut Writing<'_>,
) -> Result<pages::TableSum> {
    let (mut sum, mut after) = (Summing::default(), None);
    loop {
        writing.hand_on().await?;
        let page = pages::page(connection, table, after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(pages::key_of(table, last));
        for row in &page {
            writing.bytes(sum.add(row));
        }
    }
    Ok(sum.finish(table.name))
}

fn table_header(table: &Table, backup: &str) -> TableHeader {
    TableHeader {
        table: table.name.to_owned(),
        backup: backup.to_owned(),
        columns: table.columns.iter().map(|column| (column.name.to_owned(), column.kind.name().to_owned())).collect(),
        key: table.key.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// The file, with the hash over what was written to it.
struct Writing<'o> {
    out: &'o mut dyn Sink,
    /// What is not handed on yet.
    page: Vec<u8>,
    hash: Sha256,
}

impl Writing<'_> {
    fn line_of<T: Serialize>(&mut self, of: &T) -> Result<()> {
        self.bytes(&line(of).map_err(|_| StoreFailure::Corrupt("row"))?);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.page.extend_from_slice(bytes);
    }

    async fn hand_on(&mut self) -> Result<()> {
        let page = std::mem::take(&mut self.page);
        let taken = self.out.take(page).await;
        taken.map_err(|error| StoreFailure::Unavailable(format!("the backup can't be written: {error}")))
    }
}
