//! Tokens a second over HTTP beside the bare module's signatures, and verifications a second beside the bare library's,
//! all in one run on one machine: `make bench`. Prints Markdown.
//!
//! `cargo bench --bench throughput -- --seconds 2` makes each measurement shorter; `--workers 2` shards the HSM token
//! over two worker processes. `--sessions 16 --operation-ms 4` imitates a network HSM (`tests/fault-module`) and measures
//! other things: 16 operations at a time, 4 ms each, 4,000 a second at most; `--tokens 2` gives the deployment two of them.
//! `--store postgres://...` keeps the store in an empty PostgreSQL database instead of a SQLite file, and `--nodes 3`, with
//! that and `--operation-ms`, compares so many nodes with one.

mod bare;
mod deployment;
mod load;
mod network;
mod nodes;
mod paced;
mod people;
mod processes;
mod verification;

use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

/// What one measurement gave.
struct Measured {
    /// How many a second.
    rate: f64,
    /// CPU time of each, in microseconds, of all processes that take part but the load generator.
    cpu_micros: f64,
}

/// What a deployment is made of.
struct Shape {
    /// HSM tokens, and for each the worker processes, and the sessions of all of them together.
    tokens: u64,
    workers: u64,
    sessions: u64,
    /// How long each operation of the HSM takes; 0 is the module's own time.
    operation_ms: u64,
}

impl Shape {
    fn of_arguments() -> Result<Self, Failure> {
        Ok(Self {
            tokens: argument("--tokens", 1)?,
            workers: argument("--workers", 1)?,
            sessions: argument("--sessions", 2)?,
            operation_ms: argument("--operation-ms", 0)?,
        })
    }

    /// Operations a second at most; `None` where nothing but the machine bounds them.
    fn limit(&self) -> Option<f64> {
        let of_one = (self.sessions * 1000).checked_div(self.operation_ms)?;
        Some((self.tokens * of_one) as f64)
    }
}

fn main() -> Result<(), Failure> {
    if bare::is_child() {
        return bare::child();
    }
    let time = Duration::from_secs(argument("--seconds", 4)?);
    let shape = Shape::of_arguments()?;
    let deployment = deployment::Deployment::new(&shape)?;
    let nodes = argument("--nodes", 1)?;
    if nodes > 1 {
        return nodes::measure(&deployment, &shape, nodes, time);
    }
    if shape.limit().is_some() {
        return network::measure(&deployment, &shape, time);
    }
    let sessions = shape.sessions;
    println!("{sessions} sessions, {} worker processes, each measurement {} s.\n", shape.workers, time.as_secs());
    println!(
        "| algorithm | arrangement | connections | /s | CPU µs | p50 ms | p99 ms | rate ÷ bare | CPU above bare µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for algorithm in ["ES256", "RS256"] {
        measure(&deployment, algorithm, sessions, time)?;
    }
    verification::measure(&deployment, time)
}

fn measure(deployment: &deployment::Deployment, algorithm: &str, sessions: u64, time: Duration) -> Result<(), Failure> {
    let bare = bare::measure(deployment, algorithm, sessions, time)?;
    let (rate, cpu) = (bare.rate, bare.cpu_micros);
    println!("| {algorithm} | bare module, {sessions} sessions, token key | | {rate:.0} | {cpu:.0} | | | 1 | 0 |");
    let server = deployment.serve(algorithm)?;
    let (ready, idle) = (server.ready_after, server.memory("VmRSS")?);
    for connections in [1, 8, 64] {
        let load = load::run(&server, connections, time)?;
        let Measured { rate, cpu_micros } = load.measured;
        println!(
            "| {algorithm} | tokens over HTTP | {connections} | {rate:.0} | {cpu_micros:.0} | {:.2} | {:.2} | {:.2} | {:.0} |",
            load.p50_millis,
            load.p99_millis,
            rate / bare.rate,
            cpu_micros - cpu
        );
    }
    let peak = server.memory("VmHWM")?;
    eprintln!("{algorithm}: ready after {} ms, idle {idle} KiB, peak {peak} KiB (all processes)", ready.as_millis());
    Ok(())
}

/// The number behind a flag.
fn argument(flag: &str, default: u64) -> Result<u64, Failure> {
    Ok(text_argument(flag).map_or(Ok(default), |text| text.parse())?)
}

/// The text behind a flag.
fn text_argument(flag: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != flag).nth(1)
}
