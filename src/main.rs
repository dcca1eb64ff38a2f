//! The `signet` command.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    signet::cli::run()
}
