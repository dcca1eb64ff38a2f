//! A worker that systemd starts: it goes by a configuration file of its own, and takes nothing from the server.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::config::Config;
use signet_hsm::HsmConfig;
use signet_hsm::environment::inherited;
use signet_hsm::worker::{self, WorkerConfig, inherited_socket_path, refuse_foreign};

/// Runs a worker that the server started, until the server hangs up.
pub(crate) fn run_worker() -> ExitCode {
    worker::run(None)
}

/// A worker with a configuration file of its own.
pub(crate) struct StandaloneWorker(WorkerConfig);

impl StandaloneWorker {
    /// Reads the section of an HSM token, by its name or by the socket that is standard input.
    pub(crate) fn configured(path: &Path, hsm: Option<&str>, state: Option<PathBuf>) -> anyhow::Result<Self> {
        refuse_foreign(path)?;
        // Variables of the server's are no part of what root wrote.
        let config = Config::load(path, std::iter::empty())?;
        let section = match hsm {
            Some(name) => config.hsm.iter().find(|hsm| hsm.name.as_str() == name),
            None => {
                let socket = inherited_socket_path()?;
                config.hsm.iter().find(|hsm| hsm.worker_socket.as_ref() == Some(&socket))
            }
        };
        let section = section.with_context(|| {
            format!("{} has no [[hsm]] of that name, or none whose worker_socket is this socket", path.display())
        })?;
        let state = state.context("there is no --state-directory: the unit's StateDirectory= sets one")?;
        let hsm = HsmConfig { state_directory: Some(state), ..section.clone() };
        Ok(Self(WorkerConfig { file: path.to_owned(), hsm }))
    }

    /// Runs until the server hangs up.
    pub(crate) fn run(self) -> ExitCode {
        worker::run(Some(self.0))
    }

    /// Becomes this program once more with a clean environment, which the module reads when it is loaded. Returns only
    /// where that fails.
    pub(crate) fn start_again_clean(&self) -> std::io::Error {
        let Self(own) = self;
        let mut again = Command::new("/proc/self/exe");
        again.arg0("signet").env_clear().envs(inherited()).envs(&own.hsm.environment);
        again.args(["hsm-worker", "--own", "--clean", "--hsm", own.hsm.name.as_str()]);
        again.arg("--config").arg(&own.file);
        if let Some(state) = &own.hsm.state_directory {
            again.arg("--state-directory").arg(state);
        }
        again.exec()
    }
}
