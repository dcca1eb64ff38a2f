//! One HSM token as the server sees it: what is asked of its workers, and what their answers say of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::HsmEvent;
use super::breaker::Breaker;
use super::connection::Connection;
use super::workers::{Stage, Workers};
use crate::HsmConfig;
use crate::wire::{Answer, Operation};
use signet_core::keys::{HsmError, HsmFailure, HsmName, HsmResult, LoginPermits, TokenHealth};

/// Generating an RSA key takes an HSM seconds to a minute.
const MANAGEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a request failed, and the worker that it was for; none where there was none to ask.
type Missed = (HsmError, Option<usize>);

/// The token with its workers.
pub(super) struct HsmToken {
    pub(super) config: HsmConfig,
    pub(super) workers: Workers,
    pub(super) breaker: Breaker,
    /// Who judges logins for all nodes; without it each worker goes by its machine's own files.
    pub(super) permits: Option<Arc<dyn LoginPermits>>,
    events: mpsc::UnboundedSender<HsmEvent>,
    /// What was last told about the token; nothing at first.
    told_up: Mutex<Option<bool>>,
    /// How many workers in a row were killed because nothing at all was answered.
    pub(super) killed_as_stuck: AtomicU32,
    /// Signatures that a worker was asked for after another one had died over them.
    pub(super) asked_again: Arc<AtomicU64>,
    is_failing: AtomicBool,
    last_failure: Mutex<Option<HsmError>>,
}

impl HsmToken {
    /// A token whose workers are about to start.
    pub(super) fn new(
        config: HsmConfig,
        events: mpsc::UnboundedSender<HsmEvent>,
        permits: Option<Arc<dyn LoginPermits>>,
    ) -> Self {
        Self {
            workers: Workers::new(config.workers.max(1)),
            config,
            breaker: Breaker::default(),
            permits,
            events,
            told_up: Mutex::new(None),
            killed_as_stuck: AtomicU32::new(0),
            asked_again: Arc::default(),
            is_failing: AtomicBool::new(false),
            last_failure: Mutex::new(None),
        }
    }

    /// This token by another configuration. Its workers take the place of this one's once they answer; that they don't yet
    /// is no event. Signatures that were asked again of either are counted together.
    pub(super) fn successor(&self, config: HsmConfig) -> Self {
        let (asked_again, told_up) = (Arc::clone(&self.asked_again), Mutex::new(Some(false)));
        Self { asked_again, told_up, ..Self::new(config, self.events.clone(), self.permits.clone()) }
    }

    /// Its name.
    pub(super) fn name(&self) -> &HsmName {
        &self.config.name
    }

    /// Whether a configuration asks for the same workers. That the deployment was bound to the token since it was
    /// started asks for no other ones.
    pub(super) fn is_configured_as(&self, config: &HsmConfig) -> bool {
        let mut own = self.config.clone();
        if own.expected_serial.is_none() {
            own.expected_serial.clone_from(&config.expected_serial);
        }
        own == *config
    }

    /// Whether requests are sent to it: a worker answers, and nothing speaks against it.
    pub(super) fn is_healthy(&self) -> bool {
        self.breaker.is_closed() && self.workers.any_is_up()
    }

    /// Records a signature that was asked for at `asked_at` and verified.
    pub(super) fn prove(&self, asked_at: Instant) {
        if self.breaker.proved(asked_at) {
            let _ = self.events.send(HsmEvent::Resumed { hsm: self.config.name.clone() });
        }
    }

    /// Records one worker's stage, and tells when the token as a whole went up or down.
    pub(super) fn enter(&self, index: usize, stage: Stage) {
        let mut told_up = self.told_up.lock();
        let was_up = self.workers.is_up(index);
        self.workers.set(index, stage.clone());
        let is_up = self.workers.any_is_up();
        match &stage {
            Stage::Up(..) => self.breaker.renewed(Instant::now()),
            Stage::Down(failure) | Stage::Failed(failure) if was_up => self.count_failure(failure),
            Stage::Down(_) | Stage::Failed(_) => {}
        }
        if *told_up == Some(is_up) {
            return;
        }
        *told_up = Some(is_up);
        let hsm = self.config.name.clone();
        let event = match stage {
            Stage::Up(_, worker) => HsmEvent::Up { hsm, token: worker.report.token },
            Stage::Down(failure) | Stage::Failed(failure) => HsmEvent::Down { hsm, failure },
        };
        // Where nobody listens to events, the log has it.
        tracing::debug!(?event, "HSM token");
        let _ = self.events.send(event);
    }

    /// How it does among the others.
    pub(super) fn health(&self) -> TokenHealth {
        match (self.workers.pick(|_| true), self.breaker.reason()) {
            (Err(failure), _) => TokenHealth::Away(failure),
            (Ok(_), Some(reason)) => TokenHealth::Suspended { reason },
            (Ok(_), None) => TokenHealth::Serving,
        }
    }

    /// Whether the token answers, as far as is known without asking it.
    pub(super) fn readiness(&self) -> HsmResult<()> {
        self.workers.pick(|_| true).map_err(|failure| HsmError::new("health", failure))?;
        if let Some(reason) = self.breaker.reason().filter(|_| !self.breaker.answers()) {
            return Err(HsmError::new("health", reason));
        }
        if !self.is_failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.last_failure.lock().clone().map_or(Ok(()), Err)
    }

    /// How much waits at its workers, in thousandths of a request for each session.
    pub(super) fn load(&self) -> usize {
        let workers = self.workers.live().count();
        let sessions = workers.saturating_mul(usize::try_from(self.config.sessions.max(1)).unwrap_or(usize::MAX));
        self.unanswered().saturating_mul(1000) / sessions.max(1)
    }

