//! `signet doctor`: each check in turn, each fault with what to do. Exit code 0 only if Signet would serve.
//!
//! What can be seen from outside is looked at here: configuration, clock, certificates, address, disks. A running server is asked for
//! the rest, which only it knows: store, policy, HSM tokens, keys. Where none runs this command opens them itself, under the node's
//! lock. Nothing that is looked at is changed, but for a test signature by each active key, one durable write, and the test
//! signatures of the measurement, which is made where no server runs alone: it would take the HSM tokens' time from those who sign
//! in. The PIN is presented as `signet serve` would, and not at all where the token says that a wrong one was shown to it.

mod certificate;
mod finding;
mod machine;
mod speed;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::admin::{self, Admin, Found};
use super::{Ended, Output};
use crate::causes::with_causes;
use crate::config::{Config, StoreConfig};
use crate::server::api::{Tokens, diagnose};
use crate::server::{self, Need, NodeHost, Runtime};
use signet_admin_api::diagnosis::Findings;
use signet_jose::Algorithm;
use signet_service::directory::RingKey;

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
        let mut findings = Findings::default();
        self.examine(config, output, &mut findings).await;
        output.value(&findings, finding::as_text)?;
        if findings.ok { Ok(()) } else { Err(Ended::Refused.into()) }
    }

    async fn examine(&self, path: &Path, output: &Output, findings: &mut Findings) {
        match Admin::named().await {
            Ok(Some(admin)) => return self.ask_another(&admin, findings).await,
            Ok(None) => {}
            Err(error) => return findings.error("server", with_causes(&error)),
        }
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
        // Where there is no folder yet, nobody runs in it.
        if !config.store.folder().exists() {
            return self.examine_here(&config, output, findings).await;
        }
        match admin::find(&config, output).await {
            Ok(Found::Server(admin)) => self.ask(&admin, findings).await,
            Ok(Found::Nobody(_lock)) => self.examine_here(&config, output, findings).await,
            Err(error) => findings.error("server", with_causes(&error)),
        }
    }

    /// Asks another machine's server, which says what it sees of itself.
    async fn ask_another(&self, admin: &Admin, findings: &mut Findings) {
        self.ask(admin, findings).await;
        findings.warn(
            "machine",
            "its configuration, clock, certificates and disks are seen there alone",
            "run `signet doctor` on that machine for them",
        );
    }

    /// Asks the running server.
    async fn ask(&self, admin: &Admin, findings: &mut Findings) {
        match admin.get::<Findings>(&["diagnosis"]).await {
            Ok(found) => {
                findings.well("server", "it runs, and says what follows of store, HSM tokens and keys");
                findings.extend(found);
            }
            Err(error) => findings.error("server", with_causes(&error)),
        }
        if !self.quick {
            findings.well("speed", "not measured beside a running server: stop it for that");
        }
    }

    /// Opens what a server would.
    async fn examine_here(&self, config: &Config, output: &Output, findings: &mut Findings) {
        if matches!(&config.store, StoreConfig::Sqlite(file) if !file.exists()) {
            findings.warn("store", "it is not made yet", "run `signet init`, which makes it with the keys");
            self.examine_hsm_alone(config, findings).await;
            // It would not serve, though nothing is wrong.
            findings.ok = false;
            return;
        }
        let need = if self.present_pin { Need::Hsm } else { Need::HsmCarefully };
        let (events, _) = mpsc::unbounded_channel();
        match Runtime::assemble(config.clone(), need, events).await {
            Ok(deployment) => self.examine_deployment(&deployment, output, findings).await,
            Err(error) => {
                findings.error("store", with_causes(&error));
                self.examine_hsm_alone(config, findings).await;
            }
        }
    }

    async fn examine_deployment(&self, deployment: &Runtime, output: &Output, findings: &mut Findings) {
        output.progress("waiting for the HSM tokens");
        let started = Instant::now();
        let ready = deployment.hsm.ready_each(PATIENCE).await;
        let answer = ready.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        if answer == ready.len() {
            findings.well("HSM", format!("all have logged in after {} ms", started.elapsed().as_millis()));
        }
        if answer > 0 {
            // What is read of the store from here on is checked.
            deployment.signet.open_secret().await;
        }
        findings.extend(diagnose(&deployment.api_state(Arc::new(NodeHost::of_a_command(deployment)))).await);
        if answer > 0 && !self.quick && findings.ok {
            let issuer = deployment.signet.issuer();
            let algorithm = issuer.settings.current().algorithm;
            let snapshot = issuer.directory.at_hand().await;
            let signing: Vec<Arc<RingKey>> =
                snapshot.map_or_else(|_| Vec::new(), |snapshot| snapshot.active(algorithm).cloned().collect());
            speed::examine(deployment, &signing, output, findings).await;
        }
        deployment.hsm.shutdown().await;
        deployment.store.close().await;
    }

    /// The HSM tokens of a deployment that is not initialised: what they offer is what a newcomer wants to know.
    async fn examine_hsm_alone(&self, config: &Config, findings: &mut Findings) {
        let group = match server::start_hsm_alone(config, !self.present_pin) {
            Ok(group) => group,
            Err(error) => return findings.error("HSM", with_causes(&error)),
        };
        // Each token is told of by itself below.
        let _ = group.ready_each(PATIENCE).await;
        let tokens = Tokens::ask(group.clone(), group.clone(), &[]).await;
        // What `init` makes keys for where nothing else is stated.
        tokens.examine(Algorithm::Es256, findings);
        group.shutdown().await;
    }
}
