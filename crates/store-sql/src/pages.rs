//! Tables as rows of values, whatever they are about: read page by page in the order of their keys, written many at once,
//! and summed up by a hash that is the same on every engine.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::engine::{Connection, Query, Result, Text, Value, query};
use super::tables::{Column, Kind, Table};
use signet_store::StoreFailure;

/// Rows of a page: of the widest table they are about eleven thousand values, which both engines take in one statement.
pub(crate) const PAGE: usize = 500;

/// A table's row, in the order of its columns.
pub type Values = Vec<Value>;

/// How many rows a table has, and a hash over all of them in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSum {
    /// The table.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 over the rows as lines of JSON, each ended by a newline.
    pub hash: [u8; 32],
}

/// The rows of a table after this key, in the order of the key; at most [`PAGE`].
pub(crate) async fn page(connection: &mut Connection, table: &Table, after: Option<&[Value]>) -> Result<Vec<Values>> {
    let (columns, key) = (names(table), table.key.join(", "));
    let (condition, values) = match after {
        None => (String::new(), Vec::new()),
        Some(after) => (format!(" WHERE ({key}) > ({})", parameters(1, table.key.len())), after.to_vec()),
    };
    let text = format!("SELECT {columns} FROM {}{condition} ORDER BY {key} LIMIT {PAGE}", table.name);
    let rows = Query { text: made(text), values, held: None, leaves_out: false }.fetch_all(connection).await?;
    rows.into_iter().map(|row| typed(table.columns, row.into_values())).collect()
}

/// The statement that adds rows of these columns to a table.
pub(crate) fn insertion(table: &str, columns: &[&Column], rows: Vec<Values>) -> (Text, Vec<Value>) {
    let width = columns.len();
    let places: Vec<String> = (0..rows.len()).map(|row| format!("({})", parameters(row * width + 1, width))).collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let text = format!("INSERT INTO {table} ({}) VALUES {}", names.join(", "), places.join(", "));
    (made(text), rows.into_iter().flatten().collect())
}

/// The key of a table's last row.
pub(crate) async fn last_key(connection: &mut Connection, table: &Table) -> Result<Option<Values>> {
    let backwards: Vec<String> = table.key.iter().map(|column| format!("{column} DESC")).collect();
    let key = table.key.join(", ");
    let text = format!("SELECT {key} FROM {} ORDER BY {} LIMIT 1", table.name, backwards.join(", "));
    Ok(query(made(text)).fetch_optional(connection).await?.map(super::engine::Row::into_values))
}

/// How many rows a table has.
pub(crate) async fn count(connection: &mut Connection, table: &Table) -> Result<u64> {
    let row = query(made(format!("SELECT COUNT(*) FROM {}", table.name))).fetch_one(connection).await?;
    u64::try_from(row.try_get::<i64, _>(0)?).map_err(|_| StoreFailure::Corrupt("row"))
}

/// Whether a table has any row.
pub(crate) async fn has_rows(connection: &mut Connection, table: &Table) -> Result<bool> {
    let text = format!("SELECT COUNT(*) FROM (SELECT 1 FROM {} LIMIT 1) AS first", table.name);
    query(made(text)).fetch_one(connection).await?.try_get(0)
}

/// What stands in a row's key.
pub(crate) fn key_of(table: &Table, row: &[Value]) -> Values {
    let place = |name: &&str| table.columns.iter().position(|column| column.name == *name);
    table.key.iter().filter_map(|name| row.get(place(name)?).cloned()).collect()
}