    /// Whether one of its workers has room for a request that has the deadline's time; `None` where no worker answers.
    pub(super) fn has_room(&self) -> Option<bool> {
        let mut live = self.workers.live().peekable();
        live.peek()?;
        Some(live.any(|(_, connection)| connection.has_room(self.config.deadline)))
    }

    /// How many requests its workers have not answered yet.
    pub(super) fn unanswered(&self) -> usize {
        self.workers.live().map(|(_, connection)| connection.load()).sum()
    }

    /// Asks a worker and waits for its answer. What can be done twice is tried once more where the worker died.
    pub(super) async fn call(&self, operation: Operation) -> HsmResult<Answer> {
        let patience = if operation.is_management() { MANAGEMENT_TIMEOUT } else { self.config.deadline };
        self.call_within(patience, operation).await
    }

    /// Asks a worker and waits for its answer for so long at most. What can be done twice is tried once more where the
    /// worker died.
    pub(super) async fn call_within(&self, patience: Duration, operation: Operation) -> HsmResult<Answer> {
        let deadline = Instant::now() + patience;
        let mut outcome = self.ask_one(&operation, patience, deadline, None).await;
        if let Err((HsmError { failure: HsmFailure::Unavailable(_), was_asked, .. }, Some(died))) = outcome
            && operation.is_idempotent()
            && self.workers.pick(|index| index != died).is_ok()
        {
            if was_asked && matches!(operation, Operation::Sign { .. }) {
                self.asked_again.fetch_add(1, Ordering::Relaxed);
            }
            outcome = self.ask_one(&operation, patience, deadline, Some(died)).await;
            if let Err((error, _)) = &mut outcome {
                error.was_asked |= was_asked;
            }
        }
        match &outcome {
            Ok(_) => self.breaker.answered(),
            // Where no worker took it, the token is away, which is known without the breaker.
            Err((error, Some(_))) if speaks_of_the_token(&operation, &error.failure) => {
                self.count_failure(&error.failure);
            }
            Err(_) => {}
        }
        let result = outcome.map_err(|(error, _)| error);
        self.remember(result.as_ref().err());
        result
    }

    fn count_failure(&self, failure: &HsmFailure) {
        if self.breaker.failed(failure, Instant::now()) {
            let (hsm, failure) = (self.config.name.clone(), failure.clone());
            // Where nobody listens to events, the log has it.
            tracing::warn!(%hsm, %failure, "the HSM token is suspended");
            let _ = self.events.send(HsmEvent::Suspended { hsm, failure });
        }
    }

    /// Tells every worker but the one that manages keys, without waiting for more than their answers.
    pub(super) async fn tell_others(&self, operation: &Operation) {
        let connections: Vec<Arc<Connection>> = self.workers.live().skip(1).map(|(_, connection)| connection).collect();
        for connection in connections {
            let deadline = Instant::now() + self.config.deadline;
            if let Ok(answer) = connection.send(operation, self.config.deadline, deadline) {
                // A worker that dies forgets as well.
                let _ = answer.await;
            }
        }
    }

    /// One attempt at one worker.
    async fn ask_one(
        &self,
        operation: &Operation,
        patience: Duration,
        deadline: Instant,
        avoid: Option<usize>,
    ) -> Result<Answer, Missed> {
        let unasked = |failure| HsmError::not_asked(operation.name(), failure);
        let first = self.workers.live().next().map(|(index, _)| index);
        let is_eligible = |index| Some(index) != avoid && (!operation.is_management() || Some(index) == first);
        let (index, connection) = self.workers.pick(is_eligible).map_err(|failure| (unasked(failure), None))?;
        let outcome = match connection.send(operation, patience, deadline) {
            Err(HsmFailure::Overloaded) => return Err((unasked(HsmFailure::Overloaded), None)),
            Err(closed) => return Err((unasked(closed), Some(index))),
            Ok(answer) => answer.await,
        };
        let outcome = outcome.unwrap_or_else(|_| Err(HsmFailure::Unavailable("its worker is gone".into())));
        outcome.map_err(|failure| (HsmError::new(operation.name(), failure), Some(index)))
    }

    fn remember(&self, error: Option<&HsmError>) {
        use HsmFailure as F;
        match error {
            None => {
                if self.is_failing.load(Ordering::Relaxed) {
                    self.is_failing.store(false, Ordering::Relaxed);
                }
            }
            Some(error) if matches!(error.failure, F::Deadline(_) | F::Module { .. } | F::Unavailable(_)) => {
                *self.last_failure.lock() = Some(error.clone());
                self.is_failing.store(true, Ordering::Relaxed);
            }
            // The request was at fault, or there were too many: the token itself answers.
            Some(_) => {}
        }
    }
}

/// Whether a failure says something of the token as a whole. A worker's end is counted once, and not for each request
/// that was in its hands.
fn speaks_of_the_token(operation: &Operation, failure: &HsmFailure) -> bool {
    use HsmFailure as F;
    match failure {
        F::Deadline(_) | F::Module { .. } => !operation.is_management(),
        F::Unavailable(_) | F::Overloaded | F::DoesNotOpen => false,
        // A revoked key is destroyed while its last requests are under way, and the token's other keys sign on.
        F::KeyMissing(_) => false,
        // A spoiled signing key makes each signature fail; a vault key speaks of the vault alone.
        _ => matches!(operation, Operation::Sign { .. }),
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
