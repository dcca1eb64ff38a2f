//! A backup: a file of lines, closed by one that was signed in the HSM over all that stands before it.
//!
//! | line | is |
//! |---|---|
//! | first | [`Header`]: which backup, of which deployment, at which moment, with which migrations |
//! | of a table | [`TableHeader`]: its name, its columns in order and its key |
//! | of a row | a JSON array, one member a column; bytes in base64url; rows come in the order of the table's key |
//! | last | `{"statement":"…"}`: a JWS over how many rows each table has, a hash over them, and one over the whole file before it |
//!
//! A part of one backup in another one, a part that is missing, that stands elsewhere, or that was changed is found, each
//! by its own words. What a backup alone can't tell is whether a later one was made.

mod read;
mod statement;

pub use read::{BackupFault, BackupReader, Section};
pub use statement::{Statement, StatementRefused, TableSum};

use serde::{Deserialize, Serialize};

use signet_jose::clock::Timestamp;

/// The format's version.
pub const FORMAT: u32 = 1;

/// A backup's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The format's version.
    #[serde(rename = "signet_backup")]
    pub format: u32,
    /// The backup's random name.
    pub id: String,
    /// The issuer whose deployment it is.
    pub issuer: String,
    /// The moment that it shows.
    pub at: String,
    /// The migrations that the store had: number and hash of each.
    pub schema: Vec<(i64, String)>,
}

/// What stands before a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableHeader {
    /// The table.
    pub table: String,
    /// The backup that it belongs to.
    pub backup: String,
    /// The columns, in order: name and kind (`number`, `text`, `bytes`).
    pub columns: Vec<(String, String)>,
    /// The columns of the key.
    pub key: Vec<String>,
}

/// A backup's last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// The statement's JWS.
    pub statement: String,
}

/// A line of the file: the JSON of one of these, and a newline.
/// Errors: never, for what is in this file.
pub fn line<T: Serialize>(of: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(of)?;
    line.push(b'\n');
    Ok(line)
}

impl Header {
    /// The first line of a backup that is made now.
    pub fn new(id: String, issuer: String, at: Timestamp, schema: Vec<(i64, String)>) -> Self {
        Self { format: FORMAT, id, issuer, at: at.to_string(), schema }
    }
}
