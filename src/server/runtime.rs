//! A deployment that a process has open: configuration, store, HSM workers and issuer together.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::audit_key_file::AuditKeyFile;
use super::in_hand::InHandFile;
use super::{node_file, wiring, workers};
use crate::config::Config;
use crate::http::api::{ApiState, Host, Process};
use signet_core::keys::{HsmError, HsmName, KeyAdmin as _, LoginPermits};
use signet_core::random::OsRandom;
use signet_hsm::{HsmEvent, HsmGroup, PinSource};
use signet_jose::clock::SystemClock;
use signet_jose::{Jwk, JwkSet, VerifyingKey};
use signet_service::custody::balance::InHand;
use signet_service::hsm_logins::HsmLogins;
use signet_service::{Deployment, Ports};
use signet_store::{Keys as _, Membership as _};
use signet_store_sql::SqlStore;

/// What a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The store alone.
    Store,
    /// The store, and the HSM tokens that answer.
    Hsm,
    /// The store at once, and the HSM tokens as soon as one of them answers ([`Runtime::wait_for_any_hsm`]).
    HsmLater,
    /// The store and the HSM tokens, as a node that serves: before a worker presents its PIN, that is judged for all nodes together.
    Server,
    /// The store and the HSM tokens, for commands that only look: no PIN is presented where the token counts wrong
    /// tries.
    HsmCarefully,
    /// The store and every HSM token, making the store where there is none.
    HsmAndNewStore,
}

/// How long a command waits for its HSM tokens.
const HSM_PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for those that don't answer where others do.
const SOME_PATIENCE: Duration = Duration::from_secs(8);
/// What a command may have under way at once.
const A_COMMAND: InHand = InHand { tokens: 0, checkpoints: 1, reports: 1 };

/// What a person should hear while the HSM tokens are waited for.
pub(crate) enum Notice<'a> {
    /// This one does not answer yet.
    Waiting(&'a HsmName, HsmError),
    /// It does not answer, and the command goes on by the others.
    Without(&'a HsmName, &'a HsmError),
}

/// An open deployment.
pub(crate) struct Runtime {
    pub(crate) config: Config,
    pub(crate) store: Arc<SqlStore>,
    pub(crate) hsm: Arc<HsmGroup>,
    pub(crate) signet: Arc<Deployment>,
    need: Need,
    /// What this process may have under way is written there; nothing where nothing is signed.
    in_hand: OnceLock<Ending>,
}

/// Takes a secret that another node renewed, where one of the audit keys in this file signed it.
pub(super) async fn take_renewed_secret(signet: &Deployment, audit_keys: &Path) {
    let pinned = signet_text_file::read_to_string(audit_keys).ok();
    let in_file = |text: String| match JwkSet::from_json(&text) {
        Ok(set) => set.keys,
        Err(_) => Jwk::from_json(&text).into_iter().collect(),
    };
    let pinned: Vec<_> = pinned.map_or_else(Vec::new, in_file).into_iter().map(VerifyingKey::new).collect();
    match signet.renewal.take(&pinned).await {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!("the deployment's renewed secret was taken from what another node left for this one")
        }
        Err(error) => tracing::error!(%error, "the deployment's renewed secret can't be taken"),
    }
}

/// What judges the logins of this node's workers.
fn login_permits(config: &Config, store: Arc<SqlStore>) -> anyhow::Result<Arc<dyn LoginPermits>> {
    let node = node_file::node_id(config.store.folder())?;
    Ok(Arc::new(HsmLogins::new(store, Arc::new(SystemClock), node)))
}

/// Takes back what was said of this process, however it ends.
struct Ending {
    file: Arc<InHandFile>,
    signet: Arc<Deployment>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.file.end(self.signet.unaccounted());
    }
}

