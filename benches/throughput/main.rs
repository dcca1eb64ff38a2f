//! Tokens a second over HTTP beside the bare module's signatures, and verifications a second beside the bare library's,
//! all in one run on one machine: `make bench`. Prints Markdown.
//!
//! `cargo bench --bench throughput -- --seconds 2` makes each measurement shorter; `--workers 2` shards the HSM token
//! over two worker processes. `--sessions 16 --operation-ms 4` imitates a network HSM: 16 operations at a time, 4 ms each,
//! 4,000 a second at most (`tests/fault-module`); the bare module is measured without that.

mod bare;
mod deployment;
mod load;
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

fn main() -> Result<(), Failure> {
    if bare::is_child() {
        return bare::child();
    }
    let time = Duration::from_secs(argument("--seconds", 4)?);
    let workers = argument("--workers", 1)?;
    let sessions = argument("--sessions", 2)?;
    let operation_ms = argument("--operation-ms", 0)?;
    let deployment = deployment::Deployment::new(workers, sessions, operation_ms)?;
    println!("{sessions} sessions, {workers} worker processes, each measurement {} s.\n", time.as_secs());
    if let Some(most) = (sessions * 1000).checked_div(operation_ms) {
        println!("An imitated network HSM: {operation_ms} ms an operation, {most} a second at most.\n");
    }
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
    let mut arguments = std::env::args().skip_while(|argument| argument != flag).skip(1);
    Ok(arguments.next().map_or(Ok(default), |text| text.parse())?)
}
