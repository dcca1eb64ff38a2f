//! What the worker of each HSM token is told, and how many signatures it may have under way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::config::Config;
use signet_core::keys::{HsmName, SigningPolicy, TokenInfo};
use signet_hsm::{HsmConfig, HsmGroup};
use signet_service::custody::balance::InHand;

/// Starts the workers of a deployment whose store is not there yet, to look at its HSM tokens.
pub(crate) fn start_hsm_alone(config: &Config, is_careful: bool) -> anyhow::Result<Arc<HsmGroup>> {
    let (events, _) = mpsc::unbounded_channel();
    Ok(HsmGroup::start(own_program()?, hsm_configs(config, &[], is_careful), events)?)
}

/// Starts other workers for one HSM token than the configuration says, to measure what they give.
pub(crate) fn start_hsm_with(
    config: &Config,
    hsm: &HsmName,
    sessions: u32,
    workers: u32,
) -> anyhow::Result<Arc<HsmGroup>> {
    let (events, _) = mpsc::unbounded_channel();
    let of_name = config.hsm.iter().filter(|it| it.name == *hsm);
    let tokens = of_name
        .map(|it| {
            let policy = SigningPolicy { most_per_second: 0, ..it.policy.clone() };
            HsmConfig { sessions, workers, policy, is_careful: true, ..it.clone() }
        })
        .collect();
    Ok(HsmGroup::start(own_program()?, tokens, events)?)
}

/// This very program: a worker must speak the protocol of the server that starts it, also after the file was replaced by
/// a newer version.
pub(super) fn own_program() -> anyhow::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_owned());
    }
    std::env::current_exe().context("the path of this program can't be found")
}

/// What the server may have under way at once: what all queues hold, once more where a request is asked again.
pub(super) fn in_hand_at_most(config: &Config) -> InHand {
    let queue = |hsm: &HsmConfig| u64::from(hsm.queue) * u64::from(hsm.workers);
    InHand { tokens: config.hsm.iter().map(queue).sum::<u64>().saturating_mul(2), checkpoints: 2, reports: 0 }
}

/// The configured HSM tokens; `bound` are those that the deployment is bound to.
pub(super) fn hsm_configs(config: &Config, bound: &[(HsmName, TokenInfo)], is_careful: bool) -> Vec<HsmConfig> {
    let serial = |hsm: &HsmConfig| bound.iter().find(|(name, _)| *name == hsm.name).map(|(_, it)| it.serial.clone());
    config.hsm.iter().map(|hsm| HsmConfig { expected_serial: serial(hsm), is_careful, ..hsm.clone() }).collect()
}
