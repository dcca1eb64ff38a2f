//! What can go wrong between here and the server, and what to tell of it.

use signet_store::StoreFailure;

/// What a failure of the driver's means.
pub(crate) fn failure_of(error: &sqlx::Error) -> StoreFailure {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreFailure::Corrupt("row")
        }
        sqlx::Error::Database(database) => {
            from_state(database.code().as_deref().unwrap_or_default(), database.message())
        }
        sqlx::Error::PoolTimedOut => {
            StoreFailure::Unavailable("no connection to read with became free in time".to_owned())
        }
        sqlx::Error::Io(error) => StoreFailure::Unavailable(format!("PostgreSQL can't be reached: {error}")),
        sqlx::Error::Tls(error) => StoreFailure::Unavailable(format!("TLS with PostgreSQL: {error}")),
        other => StoreFailure::Unavailable(other.to_string()),
    }
}

/// What to do about a pooler that hands sessions around.
pub(crate) const NO_SESSIONS: &str = "what stands before PostgreSQL does not keep a session's state (a pooler by transaction?): connect to \
    the server itself, or to a pooler by session that passes `options` on";

/// What to do about a role that lacks a right.
const MAY_NOT: &str = "the role may not do that: a role that serves gets its rights by `signet store migrate --serve-role`, and migrating \
    takes the role that owns the tables (`--as`)";

/// By SQLSTATE: appendix A of PostgreSQL's manual.
fn from_state(state: &str, message: &str) -> StoreFailure {
    let advice = match state {
        "28000" | "28P01" => "the server does not let this role in: check the name, `password_file` and pg_hba.conf",
        // PgBouncer says so of what a session is told at its beginning.
        "08P01" if message.contains("startup parameter") => return refused(NO_SESSIONS, message, state),
        "3D000" => return refused("there is no such database: make it first", message, state),
        "42P01" => {
            return refused(
                "the database has no schema of Signet's: run `signet store migrate`, then `signet init`",
                message,
                state,
            );
        }
        "42501" => return refused(MAY_NOT, message, state),
        "25006" => "the server takes no writes: it is a standby, or was made read-only",
        "40001" | "40P01" | "55P03" => {
            return StoreFailure::Busy(format!("another transaction was in the way: {message} ({state})"));
        }
        "57014" => "another node, or the server, took too long",
        "53100" => "the server's disk is full: free some space; nothing needs to be restarted",
        "53200" => "the server has no room for another lock, or no memory: raise max_locks_per_transaction",
        "53300" => "the server has no room for another connection: raise max_connections, or ask with fewer",
        "57P01" | "57P02" | "57P03" => "the server is stopping or starting",
        "XX001" | "XX002" => return StoreFailure::Corrupt("database"),
        _ => return StoreFailure::Unavailable(format!("{message} (SQLSTATE {state})")),
    };
    StoreFailure::Unavailable(format!("{advice} ({message}, SQLSTATE {state})"))
}

fn refused(advice: &str, message: &str, state: &str) -> StoreFailure {
    StoreFailure::Refused(format!("{advice} ({message}, SQLSTATE {state})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_failure() {
        assert!(matches!(from_state("42P01", "m"), StoreFailure::Refused(text) if text.contains("signet init")));
        assert!(matches!(from_state("53100", "m"), StoreFailure::Unavailable(text) if text.contains("disk is full")));
        assert_eq!(from_state("XX001", "m"), StoreFailure::Corrupt("database"));
        let pooler = from_state("08P01", "unsupported startup parameter: options");
        assert!(matches!(pooler, StoreFailure::Refused(text) if text.contains("pooler")));
        assert!(from_state("99999", "m").to_string().contains("SQLSTATE 99999"));
    }
}
