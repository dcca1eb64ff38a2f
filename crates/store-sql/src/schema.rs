//! The schema: scripts that are written once, in SQLite's words, and what those become on another engine.

use super::engine::{Dialect, Result};
use signet_store::StoreFailure;

/// The schema's scripts, in order: the first makes version 1. They never change once released.
pub const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_first.sql")];

/// The version that this program knows.
pub fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// What has to be run on a database of this version (0: an empty one), one statement after another.
/// Errors: [`StoreFailure::Refused`] where the database is newer than this program.
pub fn pending(version: i64, dialect: Dialect) -> Result<Vec<String>> {
    let known = known_version();
    let scripts = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)).ok_or_else(|| {
        StoreFailure::Refused(format!(
            "the database is of version {version}, and this program knows versions up to {known}: use a newer program"
        ))
    })?;
    Ok(scripts.iter().flat_map(|script| statements(script)).map(|text| of(&text, dialect)).collect())
}

/// Writes what a new database begins with, an audit chain of no record: its parameter is the hash of that, 32 zero bytes.
pub const FIRST_ROW: &str =
    "INSERT INTO deployment (id, generation, head_sequence, head_hash, head_at) VALUES (1, 0, 0, $1, 0)";

/// The statements of a script: no text in one holds a semicolon, and comments stand in lines of their own.
fn statements(script: &str) -> Vec<String> {
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with("--")).collect();
    let texts = lines.join("\n");
    texts.split(';').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// A statement in an engine's words. Texts are compared byte by byte on every engine.
fn of(text: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite => text.to_owned(),
        Dialect::Postgres => [
            (" STRICT, WITHOUT ROWID", ""),
            (" STRICT", ""),
            (" INTEGER", " BIGINT"),
            (" BLOB", " BYTEA"),
            (" TEXT", " TEXT COLLATE \"C\""),
        ]
        .iter()
        .fold(text.to_owned(), |text, (sqlite, postgres)| text.replace(sqlite, postgres)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_database_is_refused_and_a_current_one_needs_nothing() {
        assert!(pending(known_version() + 1, Dialect::Sqlite).is_err());
        assert!(pending(-1, Dialect::Postgres).is_err());
        assert!(pending(known_version(), Dialect::Postgres).unwrap().is_empty());
    }

    #[test]
    fn no_word_of_sqlites_is_left_for_postgresql() {
        for text in pending(0, Dialect::Postgres).unwrap() {
            assert!(!["STRICT", "ROWID", "INTEGER", "BLOB"].iter().any(|word| text.contains(word)), "{text}");
        }
    }
}
