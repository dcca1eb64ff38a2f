//! The `signet` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("hsm-worker") => signet::hsm::worker::run(),
        _ => ExitCode::from(2),
    }
}
