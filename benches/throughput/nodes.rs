//! Several nodes over one PostgreSQL database beside one of them, in one run: each node has an imitated HSM of its own, so that
//! not the processors bound them. One, all, and one again: what else the machine does meanwhile shows in the difference.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Row as _};

use crate::deployment::{Deployment, Server};
use crate::{Failure, Shape, load};

/// Connections for each node.
const CONNECTIONS: usize = 32;
/// Within this long PostgreSQL tells of what it has done.
const TOLD: Duration = Duration::from_millis(1200);

/// What PostgreSQL says that it has done in the database.
struct Books {
    /// Statements, where `pg_stat_statements` counts them; each is one round trip, or one of several in one.
    statements: Option<f64>,
    transactions: f64,
    wal_bytes: f64,
}

fn books(url: &str) -> Result<Books, Failure> {
    std::thread::sleep(TOLD);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        let row = sqlx::query(
            "SELECT CAST(pg_current_wal_lsn() - '0/0' AS FLOAT8) AS wal,
                CAST((SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS FLOAT8) AS done,
                EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements') AS counts",
        );
        let row = row.fetch_one(&mut connection).await?;
        let statements = if row.try_get("counts")? {
            let calls = sqlx::query("SELECT CAST(SUM(calls) AS FLOAT8) AS calls FROM pg_stat_statements");
            Some(calls.fetch_one(&mut connection).await?.try_get("calls")?)
        } else {
            None
        };
        connection.close().await?;
        Ok(Books { statements, transactions: row.try_get("done")?, wal_bytes: row.try_get("wal")? })
    })
}

/// Prints tokens a second, and what a token costs, of one node, of all, and of one again.
pub(crate) fn measure(deployment: &Deployment, shape: &Shape, nodes: u64, time: Duration) -> Result<(), Failure> {
    let url = crate::text_argument("--store").filter(|url| url.starts_with("postgres://"));
    let url = url.ok_or("--nodes needs --store postgres://...")?;
    let limit = shape.limit().ok_or("--nodes needs --operation-ms")?;
    println!(
        "Each node with an imitated network HSM of {} sessions and {} ms an operation: {limit:.0} a second at most.\n",
        shape.sessions, shape.operation_ms
    );
    println!(
        "| nodes | tokens /s | of one node's | p50 ms | p99 ms | CPU µs a token, server | with workers | statements a token | \
         transactions a token | WAL bytes a token |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut servers = vec![deployment.serve("ES256")?];
    let one = row(&servers, &url, None, time)?;
    for number in 1..nodes {
        servers.push(deployment.join(&format!("node-{number}"))?);
    }
    row(&servers, &url, Some(one), time)?;
    servers.truncate(1);
    row(&servers, &url, Some(one), time)?;
    Ok(())
}

/// One measurement; the tokens a second.
fn row(servers: &[Server<'_>], url: &str, of_one: Option<f64>, time: Duration) -> Result<f64, Failure> {
    let own = || servers.iter().map(Server::own_cpu_seconds).sum::<Result<f64, Failure>>();
    let (before, cpu) = (books(url)?, own()?);
    let load = load::run_on(servers, servers.len() * CONNECTIONS, time)?;
    let cpu = own()? - cpu;
    let after = books(url)?;
    let rate = load.measured.rate;
    // The short load that comes before the measurement is in the books too, and in the server's own time.
    let tokens = load.warmed + load.count;
    let statements = after.statements.zip(before.statements).map(|(after, before)| (after - before) / tokens);
    println!(
        "| {} | {rate:.0} | {:.2} | {:.1} | {:.1} | {:.0} | {:.0} | {} | {:.2} | {:.0} |",
        servers.len(),
        rate / of_one.unwrap_or(rate),
        load.p50_millis,
        load.p99_millis,
        cpu * 1e6 / tokens,
        load.measured.cpu_micros,
        statements.map_or_else(|| "not counted".to_owned(), |statements| format!("{statements:.2}")),
        (after.transactions - before.transactions) / tokens,
        (after.wal_bytes - before.wal_bytes) / tokens,
    );
    Ok(rate)
}
