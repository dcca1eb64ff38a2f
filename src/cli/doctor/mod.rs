//! `signet doctor`: each check in turn, each fault with what to do. Exit code 0 only if Signet would serve.
//!
//! Nothing that is looked at is changed, but for a test signature by each active key, one durable write, and the test
//! signatures of the measurement. The PIN is presented as `signet serve` would, and not at all where the token says that
//! a wrong one was shown to it.

mod certificate;
mod finding;
mod keys;
mod machine;
mod policy;
mod speed;
mod store;
mod token;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Ended, Output};
use crate::config::Config;
use crate::server::{self, Need, Runtime};
use finding::Findings;
use signet_store::Membership as _;
use token::Tokens;

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
        let config = match Config::load_with_environment(path) {
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
        match Runtime::assemble(config.clone(), need, events).await {
            Ok(deployment) => self.examine_deployment(&deployment, started, output, findings).await,
            Err(error) => {
                findings.error("store", error);
                self.examine_hsm_alone(&config, findings).await;
            }
        }
    }

    async fn examine_deployment(
        &self,
        deployment: &Runtime,
        started: Instant,
        output: &Output,
        findings: &mut Findings,
    ) {
        store::examine(deployment, findings).await;
        policy::examine(deployment, findings).await;
        output.progress("waiting for the HSM tokens");
        let ready = deployment.hsm.ready_each(PATIENCE).await;
        let waited = started.elapsed();
        // A store that can't be read was told of above.
        let members = deployment.store.hsm_members().await.unwrap_or_default();
        let tokens = Tokens::ask(deployment.hsm.as_ref(), &deployment.config, &members).await;
        tokens.examine(deployment.config.tokens.algorithm, waited, findings);
        if ready.iter().any(|(_, outcome)| outcome.is_ok()) {
            let signing = keys::examine(deployment, &tokens, findings).await;
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
        let group = match server::start_hsm_alone(config, !self.present_pin) {
            Ok(group) => group,
            Err(error) => return findings.error("HSM", error),
        };
        // Each token is told of by itself below.
        let _ = group.ready_each(PATIENCE).await;
        let waited = started.elapsed();
        let tokens = Tokens::ask(group.as_ref(), config, &[]).await;
        tokens.examine(config.tokens.algorithm, waited, findings);
        group.shutdown().await;
    }
}
