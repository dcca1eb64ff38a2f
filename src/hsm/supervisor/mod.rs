//! The server's side: starts workers, starts them again, and gives each request to the one with the least to do.
//!
//! Nothing here blocks, and nothing here ever holds a PIN.

mod admin;
mod door;
mod link;
mod pipe;
mod signer;
mod spawner;
mod token;
mod vault;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::spawner::Spawner;
use self::token::HsmToken;
use super::{Confinement, PinSource};
use crate::jose::KeyId;
use crate::keys::{HsmError, HsmFailure, HsmKey, HsmName, SigningPolicy, TokenInfo};

/// How long the workers get to end by themselves at [`HsmGroup::shutdown`].
const FAREWELL: Duration = Duration::from_secs(2);

/// How much longer the end of all workers may take, those included that don't end when they are killed.
const LAST_ORDERS: Duration = Duration::from_secs(2);

/// One `[[hsm]]` of the configuration.
#[derive(Debug, Clone)]
pub struct HsmConfig {
    /// Its name in Signet.
    pub name: HsmName,
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub token_label: String,
    /// Where the worker reads the PIN.
    pub pin: PinSource,
    /// Sessions of each worker process; each is one thread.
    pub sessions: u32,
    /// Worker processes; more than one where the module's own locks are what limits it.
    pub workers: u32,
    /// The most unanswered requests of each worker process; more are [`HsmFailure::Overloaded`].
    pub queue: u32,
    /// How long a request may take, waiting included.
    pub deadline: Duration,
    /// The serial number that this deployment is bound to: another token under the same label is refused.
    pub expected_serial: Option<String>,
    /// Variables for the worker's environment beside the inherited ones, e.g. `SOFTHSM2_CONF`.
    pub environment: Vec<(String, String)>,
    /// Where it is remembered that a PIN was presented, where that can't be written beside the PIN's file. Without it a
    /// systemd credential is not presented at all.
    pub state_directory: Option<PathBuf>,
    /// Whether the PIN is held back where the token says that a wrong one was shown to it: for who only looks.
    pub is_careful: bool,
    /// What the worker signs, and nothing else.
    pub policy: SigningPolicy,
    /// What the worker may do on its machine.
    pub confinement: Confinement,
    /// Where a worker that runs as its own user is reached; without it the server starts its workers.
    pub worker_socket: Option<PathBuf>,
}

/// What happens to an HSM token, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HsmEvent {
    /// It answers.
    Up {
        /// Its name.
        hsm: HsmName,
        /// What it says it is.
        token: TokenInfo,
    },
    /// It does not answer any more, or did not start.
    Down {
        /// Its name.
        hsm: HsmName,
        /// Why.
        failure: HsmFailure,
    },
    /// It answered with a signature that does not verify. Its workers are started again.
    WrongSignature {
        /// Its name.
        hsm: HsmName,
        /// The key that was to sign.
        key_id: KeyId,
    },
}

