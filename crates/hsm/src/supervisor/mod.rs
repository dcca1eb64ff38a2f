//! The server's side: starts workers, starts them again, and gives each request to the one with the least to do.
//!
//! Nothing here blocks, and nothing here ever holds a PIN.

mod admin;
mod breaker;
mod choice;
mod connect;
mod connection;
mod health;
mod link;
mod login;
mod membership;
mod service_rate;
mod signer;
mod spawner;
mod token;
mod vault;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use self::membership::{Member, longest_deadline};
use self::spawner::Spawner;
use self::token::HsmToken;
use crate::HsmConfig;
use signet_core::keys::{HsmError, HsmFailure, HsmKey, HsmName, HsmResult, LoginPermits, TokenInfo};
use signet_jose::KeyId;

pub use choice::Choice;
pub use membership::Reconfigured;

/// How long the workers get to end by themselves at [`HsmGroup::shutdown`].
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How much longer the end of all workers may take, those included that don't end when they are killed.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// What happens to an HSM token, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Its circuit breaker opened: it is given no requests while another token is healthy.
    Suspended {
        /// Its name.
        hsm: HsmName,
        /// Why.
        failure: HsmFailure,
    },
    /// A test signature verified: it is given requests again.
    Resumed {
        /// Its name.
        hsm: HsmName,
    },
    /// It answered with a signature that does not verify. Its workers are started again.
    WrongSignature {
        /// Its name.
        hsm: HsmName,
        /// The key that was to sign.
        key_id: KeyId,
    },
}

/// All HSM tokens of the deployment: implements the ports of [`signet_core::keys::ports`].
pub struct HsmGroup {
    members: ArcSwap<Vec<Arc<Member>>>,
    keys: ArcSwap<Vec<HsmKey>>,
    events: mpsc::UnboundedSender<HsmEvent>,
    permits: Option<Arc<dyn LoginPermits>>,
    spawner: Arc<Spawner>,
    /// One change of the members at a time.
    changing: tokio::sync::Mutex<()>,
    /// Rises with each choice, so that tokens with as much to do take turns.
    turn: AtomicUsize,
    /// In milliseconds.
    longest_deadline: AtomicU64,
}

impl HsmGroup {
    /// Starts `<program> hsm-worker` for each token. Does not wait for them: see [`ready`](Self::ready).
    ///
    /// Must be called inside a tokio runtime. The workers end when the group is dropped.
    /// Errors: [`HsmFailure::Configuration`] for two tokens of one name; [`HsmFailure::Unavailable`] where the system
    /// gives no thread to start processes from.
    pub fn start(
        program: PathBuf,
        configs: Vec<HsmConfig>,
        events: mpsc::UnboundedSender<HsmEvent>,
    ) -> HsmResult<Arc<Self>> {
        Self::start_as_a_node(program, configs, events, None)
    }

    /// As [`start`](Self::start), for one of several nodes: before a worker presents its PIN, `permits` judges that for all
    /// of them.
    pub fn start_as_a_node(
        program: PathBuf,
        configs: Vec<HsmConfig>,
        events: mpsc::UnboundedSender<HsmEvent>,
        permits: Option<Arc<dyn LoginPermits>>,
    ) -> HsmResult<Arc<Self>> {
        let fail = |failure| HsmError::new("start", failure);
        membership::check_names(&configs).map_err(fail)?;
        let spawner = Spawner::start(program).map_err(|error| fail(HsmFailure::Unavailable(error.to_string())))?;
        let spawner = Arc::new(spawner);
        let longest_deadline = AtomicU64::new(longest_deadline(&configs));
        let start = |config| Arc::new(Member::start(HsmToken::new(config, events.clone(), permits.clone()), &spawner));
        let members: Vec<Arc<Member>> = configs.into_iter().map(start).collect();
        Ok(Arc::new(Self {
            members: ArcSwap::from_pointee(members),
            keys: ArcSwap::from_pointee(Vec::new()),
            events,
            permits,
            spawner,
            changing: tokio::sync::Mutex::default(),
            turn: AtomicUsize::new(0),
            longest_deadline,
        }))
    }

    /// The longest deadline that any token of the group has had: of one that is gone, too, a request may still be with its
    /// worker.
    pub fn longest_deadline(&self) -> Duration {
        Duration::from_millis(self.longest_deadline.load(Ordering::Relaxed))
    }

    /// Waits until every token answers, and says of each whether it does: one that is broken is no reason not to serve
    /// with the others. In the order of the configuration.
    pub async fn ready_each(&self, timeout: Duration) -> Vec<(HsmName, HsmResult<()>)> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut outcomes = Vec::new();
        for token in self.tokens() {
            let fail = |failure| HsmError::new(format!("start of {}", token.name()), failure);
            outcomes.push((token.name().clone(), token.workers.ready(deadline).await.map_err(fail)));
        }
        outcomes
    }

    /// Waits until one token answers, or can't without a person.
    /// Errors: why it does not.
    pub async fn ready_one(&self, hsm: &HsmName, timeout: Duration) -> HsmResult<()> {
        let fail = |failure| HsmError::new(format!("start of {hsm}"), failure);
        let token = self.token(hsm).map_err(&fail)?;
        token.workers.ready(tokio::time::Instant::now() + timeout).await.map_err(fail)
    }

    /// Waits until every token answers.
    /// Errors: The failure of the first token that does not: at once where only a person can mend it, after `timeout`
    /// where it may pass.
    pub async fn ready(&self, timeout: Duration) -> HsmResult<()> {
        let deadline = tokio::time::Instant::now() + timeout;
        for token in self.tokens() {
            let ready = token.workers.ready(deadline).await;
            ready.map_err(|failure| HsmError::new(format!("start of {}", token.name()), failure))?;
        }
        Ok(())
    }

    /// The process ids of the token's workers that answer now.
    pub fn worker_process_ids(&self, hsm: &HsmName) -> Vec<u32> {
        self.token(hsm).map(|token| token.workers.process_ids()).unwrap_or_default()
    }

    /// Ends all workers and waits for them, though not for one that does not end when it is killed.
    pub async fn shutdown(&self) {
        let members = self.members.load_full();
        for member in members.iter() {
            member.ask_to_stop();
        }
        let until = tokio::time::Instant::now() + SHUTDOWN_GRACE + KILL_GRACE;
        for member in members.iter() {
            member.ended(until).await;
        }
    }

    fn tokens(&self) -> Vec<Arc<HsmToken>> {
        self.members.load().iter().map(|member| Arc::clone(&member.token)).collect()
    }

    fn token(&self, hsm: &HsmName) -> Result<Arc<HsmToken>, HsmFailure> {
        let members = self.members.load();
        let found = members.iter().find(|member| member.token.name() == hsm);
        found.map(|member| Arc::clone(&member.token)).ok_or_else(|| {
            HsmFailure::Configuration(format!("there is no [[hsm]] named \"{hsm}\" in the configuration"))
        })
    }
}
