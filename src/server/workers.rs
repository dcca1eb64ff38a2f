//! What the worker of each HSM token is told, and how many signatures it may have under way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::config::{self, Config, StoreConfig};
use signet_core::keys::{HsmName, SigningPolicy, TokenInfo};
use signet_hsm::{Confinement, HsmConfig, HsmGroup, PinSource, Sandbox};
use signet_service::reconcile::Slack;

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
            let configured = hsm_config(config, it, &[], true);
            let policy = SigningPolicy { most_per_second: 0, ..configured.policy.clone() };
            HsmConfig { sessions, workers, policy, ..configured }
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
pub(super) fn server_slack(config: &Config) -> Slack {
    let queue = |hsm: &config::HsmConfig| hsm.queue as u64 * u64::from(hsm.workers);
    Slack { tokens: config.hsm.iter().map(queue).sum::<u64>().saturating_mul(2), checkpoints: 2, reports: 0 }
}

/// Where the workers count, and where the processes leave their marks.
pub(crate) fn state_folder(config: &Config) -> PathBuf {
    store_folder(config).unwrap_or_else(|| PathBuf::from("/"))
}

/// The folder of the store's file.
fn store_folder(config: &Config) -> Option<PathBuf> {
    let StoreConfig::Sqlite(path) = &config.store;
    path.parent().map(Path::to_owned)
}

/// What the workers of each configured HSM token are told; `bound` are the tokens that the deployment is bound to.
pub(super) fn hsm_configs(config: &Config, bound: &[(HsmName, TokenInfo)], is_careful: bool) -> Vec<HsmConfig> {
    config.hsm.iter().map(|hsm| hsm_config(config, hsm, bound, is_careful)).collect()
}

pub(super) fn hsm_config(
    config: &Config,
    hsm: &config::HsmConfig,
    bound: &[(HsmName, TokenInfo)],
    is_careful: bool,
) -> HsmConfig {
    HsmConfig {
        name: hsm.name.clone(),
        module: hsm.module.clone(),
        init_args: hsm.init_args.clone(),
        slot: hsm.slot.map(u64::from),
        token_label: hsm.token_label.clone(),
        pin: match &hsm.pin {
            config::PinSource::File(path) => PinSource::File(path.clone()),
            config::PinSource::Credential(name) => PinSource::Credential(name.clone()),
            config::PinSource::Prompt => PinSource::Prompt,
        },
        sessions: hsm.sessions,
        workers: hsm.workers,
        queue: u32::try_from(hsm.queue).unwrap_or(u32::MAX),
        deadline: hsm.deadline,
        expected_serial: bound.iter().find(|(name, _)| *name == hsm.name).map(|(_, token)| token.serial.clone()),
        environment: hsm.environment.clone().into_iter().collect(),
        state_directory: store_folder(config),
        is_careful,
        policy: signing_policy(config, hsm),
        confinement: confinement(hsm),
        worker_socket: hsm.worker.socket.clone(),
    }
}

/// What each worker of an HSM token signs; the ceiling is shared out among them.
fn signing_policy(config: &Config, hsm: &config::HsmConfig) -> SigningPolicy {
    SigningPolicy {
        issuers: vec![config.server.public_url.as_str().to_owned()],
        longest_token: config.tokens.access_lifetime,
        most_per_second: hsm.worker.max_signatures_per_second.div_ceil(hsm.workers.max(1)),
    }
}

fn confinement(hsm: &config::HsmConfig) -> Confinement {
    let sandbox = match hsm.worker.sandbox {
        config::Sandbox::Off => Sandbox::Off,
        config::Sandbox::Standard => Sandbox::Standard,
        config::Sandbox::Strict => Sandbox::Strict,
    };
    Confinement { sandbox, network: hsm.worker.network, writable: hsm.worker.writable.clone() }
}
