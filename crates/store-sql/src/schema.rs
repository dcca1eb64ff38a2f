//! The schema: scripts that are written once, in SQLite's words, what those become on another engine, and the one list of
//! migrations that both engines hold a database against.
//!
//! A migration never changes once it is released: the database keeps its hash, and one of another hash, or one that this
//! program does not know, is refused. There is no way back. Every migration but the first only adds (a table, an index, a
//! column with a default), so that a node of the version before goes on beside it.

use sha2::{Digest as _, Sha256};

use super::engine::{Connection, Dialect, Result, Text, query};
use super::row::array;
use signet_jose::clock::Timestamp;
use signet_store::StoreFailure;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number, from 1 on.
    pub version: i64,
    /// What it is about.
    pub name: &'static str,
    /// Its statements, in SQLite's words.
    script: &'static str,
}

/// The schema's migrations, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "first", script: include_str!("migrations/0001_first.sql") },
    Migration { version: 2, name: "moves", script: include_str!("migrations/0002_moves.sql") },
    Migration { version: 3, name: "hsm_logins", script: include_str!("migrations/0003_hsm_logins.sql") },
    Migration { version: 4, name: "envelopes", script: include_str!("migrations/0004_envelopes.sql") },
    Migration { version: 5, name: "rules", script: include_str!("migrations/0005_rules.sql") },
    Migration { version: 6, name: "idempotency_keys", script: include_str!("migrations/0006_idempotency_keys.sql") },
    Migration { version: 7, name: "role_requests", script: include_str!("migrations/0007_role_requests.sql") },
    Migration { version: 8, name: "secret_renewals", script: include_str!("migrations/0008_secret_renewals.sql") },
    Migration { version: 9, name: "settings", script: include_str!("migrations/0009_settings.sql") },
    Migration { version: 10, name: "tries", script: include_str!("migrations/0010_tries.sql") },
];

impl Migration {
    /// SHA-256 over the script as it is in the program, whichever engine runs it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.script).into()
    }

    /// Its statements in an engine's words.
    pub fn statements(&self, dialect: Dialect) -> Vec<String> {
        statements(self.script).iter().map(|text| of(text, dialect)).collect()
    }
}

/// A migration that a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// The hash of its script.
    pub hash: [u8; 32],
}

/// How a database stands to this program's migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// It has all of them.
    Current,
    /// It has none, nor anything else of Signet's.
    Empty,
    /// It lacks those from this number on.
    Behind(i64),
}

const LIST: &str = "SELECT version, name, hash FROM schema_migrations ORDER BY version";
const ADD: &str = "INSERT INTO schema_migrations (version, name, hash, applied_at) VALUES ($1, $2, $3, $4)";
const KEEP_LIST: &str = "CREATE TABLE schema_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    hash       BLOB    NOT NULL CHECK (length(hash) = 32),
    applied_at INTEGER NOT NULL
) STRICT";

/// Whether there is a table of this name: `{table}`.
fn has_table(table: &str) -> Text {
    Text::Each {
        sqlite: format!("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '{table}'").into(),
        postgres: format!(
            "SELECT COUNT(*) FROM (SELECT to_regclass('{table}') AS found) AS asked WHERE found IS NOT NULL"
        )
        .into(),
    }
}

async fn has(connection: &mut Connection, table: &str) -> Result<bool> {
    query(has_table(table)).fetch_one(connection).await?.try_get(0)
}

/// What a database has of the migrations.
/// Errors: [`StoreFailure::Refused`] where it has tables of Signet's and no list of migrations; what the engine says.
pub async fn applied(connection: &mut Connection) -> Result<Vec<Applied>> {
    if !has(connection, "schema_migrations").await? {
        if has(connection, "users").await? {
            return Err(StoreFailure::Refused(
                "the database was made by an unreleased program, which kept no list of its migrations: start with a new one"
                    .to_owned(),
            ));
        }
        return Ok(Vec::new());
    }
    let rows = query(LIST).fetch_all(connection).await?;
    let of = |row: &super::engine::Row| {
        Ok(Applied { version: row.try_get("version")?, name: row.try_get("name")?, hash: array(row, "hash")? })
    };
    rows.iter().map(of).collect()
}

/// How a database with these migrations stands to those that this program knows.
/// Errors: [`StoreFailure::Refused`] where it has one that is unknown, or was another one.
pub fn state_of(applied: &[Applied]) -> Result<SchemaState> {
    state_by(applied, MIGRATIONS)
}