fn names(table: &Table) -> String {
    table.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

fn parameters(first: usize, count: usize) -> String {
    (first..first + count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

fn made(text: String) -> Text {
    Text::Made(text.into())
}

/// A null that was read is of no type; one that is written has its column's.
fn typed(columns: &[Column], values: Values) -> Result<Values> {
    let of = |(column, value): (&Column, Value)| match (column.kind, value) {
        (kind, Value::Number(None) | Value::Text(None) | Value::Bytes(None)) => Ok(null(kind)),
        (Kind::Number, value @ Value::Number(_))
        | (Kind::Text, value @ Value::Text(_))
        | (Kind::Bytes, value @ Value::Bytes(_)) => Ok(value),
        _ => Err(StoreFailure::Corrupt("row")),
    };
    columns.iter().zip(values).map(of).collect()
}

pub(crate) const fn null(kind: Kind) -> Value {
    match kind {
        Kind::Number => Value::Number(None),
        Kind::Text => Value::Text(None),
        Kind::Bytes => Value::Bytes(None),
    }
}

/// Sums a table up, row by row.
#[derive(Debug, Default)]
pub(crate) struct Summing {
    rows: u64,
    hash: Sha256,
    line: Vec<u8>,
}

impl Summing {
    /// Adds a row, and returns it as a line.
    pub(crate) fn add(&mut self, row: &[Value]) -> &[u8] {
        self.line.clear();
        write_line(row, &mut self.line);
        self.add_line();
        &self.line
    }

    fn add_line(&mut self) {
        self.rows = self.rows.saturating_add(1);
        self.hash.update(&self.line);
    }

    pub(crate) fn finish(self, table: &'static str) -> TableSum {
        TableSum { table, rows: self.rows, hash: self.hash.finalize().into() }
    }
}

/// Bytes as they stand in a line.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A row as a line of JSON: an array, in the order of the columns; bytes as base64url.
pub(crate) fn write_line(row: &[Value], line: &mut Vec<u8>) {
    line.push(b'[');
    for (place, value) in row.iter().enumerate() {
        if place > 0 {
            line.push(b',');
        }
        match value {
            Value::Number(Some(number)) => line.extend_from_slice(number.to_string().as_bytes()),
            Value::Text(Some(text)) => {
                line.extend_from_slice(serde_json::Value::from(text.as_str()).to_string().as_bytes())
            }
            Value::Bytes(Some(bytes)) => {
                line.push(b'"');
                line.extend_from_slice(base64url(bytes).as_bytes());
                line.push(b'"');
            }
            Value::Number(None) | Value::Text(None) | Value::Bytes(None) => line.extend_from_slice(b"null"),
        }
    }
    line.extend_from_slice(b"]\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table;

    #[test]
    fn a_row_is_a_line_whatever_stands_in_it() {
        let row = [
            Value::Number(Some(-7)),
            Value::Text(Some("a \"b\"\n\u{1}ü".to_owned())),
            Value::Bytes(Some(vec![0, 255])),
            Value::Text(None),
        ];
        let mut line = Vec::new();
        write_line(&row, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), "[-7,\"a \\\"b\\\"\\n\\u0001ü\",\"AP8\",null]\n");
    }

    #[test]
    fn a_null_that_was_read_takes_its_columns_type() {
        let columns = [
            Column { name: "a", kind: Kind::Number, decides: true },
            Column { name: "b", kind: Kind::Text, decides: true },
        ];
        let read = vec![Value::Bytes(None), Value::Text(Some("x".to_owned()))];
        assert_eq!(typed(&columns, read), Ok(vec![Value::Number(None), Value::Text(Some("x".to_owned()))]));
        assert!(typed(&columns, vec![Value::Text(Some("x".to_owned())), Value::Text(None)]).is_err());
    }

    #[test]
    fn every_page_fits_both_engines() {
        // SQLite takes 32,766 parameters, PostgreSQL 65,535.
        assert!(crate::tables::TABLES.iter().all(|table| table.columns.len() * PAGE < 32_766));
        let columns: Vec<&Column> = table("leases").unwrap().columns.iter().collect();
        let (text, values) = insertion("leases", &columns, vec![vec![null(Kind::Text); 3]; 2]);
        let expected = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3), ($4, $5, $6)";
        assert_eq!((text, values.len()), (Text::Made(expected.into()), 6));
    }
}
