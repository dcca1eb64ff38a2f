//! `signet hsm-worker`: started by `signet serve`, or by systemd as a user of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::causes::with_causes;
use crate::server::{StandaloneWorker, run_worker};

/// Talk to one HSM token.
#[derive(Debug, clap::Args)]
pub(super) struct HsmWorker {
    /// Go by this worker's own configuration file, and take nothing from the server: how systemd starts it.
    #[arg(long)]
    own: bool,
    /// The [[hsm]] to serve; otherwise the one whose worker_socket is standard input.
    #[arg(long, value_name = "NAME", requires = "own")]
    hsm: Option<String>,
    /// Where this worker counts and remembers.
    #[arg(long, env = "STATE_DIRECTORY", value_name = "FOLDER")]
    state_directory: Option<PathBuf>,
    /// The environment is clean already.
    #[arg(long, hide = true)]
    clean: bool,
}

impl HsmWorker {
    /// Runs until the server hangs up.
    pub(super) fn run(&self, config: &Path) -> ExitCode {
        if !self.own {
            return run_worker();
        }
        match StandaloneWorker::configured(config, self.hsm.as_deref(), self.state_directory.clone()) {
            Ok(worker) if self.clean => worker.run(),
            Ok(worker) => {
                let error = worker.start_again_clean();
                eprintln!("signet hsm-worker: it can't start itself in a clean environment: {error}");
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("signet hsm-worker: {}", with_causes(&error));
                ExitCode::FAILURE
            }
        }
    }
}
