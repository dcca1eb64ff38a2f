//! Connecting: the first host that takes writes, and what a server must keep for a commit to be durable.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use signet_store::StoreFailure;
use signet_store_sql::engine::Result;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Row as _};

use super::fault::{NO_SESSIONS, failure_of};
use super::options::{PostgresOptions, place_of};

/// What says that a session is the one that this process began: a pooler that hands sessions around, or drops what it is told
/// at the beginning, gives another one.
const MARK: &str = "signet.session";

const CHECK: &str = "SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'),
    current_setting('synchronous_commit'), COALESCE(current_setting('signet.session', true), ''),
    current_setting('server_version_num')";

/// The oldest server that Signet is tested with.
const OLDEST: i64 = 150_000;

/// Why a host is not the one.
enum Passed {
    /// Another host may be.
    Next(String),
    /// No other host will be better.
    Refused(StoreFailure),
}

/// Connects to the first host that takes writes.
/// Errors: [`StoreFailure::Unavailable`] with what each host said; [`StoreFailure::Refused`] where a server, or what stands
/// before it, does not keep what is committed.
pub(crate) async fn connect(options: &PostgresOptions) -> Result<(PgConnection, PgConnectOptions)> {
    let mut passed = Vec::new();
    for host in &options.hosts {
        let settled = settled(options, host);
        match tokio::time::timeout(options.connect_timeout, connect_to(&settled)).await {
            Ok(Ok(connection)) => return Ok((connection, settled)),
            Ok(Err(Passed::Refused(failure))) => return Err(failure),
            Ok(Err(Passed::Next(why))) => passed.push(format!("{}: {why}", place_of(host))),
            Err(_) => passed.push(format!("{}: no answer in {:?}", place_of(host), options.connect_timeout)),
        }
    }
    Err(StoreFailure::Unavailable(format!("no host of PostgreSQL takes writes: {}", passed.join("; "))))
}

/// What every session is told at its beginning. A pooler that keeps no session state refuses these, or drops them, which
/// [`check`] sees.
fn settled(options: &PostgresOptions, host: &PgConnectOptions) -> PgConnectOptions {
    let timeout = options.statement_timeout.as_millis().to_string();
    let mark = RandomState::new().build_hasher().finish().to_string();
    host.clone().application_name("signet").options([
        ("synchronous_commit", "on"),
        ("statement_timeout", &timeout),
        ("lock_timeout", &timeout),
        ("idle_in_transaction_session_timeout", &timeout),
        ("default_transaction_isolation", "read committed"),
        (MARK, &mark),
    ])
}

async fn connect_to(settled: &PgConnectOptions) -> Result<PgConnection, Passed> {
    let mut connection = PgConnection::connect_with(settled).await.map_err(|error| match failure_of(&error) {
        refused @ StoreFailure::Refused(_) => Passed::Refused(refused),
        StoreFailure::Unavailable(why) => Passed::Next(why),
        other => Passed::Next(other.to_string()),
    })?;
    check(&mut connection, settled).await?;
    Ok(connection)
}

/// Looks at a session before anything is written or read by it.
async fn check(connection: &mut PgConnection, settled: &PgConnectOptions) -> Result<(), Passed> {
    let refused = |text: String| Err(Passed::Refused(StoreFailure::Refused(text)));
    let broken = |error: sqlx::Error| Passed::Next(failure_of(&error).to_string());
    let row = sqlx::query(CHECK).fetch_one(&mut *connection).await.map_err(broken)?;
    let text = |place: usize| row.try_get::<String, _>(place).map_err(broken);
    let options = settled.get_options().unwrap_or_default();
    // The mark is what the session was told last: the whole of it, not the beginning of another one.
    if !options.ends_with(&format!("{MARK}={}", text(4)?)) {
        return refused(NO_SESSIONS.to_owned());
    }
    for (place, name) in [(1, "fsync"), (2, "full_page_writes")] {
        if text(place)? != "on" {
            return refused(format!("the server has {name} off: what it commits can be lost; turn it on"));
        }
    }
    // An administrator may have made a stronger one.
    if !["on", "remote_apply"].contains(&text(3)?.as_str()) {
        return refused("the server does not take synchronous_commit = on: what it commits can be lost".to_owned());
    }
    if text(5)?.parse().map_or(true, |version: i64| version < OLDEST) {
        return refused(format!("the server is of version {}, and Signet needs PostgreSQL 15 or newer", text(5)?));
    }
    if row.try_get::<bool, _>(0).map_err(broken)? {
        return Err(Passed::Next("it is a standby, which takes no writes".to_owned()));
    }
    Ok(())
}

/// Judges the server behind a connection of the pool as [`check`] does.
/// Errors: the pool does not take the connection then.
pub(crate) async fn check_reader(connection: &mut PgConnection, settled: &PgConnectOptions) -> Result<(), sqlx::Error> {
    check(connection, settled).await.map_err(|passed| {
        sqlx::Error::Protocol(match passed {
            Passed::Next(why) => why,
            Passed::Refused(failure) => failure.to_string(),
        })
    })
}
