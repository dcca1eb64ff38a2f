//! `signet hsm-worker`: started by `signet serve`, or by systemd as a user of its own.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use super::wiring;
use crate::config::Config;
use signet_hsm::environment::inherited;
use signet_hsm::worker::{self, OwnConfiguration, inherited_socket_path, refuse_foreign};

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
            return worker::run(None);
        }
        match self.own_configuration(config) {
            Ok(own) if self.clean => worker::run(Some(own)),
            Ok(own) => {
                let error = self.start_again_clean(&own);
                eprintln!("signet hsm-worker: it can't start itself in a clean environment: {error}");
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("signet hsm-worker: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn own_configuration(&self, path: &Path) -> anyhow::Result<OwnConfiguration> {
        refuse_foreign(path)?;
        // Variables of the server's are no part of what root wrote.
        let config = Config::load(path, std::iter::empty())?;
        let section = match &self.hsm {
            Some(name) => config.hsm.iter().find(|hsm| hsm.name.as_str() == name),
            None => {
                let socket = inherited_socket_path()?;
                config.hsm.iter().find(|hsm| hsm.worker.socket.as_ref() == Some(&socket))
            }
        };
        let section = section.with_context(|| {
            format!("{} has no [[hsm]] of that name, or none whose worker_socket is this socket", path.display())
        })?;
        let state = self.state_directory.clone();
        let state = state.context("there is no --state-directory: StateDirectory= of the unit gives one")?;
        let mut hsm = wiring::hsm_config(&config, section, &[], false);
        hsm.state_directory = Some(state);
        Ok(OwnConfiguration { file: path.to_owned(), hsm })
    }

    /// The module reads its environment when it is loaded: this program runs once more, with what is meant for it.
    fn start_again_clean(&self, own: &OwnConfiguration) -> std::io::Error {
        let mut again = Command::new("/proc/self/exe");
        again.arg0("signet").env_clear().envs(inherited()).envs(own.hsm.environment.clone());
        again.args(["hsm-worker", "--own", "--clean", "--hsm", own.hsm.name.as_str()]);
        again.arg("--config").arg(&own.file);
        if let Some(state) = &own.hsm.state_directory {
            again.arg("--state-directory").arg(state);
        }
        again.exec()
    }
}
