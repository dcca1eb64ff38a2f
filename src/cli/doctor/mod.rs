//! `signet doctor`: each check in turn, each fault with what to do. Exit code 0 only if Signet would serve.
//!
//! Nothing that is looked at is changed, but for a test signature by each active key, one durable write, and the test
//! signatures of the measurement. The PIN is presented as `signet serve` would, and not at all where the token says that
//! a wrong one was shown to it.

mod certificate;
mod finding;
mod keys;
mod machine;
mod speed;
mod store;
mod token;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use self::finding::Findings;
use super::Ended;
use super::output::Output;
use super::wiring::{self, Deployment, Need};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// Don't measure signatures a second.
    #[arg(long)]
    quick: bool,
    /// Present the PIN also where the token says that a wrong one was shown to it.
    #[arg(long)]
    present_pin: bool,
}

/// How long an HSM token has to answer.
const PATIENCE: Duration = Duration::from_secs(15);

impl Doctor {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let mut findings = Findings::new();
        self.examine(config, output, &mut findings).await;
        output.value(&findings, Findings::as_text)?;
        if findings.ok { Ok(()) } else { Err(Ended::Refused.into()) }
    }

    async fn examine(&self, path: &Path, output: &Output, findings: &mut Findings) {
        let config = match wiring::load_config(path) {
            Ok(config) => config,
            Err(error) => return findings.error("configuration", error),
        };
        findings.well("configuration", format!("{} is understood", path.display()));
        machine::examine_variables(std::env::vars_os(), findings);
        let clock = machine::examine_clock(findings);
        certificate::examine(&config, clock, findings);
        machine::examine_address(config.server.listen, findings);
        machine::examine_disks(&config, findings);
        let need = if self.present_pin { Need::Hsm } else { Need::HsmCarefully };
        let (events, _) = mpsc::unbounded_channel();
        let started = Instant::now();
        match Deployment::assemble(config.clone(), need, events).await {
            Ok(deployment) => self.examine_deployment(&deployment, started, output, findings).await,
            Err(error) => {
                findings.error("store", error);
                self.examine_hsm_alone(&config, findings).await;
            }
        }
    }

    async fn examine_deployment(
        &self,
        deployment: &Deployment,
        started: Instant,
        output: &Output,
        findings: &mut Findings,
    ) {
        store::examine(deployment, findings).await;
        output.progress("waiting for the HSM tokens");
        let ready = deployment.hsm.ready_each(PATIENCE).await;
        let waited = started.elapsed();
        for hsm in &deployment.config.hsm {
            token::examine(deployment.hsm.as_ref(), &deployment.config, &hsm.name, waited, findings).await;
        }
        if ready.iter().all(|(_, outcome)| outcome.is_ok()) {
            let signing = keys::examine(deployment, findings).await;
            if !self.quick && findings.ok {
                speed::examine(deployment, &signing, output, findings).await;
            }
        }
        deployment.hsm.shutdown().await;
        deployment.store.close().await;
    }

    /// The HSM tokens of a deployment that is not initialised: what they offer is what a newcomer wants to know.
    async fn examine_hsm_alone(&self, config: &Config, findings: &mut Findings) {
        let started = Instant::now();
        let group = match wiring::start_hsm_alone(config, !self.present_pin) {
            Ok(group) => group,
            Err(error) => return findings.error("HSM", error),
        };
        // Each token is told of by itself below.
        let _ = group.ready_each(PATIENCE).await;
        let waited = started.elapsed();
        for hsm in &config.hsm {
            token::examine(group.as_ref(), config, &hsm.name, waited, findings).await;
        }
        group.shutdown().await;
    }
}
