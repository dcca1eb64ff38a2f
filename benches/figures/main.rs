//! Figures that the documents give and that nothing is judged by: `cargo bench --bench figures -- WHAT`, with nothing else
//! running. `audit-record`: what an audit record costs. `rows`: what the MAC of a row costs. `modules`: what the way through a worker costs on each make of
//! PKCS#11 module, beside the bare module. `growth MAX_USERS PLOT.svg`: what tokens, refreshes and sign-ins cost the store as
//! a deployment grows. `statements`: what each of them takes of PostgreSQL.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that can't go on says so by panicking")]

mod audit_record;
mod growth;
mod modules;
mod rows;
mod statements;
#[expect(dead_code, reason = "what the tests use of it")]
#[path = "../../tests/support/mod.rs"]
mod support;

#[tokio::main(worker_threads = 2)]
async fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["audit-record"] => audit_record::measure().await,
        ["rows"] => rows::measure(),
        ["modules"] => modules::measure().await,
        ["growth", most] => growth::measure(most.parse().unwrap(), None).await,
        ["growth", most, plot] => growth::measure(most.parse().unwrap(), Some(plot.as_ref())).await,
        ["statements"] => statements::measure().await,
        ["bare-module", module, pin_file, threads] => modules::bare(module, pin_file, threads.parse().unwrap()),
        _ => panic!(
            "cargo bench --bench figures -- audit-record | rows | modules | statements | growth MAX_USERS [PLOT]"
        ),
    }
}
