//! Which HSM tokens the group has, and how that changes while it works.
//!
//! A token that comes is given requests once its workers answer. One that goes is given none from that moment, finishes
//! what it has in hand, and only then ends. A token whose configuration changed is both: its new workers must answer
//! before the old ones go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::spawner::Spawner;
use super::token::HsmToken;
use super::{HsmGroup, KILL_GRACE, SHUTDOWN_GRACE, link};
use crate::HsmConfig;
use signet_core::keys::{HsmError, HsmFailure, HsmName, HsmResult};

/// How long the workers of a changed configuration get to answer.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a token that goes is looked at.
const POLL: Duration = Duration::from_millis(10);

/// What a reconfiguration did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconfigured {
    /// Tokens that came.
    pub added: Vec<HsmName>,
    /// Tokens whose workers were replaced by ones of another configuration.
    pub changed: Vec<HsmName>,
    /// Tokens that went.
    pub removed: Vec<HsmName>,
}

/// One token with the tasks that look after its workers.
pub(super) struct Member {
    pub(super) token: Arc<HsmToken>,
    /// The workers end with it: their tasks hold the token, never this.
    stop: watch::Sender<bool>,
    supervisors: Mutex<Vec<JoinHandle<()>>>,
}

impl Member {
    /// Starts a token's workers, without waiting for them.
    pub(super) fn start(token: HsmToken, spawner: &Arc<Spawner>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let token = Arc::new(token);
        let supervise =
            |index| tokio::spawn(link::supervise(Arc::clone(&token), index, Arc::clone(spawner), stopping.clone()));
        let supervisors = Mutex::new((0..token.workers.count()).map(supervise).collect());
        Self { token, stop, supervisors }
    }

    /// Tells its workers to end.
    pub(super) fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end of its workers, though not for one that does not end when it is killed.
    pub(super) async fn ended(&self, until: Instant) {
        let supervisors = std::mem::take(&mut *self.supervisors.lock());
        for mut supervisor in supervisors {
            // A supervisor that panicked has no worker to wait for.
            if tokio::time::timeout_at(until, &mut supervisor).await.is_err() {
                supervisor.abort();
            }
        }
    }

    /// Lets what is in hand finish, then ends. Nobody may send it anything new.
    async fn retire(&self) {
        // A request that chose it just now may not have reached it yet.
        tokio::time::sleep(POLL).await;
        let patience = Instant::now() + self.token.config.deadline;
        while self.token.unanswered() > 0 && Instant::now() < patience {
            tokio::time::sleep(POLL).await;
        }
        self.ask_to_stop();
        self.ended(Instant::now() + SHUTDOWN_GRACE + KILL_GRACE).await;
    }
}

/// Refuses two tokens of one name.
pub(super) fn check_names(configs: &[HsmConfig]) -> Result<(), HsmFailure> {
    for (index, config) in configs.iter().enumerate() {
        if configs.iter().take(index).any(|earlier| earlier.name == config.name) {
            return Err(HsmFailure::Configuration(format!(
                "two [[hsm]] are named \"{}\"; each needs a name of its own",
                config.name
            )));
        }
    }
    Ok(())
}

/// The longest deadline of these tokens, in milliseconds.
pub(super) fn longest_deadline(configs: &[HsmConfig]) -> u64 {
    let longest = configs.iter().map(|config| config.deadline).max().unwrap_or_default();
    u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)
}

impl HsmGroup {
    /// Makes the group have these tokens, while it works: no request is lost by it. New tokens are not waited for; one
    /// whose configuration changed keeps its old workers until the new ones answer.
    /// Errors: [`HsmError`] with the token whose new workers don't answer: it goes on as it was, the other changes are
    /// made.
    pub async fn reconfigure(&self, configs: Vec<HsmConfig>) -> HsmResult<Reconfigured> {
        check_names(&configs).map_err(|failure| HsmError::new("reconfigure", failure))?;
        let _one_at_a_time = self.changing.lock().await;
        // Before any of them takes a request.
        self.longest_deadline.fetch_max(longest_deadline(&configs), Ordering::Relaxed);
        let (before, mut after, mut done) = (self.members.load_full(), Vec::new(), Reconfigured::default());
        let mut failed = None;
        for config in configs {
            let (name, old) = (config.name.clone(), before.iter().find(|old| *old.token.name() == config.name));
            match old {
                Some(old) if old.token.is_configured_as(&config) => after.push(Arc::clone(old)),
                Some(old) => match self.replacement(&old.token, config).await {
                    Ok(new) => {
                        after.push(new);
                        done.changed.push(name);
                    }
                    Err(error) => {
                        after.push(Arc::clone(old));
                        failed = Some(error);
                    }
                },
                None => {
                    let token = HsmToken::new(config, self.events.clone(), self.permits.clone());
                    after.push(Arc::new(Member::start(token, &self.spawner)));
                    done.added.push(name);
                }
            }
        }
        let goes = |old: &&Arc<Member>| !after.iter().any(|kept| Arc::ptr_eq(kept, old));
        let gone: Vec<Arc<Member>> = before.iter().filter(goes).cloned().collect();
        let is_there = |name: &HsmName| after.iter().any(|member| member.token.name() == name);
        done.removed = gone.iter().map(|old| old.token.name().clone()).filter(|name| !is_there(name)).collect();
        self.members.store(Arc::new(after));
        for old in gone {
            old.retire().await;
        }
        failed.map_or(Ok(done), Err)
    }

    /// Starts workers by a changed configuration and waits until they answer.
    async fn replacement(&self, old: &HsmToken, config: HsmConfig) -> HsmResult<Arc<Member>> {
        let name = config.name.clone();
        let member = Arc::new(Member::start(old.successor(config), &self.spawner));
        match member.token.workers.ready(Instant::now() + CHANGE_TIMEOUT).await {
            Ok(()) => Ok(member),
            Err(failure) => {
                member.ask_to_stop();
                member.ended(Instant::now() + SHUTDOWN_GRACE + KILL_GRACE).await;
                Err(HsmError::new(format!("change of {name}, which goes on as it was"), failure))
            }
        }
    }
}