/// All HSM tokens of the deployment: implements [`Signer`](crate::keys::Signer), [`Vault`](crate::keys::Vault) and
/// [`KeyAdmin`](crate::keys::KeyAdmin).
pub struct HsmGroup {
    tokens: Vec<Arc<HsmToken>>,
    keys: ArcSwap<Vec<HsmKey>>,
    events: mpsc::UnboundedSender<HsmEvent>,
    stop: watch::Sender<bool>,
    supervisors: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl HsmGroup {
    /// Starts `<program> hsm-worker` for each token. Does not wait for them: see [`ready`](Self::ready).
    ///
    /// Must be called inside a tokio runtime. The workers end when the group is dropped.
    ///
    /// # Errors
    ///
    /// [`HsmFailure::Configuration`] for two tokens of one name; [`HsmFailure::Unavailable`] where the system gives no
    /// thread to start processes from.
    pub fn start(
        program: PathBuf,
        configs: Vec<HsmConfig>,
        events: mpsc::UnboundedSender<HsmEvent>,
    ) -> Result<Arc<Self>, HsmError> {
        let fail = |failure| HsmError::new("start", failure);
        for (index, config) in configs.iter().enumerate() {
            if configs.iter().take(index).any(|earlier| earlier.name == config.name) {
                let detail = format!("two [[hsm]] are named \"{}\"; each needs a name of its own", config.name);
                return Err(fail(HsmFailure::Configuration { detail }));
            }
        }
        let spawner =
            Spawner::start(program).map_err(|error| fail(HsmFailure::Unavailable { detail: error.to_string() }))?;
        let spawner = Arc::new(spawner);
        let (stop, stopping) = watch::channel(false);
        let tokens: Vec<Arc<HsmToken>> =
            configs.into_iter().map(|config| Arc::new(HsmToken::new(config, events.clone()))).collect();
        let supervisors = tokens
            .iter()
            .flat_map(|token| (0..token.workers()).map(move |index| (Arc::clone(token), index)))
            .map(|(token, index)| tokio::spawn(link::supervise(token, index, Arc::clone(&spawner), stopping.clone())))
            .collect();
        let keys = ArcSwap::from_pointee(Vec::new());
        Ok(Arc::new(Self { tokens, keys, events, stop, supervisors: std::sync::Mutex::new(supervisors) }))
    }

    /// Waits until every token answers, and says of each whether it does: one that is broken is no reason not to serve
    /// with the others. In the order of the configuration.
    pub async fn ready_each(&self, timeout: Duration) -> Vec<(HsmName, Result<(), HsmError>)> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut outcomes = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            let fail = |failure| HsmError::new(format!("start of {}", token.name()), failure);
            outcomes.push((token.name().clone(), token.ready(deadline).await.map_err(fail)));
        }
        outcomes
    }

    /// Waits until every token answers.
    ///
    /// # Errors
    ///
    /// The failure of the first token that does not: at once where only a person can mend it, after `timeout` where it
    /// may pass.
    pub async fn ready(&self, timeout: Duration) -> Result<(), HsmError> {
        let deadline = tokio::time::Instant::now() + timeout;
        for token in &self.tokens {
            token
                .ready(deadline)
                .await
                .map_err(|failure| HsmError::new(format!("start of {}", token.name()), failure))?;
        }
        Ok(())
    }

    /// Reports that a signature of this token did not verify: an alarm, and its workers are started again.
    pub fn wrong_signature(&self, hsm: &HsmName, key_id: &KeyId) {
        // Where nobody listens to events, the log has it.
        let _ = self.events.send(HsmEvent::WrongSignature { hsm: hsm.clone(), key_id: key_id.clone() });
        tracing::error!(%hsm, %key_id, "the HSM answered with a signature that does not verify");
        if let Ok(token) = self.token(hsm) {
            token.restart_workers();
        }
    }

    /// The process ids of the token's workers that answer now.
    pub fn worker_process_ids(&self, hsm: &HsmName) -> Vec<u32> {
        self.token(hsm).map(|token| token.process_ids()).unwrap_or_default()
    }

    /// Ends all workers and waits for them, though not for one that does not end when it is killed.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let supervisors =
            std::mem::take(&mut *self.supervisors.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let until = tokio::time::Instant::now() + FAREWELL + LAST_ORDERS;
        for mut supervisor in supervisors {
            // A supervisor that panicked has no worker to wait for.
            if tokio::time::timeout_at(until, &mut supervisor).await.is_err() {
                supervisor.abort();
            }
        }
    }

    fn token(&self, hsm: &HsmName) -> Result<&Arc<HsmToken>, HsmFailure> {
        self.tokens.iter().find(|token| token.name() == hsm).ok_or_else(|| HsmFailure::Configuration {
            detail: format!("there is no [[hsm]] named \"{hsm}\" in the configuration"),
        })
    }
}
