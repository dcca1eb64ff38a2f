//! Reading a backup, line by line and with bounded memory, and holding it against its statement.

use std::cmp::Ordering;
use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::statement::{Statement, StatementRefused, TableSum};
use super::{Closing, FORMAT, Header, TableHeader};
use signet_jose::VerifyingKey;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// What is wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// The file could not be read.
    #[error("line {0} can't be read")]
    Read(u64, #[source] io::Error),
    /// Something else.
    #[error("it is no backup of Signet's: its first line is no backup's")]
    NoBackup,
    /// Of a later program.
    #[error("it is a backup of format {0}, which this program does not know: use a newer program")]
    OtherFormat(u32),
    /// It ends before its statement.
    #[error("it is shortened: it ends at line {0}, without the signed statement that closes a backup")]
    Shortened(u64),
    /// A table has fewer rows than are stated, or none at all.
    #[error("it is shortened: the table {table} has {found} rows, and {stated} were signed")]
    RowsMissing {
        /// The table.
        table: String,
        /// Rows in the file.
        found: u64,
        /// Rows by the statement.
        stated: u64,
    },
    /// A table has more rows than are stated, or was not in it at all.
    #[error("rows were added to it: the table {table} has {found} rows, and {stated} were signed")]
    RowsAdded {
        /// The table.
        table: String,
        /// Rows in the file.
        found: u64,
        /// Rows by the statement.
        stated: u64,
    },
    /// A part is another backup's.
    #[error("it is mixed: line {line} is of the backup {found}, and the file of {expected}")]
    Mixed {
        /// The line, from 1.
        line: u64,
        /// Whose it is.
        found: String,
        /// Whose the file is.
        expected: String,
    },
    /// Rows or tables stand in another order.
    #[error("it is reordered: line {line} does not follow the line before it in the table {table}")]
    Reordered {
        /// The line, from 1.
        line: u64,
        /// The table.
        table: String,
    },
    /// Rows were changed.
    #[error("it was altered: the rows of the table {0} are not those that were signed")]
    Altered(String),
    /// Something beside the rows was changed.
    #[error("it was altered: what stands beside the rows is not what was signed")]
    AlteredBeside,
    /// A line is of no such file.
    #[error("line {0} is not a line of a backup")]
    Malformed(u64),
    /// It goes on.
    #[error("line {0}: it goes on after the statement that closes it")]
    AfterTheEnd(u64),
    /// The statement is not believed.
    #[error(transparent)]
    Statement(#[from] StatementRefused),
}

/// A part of a backup, as it is read.
#[derive(Debug)]
pub enum Section<'s> {
    /// A table begins.
    Table(&'s TableHeader),
    /// A row of the table that began last.
    Row(&'s TableHeader, &'s [Value]),
}

/// Takes what a backup is made of.
type Visit<'v> = &'v mut dyn FnMut(Section<'_>);

/// Reads a backup.
#[derive(Debug)]
pub struct BackupReader<R> {
    input: R,
    line: u64,
    bytes: Vec<u8>,
}

/// A table while its rows are read.
struct Reading {
    header: TableHeader,
    /// For each column of the key its place and kind.
    key: Vec<(usize, String)>,
    last: Option<Vec<Value>>,
    rows: u64,
    hash: Sha256,
}

impl<R: BufRead> BackupReader<R> {
    /// A reader from the file's beginning.
    pub const fn new(input: R) -> Self {
        Self { input, line: 0, bytes: Vec::new() }
    }

    /// Reads all of it and holds it against its statement. `visit` hears of each table and row before the statement is
    /// reached: what it did counts only where this succeeds.
    /// Errors: [`BackupFault`], the first thing that is wrong.
    pub fn verify(mut self, keys: &[VerifyingKey], visit: Visit<'_>) -> Result<(Header, Statement), BackupFault> {
        let mut whole = Sha256::new();
        let header = self.header(&mut whole)?;
        let (mut sums, mut table): (Vec<TableSum>, Option<Reading>) = (Vec::new(), None);
        let closing = loop {
            self.next_line()?;
            if let Ok(closing) = serde_json::from_slice::<Closing>(&self.bytes) {
                break closing;
            }
            whole.update(&self.bytes);
            if self.bytes.starts_with(b"[") {
                let table = table.as_mut().ok_or(BackupFault::Malformed(self.line))?;
                self.row(table, visit)?;
            } else {
                sums.extend(table.take().map(Reading::finish));
                let next = self.table(&header)?;
                visit(Section::Table(&next.header));
                table = Some(next);
            }
        };
        sums.extend(table.take().map(Reading::finish));
        let statement = Statement::open(&closing.statement, keys)?;
        if statement.id != header.id {
            let (found, expected) = (statement.id, header.id);
            return Err(BackupFault::Mixed { line: self.line, found, expected });
        }
        compare(&sums, &statement)?;
        let is_whole = <[u8; 32]>::from(whole.finalize()) == statement.hash;
        if !is_whole || header.issuer != statement.issuer || header.at != statement.at {
            return Err(BackupFault::AlteredBeside);
        }
        self.end()?;
        Ok((header, statement))
    }

    fn header(&mut self, whole: &mut Sha256) -> Result<Header, BackupFault> {
        match self.next_line() {
            Err(BackupFault::Shortened(_) | BackupFault::Malformed(_)) => return Err(BackupFault::NoBackup),
            other => other?,
        }
        whole.update(&self.bytes);
        let first: Value = serde_json::from_slice(&self.bytes).map_err(|_| BackupFault::NoBackup)?;
        match first.get("signet_backup").and_then(Value::as_u64) {
            None => Err(BackupFault::NoBackup),
            Some(format) if format != u64::from(FORMAT) => {
                Err(BackupFault::OtherFormat(u32::try_from(format).unwrap_or(u32::MAX)))
            }
            Some(_) => serde_json::from_value(first).map_err(|_| BackupFault::Malformed(self.line)),
        }
    }

    fn table(&self, of: &Header) -> Result<Reading, BackupFault> {
        let malformed = BackupFault::Malformed(self.line);
        let Ok(header) = serde_json::from_slice::<TableHeader>(&self.bytes) else { return Err(malformed) };
        if header.backup != of.id {
            let (found, expected) = (header.backup, of.id.clone());
            return Err(BackupFault::Mixed { line: self.line, found, expected });
        }
        let place = |name: &String| {
            let place = header.columns.iter().position(|(column, _)| column == name)?;
            Some((place, header.columns.get(place)?.1.clone()))
        };
        let key = header.key.iter().map(place).collect::<Option<Vec<_>>>().ok_or(malformed)?;
        Ok(Reading { header, key, last: None, rows: 0, hash: Sha256::new() })
    }

    fn row(&self, table: &mut Reading, visit: Visit<'_>) -> Result<(), BackupFault> {
        let malformed = || BackupFault::Malformed(self.line);
        let row: Vec<Value> = serde_json::from_slice(&self.bytes).map_err(|_| malformed())?;
        if row.len() != table.header.columns.len() {
            return Err(malformed());
        }
        if let Some(last) = &table.last
            && compare_keys(&table.key, last, &row).ok_or_else(malformed)? != Ordering::Less
        {
            return Err(BackupFault::Reordered { line: self.line, table: table.header.table.clone() });
        }
        table.rows = table.rows.saturating_add(1);
        table.hash.update(&self.bytes);
        visit(Section::Row(&table.header, &row));
        table.last = Some(row);
        Ok(())
    }

    /// Reads a whole line, its newline included.
    fn next_line(&mut self) -> Result<(), BackupFault> {
        self.line = self.line.saturating_add(1);
        self.bytes.clear();
        let mut limited = (&mut self.input).take(MAX_LINE);
        limited.read_until(b'\n', &mut self.bytes).map_err(|error| BackupFault::Read(self.line, error))?;
        match self.bytes.last() {
            Some(b'\n') => Ok(()),
            _ if self.bytes.len() as u64 == MAX_LINE => Err(BackupFault::Malformed(self.line)),
            _ => Err(BackupFault::Shortened(self.line)),
        }
    }

    fn end(&mut self) -> Result<(), BackupFault> {
        let rest = self.input.fill_buf().map_err(|error| BackupFault::Read(self.line, error))?;
        if rest.is_empty() { Ok(()) } else { Err(BackupFault::AfterTheEnd(self.line.saturating_add(1))) }
    }
}

impl Reading {
    fn finish(self) -> TableSum {
        TableSum { table: self.header.table, rows: self.rows, hash: self.hash.finalize().into() }
    }
}

/// Which of two rows comes first; `None` where a key is not of its kind.
fn compare_keys(key: &[(usize, String)], one: &[Value], other: &[Value]) -> Option<Ordering> {
    for (place, kind) in key {
        let (one, other) = (one.get(*place)?, other.get(*place)?);
        let order = match kind.as_str() {
            "number" => one.as_i64()?.cmp(&other.as_i64()?),
            "text" => one.as_str()?.cmp(other.as_str()?),
            _ => {
                let bytes = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str()?).ok();
                bytes(one)?.cmp(&bytes(other)?)
            }
        };
        if order != Ordering::Equal {
            return Some(order);
        }
    }
    Some(Ordering::Equal)
}

fn compare(sums: &[TableSum], statement: &Statement) -> Result<(), BackupFault> {
    for stated in &statement.tables {
        let found = sums.iter().find(|sum| sum.table == stated.table);
        let (table, stated_rows, found_rows) = (stated.table.clone(), stated.rows, found.map_or(0, |sum| sum.rows));
        match found_rows.cmp(&stated_rows) {
            Ordering::Less => {
                return Err(BackupFault::RowsMissing { table, found: found_rows, stated: stated_rows });
            }
            Ordering::Greater => {
                return Err(BackupFault::RowsAdded { table, found: found_rows, stated: stated_rows });
            }
            Ordering::Equal if found.is_some_and(|found| found.hash != stated.hash) => {
                return Err(BackupFault::Altered(table));
            }
            Ordering::Equal => {}
        }
    }
    let unknown = sums.iter().find(|sum| statement.tables.iter().all(|stated| stated.table != sum.table));
    match unknown {
        Some(sum) => Err(BackupFault::RowsAdded { table: sum.table.clone(), found: sum.rows, stated: 0 }),
        None => Ok(()),
    }
}
