//! What can go wrong between here and the file, and what to tell of it.

use signet_store::StoreFailure;

/// What a failure of the driver's means.
pub(super) fn failure_of(error: &sqlx::Error) -> StoreFailure {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreFailure::Corrupt("row")
        }
        sqlx::Error::Database(database) => from_sqlite(code_of(error), database.message()),
        sqlx::Error::PoolTimedOut => {
            StoreFailure::Unavailable("no connection to read with became free in time".to_owned())
        }
        other => StoreFailure::Unavailable(other.to_string()),
    }
}

/// Whether another process holds the lock.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code_of(error) & 0xff, 5 | 6)
}

fn code_of(error: &sqlx::Error) -> i64 {
    error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// SQLite's result codes: the low byte is the primary one (<https://www.sqlite.org/rescode.html>).
fn from_sqlite(code: i64, message: &str) -> StoreFailure {
    let advice = match code & 0xff {
        5 | 6 => "the database is locked: another process writes to it for too long; find and end it",
        8 => "the database can't be written: check the owner and the mode of the file and its folder",
        10 => "the disk failed: check it, and the system's log",
        11 => return StoreFailure::Corrupt("database file"),
        13 => "the disk is full: free some space; nothing needs to be restarted",
        14 => "the database can't be opened: check that the file and its folder exist and may be read and written",
        26 => return StoreFailure::Corrupt("file: it is no SQLite database"),
        _ => return StoreFailure::Unavailable(format!("{message} (SQLite code {code})")),
    };
    StoreFailure::Unavailable(format!("{advice} ({message}, SQLite code {code})"))
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnection;
    use sqlx::{Connection as _, Executor as _};

    use super::*;

    #[tokio::test]
    async fn a_full_disk_says_what_to_do() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        connection.execute("CREATE TABLE filler (bytes BLOB); PRAGMA max_page_count = 4").await.unwrap();
        let full = connection.execute("INSERT INTO filler VALUES (zeroblob(100000))").await.unwrap_err();
        let StoreFailure::Unavailable(text) = failure_of(&full) else { panic!("a full disk is no corruption") };
        assert!(text.starts_with("the disk is full: free some space"), "{text}");
    }

    #[test]
    fn every_code_has_its_failure() {
        let text = |code| from_sqlite(code, "message").to_string();
        assert!(text(5).contains("locked") && text(517).contains("locked"));
        assert!(text(778).contains("the disk failed") && text(1546).contains("the disk failed"));
        assert!(text(2067).contains("SQLite code 2067"));
        assert_eq!(from_sqlite(11, "message"), StoreFailure::Corrupt("database file"));
    }
}
