//! `[[hsm]]`, continued: where the worker of an HSM token runs, and what it may do there.

use std::path::PathBuf;

use super::ConfigError;
use super::section::Section;

/// The keys of an `[[hsm]]` that speak of its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmWorkerConfig {
    /// `max_signatures_per_second`: more access tokens are answered with 503; 0: as many as the HSM can.
    pub max_signatures_per_second: u32,
    /// `sandbox`: how much is taken from the worker.
    pub sandbox: Sandbox,
    /// `network`: whether the module talks to its HSM over the network.
    pub network: bool,
    /// `writable`: what the module writes to; absent, whatever its user may.
    pub writable: Option<Vec<PathBuf>>,
    /// `worker_socket`: where a worker that runs as its own user is reached; absent, the server starts the worker.
    pub socket: Option<PathBuf>,
}

/// How much is taken from a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Core dumps and debuggers only.
    Off,
    /// What the kernel offers.
    Standard,
    /// Everything, or no start.
    Strict,
}

impl HsmWorkerConfig {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let sandboxes = [("off", Sandbox::Off), ("standard", Sandbox::Standard), ("strict", Sandbox::Strict)];
        Ok(Self {
            max_signatures_per_second: section.integer("max_signatures_per_second", 0..=10_000_000, 0)?,
            sandbox: section.word("sandbox", &sandboxes, Sandbox::Standard)?,
            network: section.flag("network")?.unwrap_or(false),
            writable: writable(section)?,
            socket: section.path("worker_socket", "the path of a socket, e.g. \"/run/signet/hsm-primary.sock\",")?,
        })
    }
}

fn writable(section: &Section<'_>) -> Result<Option<Vec<PathBuf>>, ConfigError> {
    let expected = "a list of paths, e.g. [\"/var/lib/softhsm/tokens\"],";
    let Some(paths) = section.list("writable", expected)? else { return Ok(None) };
    if paths.iter().any(|path| path.is_empty() || path.contains('\0')) {
        return Err(section.unusable("writable", format!("{expected} is expected, none of them empty")));
    }
    Ok(Some(paths.iter().map(|path| section.resolve(path)).collect()))
}