impl Runtime {
    /// Opens what a command needs and waits for its HSM tokens. `notify` hears of those that keep it waiting.
    pub(crate) async fn open(config: Config, need: Need, notify: &(dyn Fn(Notice<'_>) + Sync)) -> anyhow::Result<Self> {
        // A command tells faults by its exit; what happens to its workers meanwhile concerns nobody.
        let (events, _) = mpsc::unbounded_channel();
        let runtime = Self::assemble(config, need, events).await?;
        if !matches!(need, Need::Store | Need::HsmCarefully) {
            runtime.take_over(A_COMMAND)?;
        }
        if !matches!(need, Need::Store | Need::HsmLater) {
            runtime.wait_for_hsm(notify).await?;
        }
        Ok(runtime)
    }

    /// Waits for the HSM tokens of a command that needs them now and did not at first ([`Need::HsmLater`]), and can do its part by
    /// any of them.
    /// Errors: none answers.
    pub(crate) async fn wait_for_any_hsm(&self) -> anyhow::Result<()> {
        let outcomes = self.hsm.ready_each(HSM_PATIENCE).await;
        let any = outcomes.iter().any(|(_, outcome)| outcome.is_ok());
        if let (false, Some((_, Err(error)))) = (any, outcomes.into_iter().next()) {
            return Err(error.into());
        }
        self.signet.issuer().directory.fresh().await?;
        self.open_secret().await;
        Ok(())
    }

    /// Opens the store and starts the workers, without waiting for them.
    pub(crate) async fn assemble(
        config: Config,
        need: Need,
        events: mpsc::UnboundedSender<HsmEvent>,
    ) -> anyhow::Result<Self> {
        let anchor = Some(config.audit.anchor.clone());
        let store = wiring::open_store(&config, need == Need::HsmAndNewStore, anchor).await?;
        Self::over(config, need, events, store).await
    }

    /// Has an HSM token open the deployment's secret for a store that is open already, so that rows can be written.
    /// Errors: none of them does.
    pub(super) async fn open_secret_of(config: &Config, store: &Arc<SqlStore>) -> anyhow::Result<()> {
        let (events, _) = mpsc::unbounded_channel();
        let runtime = Self::over(config.clone(), Need::Hsm, events, store.clone()).await?;
        let outcomes = runtime.hsm.ready_each(HSM_PATIENCE).await;
        runtime.open_secret().await;
        runtime.hsm.shutdown().await;
        match store.has_row_keys() {
            true => Ok(()),
            false => {
                let why = outcomes.into_iter().find_map(|(_, outcome)| outcome.err());
                let why = why.map_or_else(|| "the secret does not open".to_owned(), |error| error.to_string());
                anyhow::bail!("rights are written under the deployment's secret, and no HSM token opens it: {why}")
            }
        }
    }

    /// Opens the deployment's secret. One that another node renewed is taken first, where one of the audit keys in the configured file
    /// signed it.
    pub(super) async fn open_secret(&self) {
        take_renewed_secret(&self.signet, &self.config.audit.public_key).await;
        self.signet.open_secret().await;
    }

    /// Starts the workers over a store, without waiting for them.
    async fn over(
        config: Config,
        need: Need,
        events: mpsc::UnboundedSender<HsmEvent>,
        store: Arc<SqlStore>,
    ) -> anyhow::Result<Self> {
        let bound = store.hsm_tokens().await?;
        let keys = store.keys().await?;
        let tokens = match need {
            Need::Store => Vec::new(),
            Need::Hsm | Need::HsmLater | Need::Server | Need::HsmCarefully | Need::HsmAndNewStore => {
                let is_careful = need == Need::HsmCarefully;
                workers::hsm_configs(&config, &bound, is_careful)
            }
        };
        let permits = if need == Need::Server { Some(login_permits(&config, store.clone())?) } else { None };
        let hsm = HsmGroup::start_as_a_node(workers::own_program()?, tokens, events, permits)?;
        hsm.use_keys(keys);
        let adapters = Ports {
            store: store.clone(),
            signer: hsm.clone(),
            vault: hsm.clone(),
            key_admin: hsm.clone(),
            hsm_health: hsm.clone(),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            validation_servers: Arc::new(wiring::validation_servers(&config)?),
        };
        let signet = Deployment::new(wiring::settings(&config)?, adapters);
        signet.balance.inherit(InHandFile::look(config.store.folder())?);
        Ok(Self { config, store, hsm, signet, need, in_hand: OnceLock::new() })
    }

    /// Becomes the process that signs as this node, whose lock the caller holds: takes over what those before left unsettled, and says
    /// what it may have under way itself.
    /// Errors: the state folder can't be written.
    pub(super) fn take_over(&self, in_hand: InHand) -> anyhow::Result<()> {
        let (file, left) = InHandFile::take_over(self.config.store.folder(), in_hand)?;
        self.signet.balance.inherit(left);
        let ending = Ending { file: Arc::new(file), signet: self.signet.clone() };
        self.in_hand.set(ending).map_err(|_| anyhow::anyhow!("this process is the node already"))
    }

    /// Where it stands what this process may have under way; nothing where it signs nothing.
    pub(super) fn in_hand(&self) -> Option<Arc<InHandFile>> {
        self.in_hand.get().map(|ending| ending.file.clone())
    }

    /// What the admin API is answered by in this process.
    pub(crate) fn api_state(&self, host: Arc<dyn Host>) -> ApiState {
        let process = Process {
            has_tls_key: self.config.has_tls_key(),
            store: self.store.clone(),
            audit_keys: self.config.audit.public_key.clone(),
            anchor: self.config.audit.anchor.clone(),
            own_rates: (self.need != Need::Server).then(|| self.config.hsm_rates.clone()),
        };
        ApiState::new(self.signet.clone(), process, host, self.config.admin.operators.clone())
    }

    /// Waits for the HSM tokens. Where some answer a command goes on with those, and says without which; `init` needs
    /// them all.
    async fn wait_for_hsm(&self, notify: &(dyn Fn(Notice<'_>) + Sync)) -> anyhow::Result<()> {
        let ready = async {
            if self.need == Need::Hsm && self.go_on_with_some(notify).await {
                return Ok(());
            }
            self.hsm.ready(HSM_PATIENCE).await
        };
        let slow = Duration::from_secs(2);
        tokio::pin!(ready);
        let ready = match tokio::time::timeout(slow, &mut ready).await {
            Ok(ready) => ready,
            Err(_) => {
                for hsm in self.signet.ports().key_admin.tokens() {
                    if let Err(error) = self.signet.ports().hsm_health.readiness(&hsm) {
                        notify(Notice::Waiting(&hsm, error));
                    }
                }
                ready.await
            }
        };
        if let Err(error) = ready {
            self.hsm.shutdown().await;
            return Err(error.into());
        }
        self.signet.issuer().directory.fresh().await?;
        if self.need != Need::HsmAndNewStore {
            self.open_secret().await;
        }
        Ok(())
    }

    /// Whether several tokens are configured and some of them answer.
    async fn go_on_with_some(&self, notify: &(dyn Fn(Notice<'_>) + Sync)) -> bool {
        let types_pin = self.config.hsm.iter().any(|hsm| hsm.pin == PinSource::Prompt);
        if self.config.hsm.len() < 2 || types_pin {
            return false;
        }
        let outcomes = self.hsm.ready_each(SOME_PATIENCE).await;
        let some_answer = outcomes.iter().any(|(_, outcome)| outcome.is_ok());
        for (hsm, outcome) in outcomes.iter().filter(|_| some_answer) {
            if let Err(error) = outcome {
                notify(Notice::Without(hsm, error));
            }
        }
        some_answer
    }

    /// Signs what was written to the audit log, where an HSM is at hand, and closes everything in order.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        if self.need != Need::Store
            && let Err(error) = self.signet.checkpoints.checkpoint().await
        {
            tracing::warn!(%error, "no checkpoint was signed; the server's next one covers this change");
        }
        self.hsm.shutdown().await;
        self.store.close().await;
        Ok(())
    }

    /// The file that this node judges the audit log by.
    pub(crate) fn audit_keys(&self) -> AuditKeyFile {
        let (path, store, signet) = (self.config.audit.public_key.clone(), self.store.clone(), self.signet.clone());
        AuditKeyFile::new(path, store, signet)
    }
}
