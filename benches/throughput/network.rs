//! An imitated network HSM: how much of its limit comes out as tokens over HTTP, how long a token takes below the limit,
//! and what is left of it above.

use std::time::Duration;

use crate::deployment::{Deployment, Server};
use crate::{Failure, Measured, Shape, bare, load, paced, people};

/// So many requests wait for each HSM token at most (`queue`); an overload must find connections beside theirs.
const QUEUE: u64 = 1024;

/// Prints how the limit is used at these numbers of connections, at 80 % of it and at five times as much.
pub(crate) fn measure(deployment: &Deployment, shape: &Shape, time: Duration) -> Result<(), Failure> {
    let limit = shape.limit().ok_or("--operation-ms is missing")?;
    println!(
        "{} imitated network HSMs of {} sessions and {} ms an operation: {limit:.0} a second at most.\n",
        shape.tokens, shape.sessions, shape.operation_ms
    );
    println!("| load | connections | /s | of the limit | p50 ms | p99 ms | cores |");
    println!("|---|---|---|---|---|---|---|");
    bare(deployment, shape, limit, time)?;
    let server = deployment.serve("ES256")?;
    for connections in [64, 128] {
        let load = load::run(&server, connections, time)?;
        let (rate, micros) = (load.measured.rate, load.measured.cpu_micros);
        println!(
            "| as fast as answered | {connections} | {rate:.0} | {:.1} % | {:.1} | {:.1} | {:.2} |",
            100.0 * rate / limit,
            load.p50_millis,
            load.p99_millis,
            rate * micros / 1e6
        );
    }
    println!(
        "\n| asked for /s | sent /s | tokens /s | of the limit | p50 ms | p99 ms | refused /s | p50 ms | p99 ms | cores |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    bare_paced(deployment, shape, limit, time)?;
    for (share, connections) in [(0.8, 512), (5.0, usize::try_from(QUEUE * (shape.tokens + 1))?)] {
        paced(&server, limit, share, connections, time)?;
    }
    people::measure(deployment, &server, limit, time)
}

/// One process that does nothing but sign with one of the tokens.
fn bare(deployment: &Deployment, shape: &Shape, limit: f64, time: Duration) -> Result<(), Failure> {
    let Measured { rate, cpu_micros } = bare::measure(deployment, "ES256", shape.sessions, time)?;
    let share = 100.0 * rate * shape.tokens as f64 / limit;
    let cores = rate * cpu_micros / 1e6;
    println!("| bare module, one token, {} threads | | {rate:.0} | {share:.1} % | | | {cores:.2} |", shape.sessions);
    Ok(())
}

/// The same process at a pace that leaves it room: what this machine and the imitation add to an operation's time.
fn bare_paced(deployment: &Deployment, shape: &Shape, limit: f64, time: Duration) -> Result<(), Failure> {
    let per_second = 0.8 * limit / shape.tokens as f64;
    let times = bare::paced(deployment, "ES256", shape.sessions, time, per_second)?;
    let rate = times.count() as f64 / time.as_secs_f64();
    println!(
        "| bare module, one token, 80 %: {per_second:.0} | | {rate:.0} | {:.1} % | {:.1} | {:.1} | | | | |",
        100.0 * rate * shape.tokens as f64 / limit,
        times.millis(50),
        times.millis(99)
    );
    Ok(())
}

fn paced(server: &Server<'_>, limit: f64, share: f64, connections: usize, time: Duration) -> Result<(), Failure> {
    let load = paced::run(server, limit * share, connections, time)?;
    let (granted, refused) = (load.granted.sorted(), load.refused.sorted());
    let rate = granted.count() as f64 / load.seconds;
    println!(
        "| {:.0} % of the limit: {:.0} | {:.0} | {rate:.0} | {:.1} % | {:.1} | {:.1} | {:.0} | {:.1} | {:.1} | {:.2} |",
        share * 100.0,
        limit * share,
        load.offered,
        100.0 * rate / limit,
        granted.millis(50),
        granted.millis(99),
        refused.count() as f64 / load.seconds,
        refused.millis(50),
        refused.millis(99),
        load.cores
    );
    Ok(())
}
