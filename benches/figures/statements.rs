//! What a token, a refresh and the store's part of a sign-in take of PostgreSQL: statements, each of which is a round trip,
//! commits, and bytes of its log.

use crate::growth::{Grown, Job, Size, WHAT};
use crate::support::postgres::Database;

/// How many are asked for in a measurement.
const ASKED: usize = 3200;

/// What the database counted.
struct Counted {
    statements: f64,
    commits: f64,
    log: f64,
}

impl Counted {
    fn of(database: &Database) -> Self {
        // Its own statements and commits are among them: some, of thousands.
        let number = |sql: &str| database.sql(sql).parse().unwrap();
        Self {
            statements: number(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
                WHERE d.datname = current_database()",
            ),
            commits: number("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"),
            log: number("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"),
        }
    }
}

/// Prints a table. `POSTGRES_PRELOAD=pg_stat_statements` has the server count.
pub(crate) async fn measure() {
    let database = Database::new();
    assert_eq!(
        database.sql("SHOW shared_preload_libraries"),
        "pg_stat_statements",
        "POSTGRES_PRELOAD=pg_stat_statements must be set"
    );
    let grown = Grown::of(database.open().await, Size::of(1000)).await;
    database.sql("CREATE EXTENSION pg_stat_statements");
    database.sql("ANALYZE");
    println!("| what | at once | statements each | commits each | bytes of log each |");
    println!("|---|---|---|---|---|");
    for (what, job) in WHAT {
        for at_once in [1, 8, 64] {
            measure_one(&database, &grown, (what, job), at_once).await;
        }
    }
}

async fn measure_one(database: &Database, grown: &std::sync::Arc<Grown>, (what, job): (&str, Job), at_once: usize) {
    // Pages are whole in the log the first time that they are written after a checkpoint.
    grown.all(job, ASKED, at_once).await;
    // Statistics of transactions come up to a second late.
    let settled = std::time::Duration::from_secs(2);
    tokio::time::sleep(settled).await;
    let before = Counted::of(database);
    grown.all(job, ASKED, at_once).await;
    tokio::time::sleep(settled).await;
    let after = Counted::of(database);
    let each = |of: fn(&Counted) -> f64| (of(&after) - of(&before)) / ASKED as f64;
    let (statements, commits, log) = (each(|it| it.statements), each(|it| it.commits), each(|it| it.log));
    println!("| {what} | {at_once} | {statements:.1} | {commits:.2} | {log:.0} |");
}