fn state_by(applied: &[Applied], known: &[Migration]) -> Result<SchemaState> {
    for (place, found) in applied.iter().enumerate() {
        let Applied { version, name, hash } = found;
        let Some(known) = known.get(place) else {
            return Err(StoreFailure::Refused(format!(
                "the database has migration {version} ({name}), which this program does not know: use a newer program"
            )));
        };
        if known.version != *version || known.hash() != *hash {
            return Err(StoreFailure::Refused(format!(
                "migration {version} ({name}) of the database is not this program's migration {} ({}): the database was \
                 changed, or made by a build that was never released; use the program that made it",
                known.version, known.name
            )));
        }
    }
    Ok(match known.get(applied.len()) {
        None => SchemaState::Current,
        Some(_) if applied.is_empty() => SchemaState::Empty,
        Some(next) => SchemaState::Behind(next.version),
    })
}

/// Whether this program can work on a database as it is.
/// Errors: [`StoreFailure::Refused`] with what to do where it can't.
pub async fn check(connection: &mut Connection) -> Result<()> {
    match state_of(&applied(connection).await?)? {
        SchemaState::Current => Ok(()),
        SchemaState::Empty => Err(StoreFailure::Refused(
            "the database is empty: run `signet store migrate` as the role that owns it, then `signet init`".to_owned(),
        )),
        SchemaState::Behind(next) => Err(StoreFailure::Refused(format!(
            "the database lacks migration {next} and what follows it: run `signet store migrate` with this program"
        ))),
    }
}

/// Applies what is missing, inside a transaction that the engine has begun and under its lock; returns what that was.
/// Runs no statement that changes anything where nothing is missing.
/// Errors: as for [`state_of`]; what the engine says, and nothing changed once it has rolled back.
pub async fn migrate(connection: &mut Connection, dialect: Dialect, at: Timestamp) -> Result<Vec<&'static Migration>> {
    let found = applied(connection).await?;
    if state_of(&found)? == SchemaState::Current {
        return Ok(Vec::new());
    }
    if found.is_empty() {
        run(connection, of(KEEP_LIST, dialect)).await?;
    }
    let missing: Vec<&Migration> = MIGRATIONS.iter().skip(found.len()).collect();
    for migration in &missing {
        for statement in migration.statements(dialect) {
            run(connection, statement).await?;
        }
        let row = query(ADD).bind(migration.version).bind(migration.name).bind(migration.hash()).bind(at);
        row.execute(connection).await?;
    }
    Ok(missing)
}

async fn run(connection: &mut Connection, statement: String) -> Result<()> {
    query(Text::Made(statement.into())).execute(connection).await.map(drop)
}

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

    fn of_all(known: &[Migration]) -> Vec<Applied> {
        let of =
            |known: &Migration| Applied { version: known.version, name: known.name.to_owned(), hash: known.hash() };
        known.iter().map(of).collect()
    }

    const TWO: [Migration; 2] = [
        Migration { version: 1, name: "one", script: "CREATE TABLE one (id INTEGER) STRICT;" },
        Migration { version: 2, name: "two", script: "CREATE TABLE two (id INTEGER) STRICT;" },
    ];

    #[test]
    fn a_database_is_current_behind_or_empty() {
        assert_eq!(state_by(&of_all(&TWO), &TWO), Ok(SchemaState::Current));
        assert_eq!(state_by(&of_all(&TWO[..1]), &TWO), Ok(SchemaState::Behind(2)));
        assert_eq!(state_by(&[], &TWO), Ok(SchemaState::Empty));
    }

    #[test]
    fn an_unknown_or_changed_migration_is_refused() {
        let unknown = state_by(&of_all(&TWO), &TWO[..1]).unwrap_err().to_string();
        assert!(unknown.contains("migration 2 (two)") && unknown.contains("newer program"), "{unknown}");
        let changed = [TWO[0], Migration { script: "CREATE TABLE two (id TEXT) STRICT;", ..TWO[1] }];
        let changed = state_by(&of_all(&changed), &TWO).unwrap_err().to_string();
        assert!(changed.contains("migration 2 (two) of the database is not"), "{changed}");
        let mut swapped = of_all(&TWO);
        swapped.reverse();
        assert!(state_by(&swapped, &TWO).is_err());
    }

    #[test]
    fn migrations_are_numbered_in_order_and_only_the_first_makes_what_older_nodes_know() {
        for (place, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(migration.version), Ok(place + 1));
            for text in migration.statements(Dialect::Sqlite).iter().filter(|_| migration.version > 1) {
                let adds = ["CREATE TABLE ", "CREATE INDEX "].iter().any(|word| text.starts_with(word));
                let column = text.starts_with("ALTER TABLE ") && text.contains(" ADD COLUMN ");
                assert!(adds || (column && (text.contains(" DEFAULT ") || !text.contains(" NOT NULL"))), "{text}");
            }
        }
    }

    #[test]
    fn no_word_of_sqlites_is_left_for_postgresql() {
        let texts = MIGRATIONS.iter().flat_map(|migration| migration.statements(Dialect::Postgres));
        for text in texts.chain([of(KEEP_LIST, Dialect::Postgres)]) {
            assert!(!["STRICT", "ROWID", "INTEGER", "BLOB"].iter().any(|word| text.contains(word)), "{text}");
        }
    }
}
