//! The `signet` command.

fn main() -> std::process::ExitCode {
    signet::cli::run()
}
