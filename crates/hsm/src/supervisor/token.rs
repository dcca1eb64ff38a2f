//! One HSM token as the server sees it: its workers, and whether it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::HsmEvent;
use super::breaker::Breaker;
use super::connection::{Connection, NotTaken};
use crate::HsmConfig;
use crate::wire::{Answer, Operation};
use signet_core::keys::{HsmError, HsmFailure, HsmName, TokenHealth, TokenReport};

/// Generating an RSA key takes an HSM seconds to a minute.
const MANAGEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// A worker's stage.
#[derive(Clone)]
pub(super) enum Stage {
    /// Not there: starting, or to be started again.
    Down(HsmFailure),
    /// It answers.
    Up(Arc<Connection>, Box<Worker>),
    /// It is not started again: only a person can mend it.
    Failed(HsmFailure),
}

/// Why a request failed.
struct Missed {
    failure: HsmFailure,
    /// The worker that it was for; none where there was none to ask.
    worker: Option<usize>,
    /// Whether a worker was given it, and may have done it.
    was_asked: bool,
}

impl Missed {
    fn unasked(failure: HsmFailure, worker: Option<usize>) -> Self {
        Self { failure, worker, was_asked: false }
    }
}

/// What is known of a worker that answers.
#[derive(Clone)]
pub(super) struct Worker {
    /// Its number at the spawner: no other worker ever has the same.
    pub(super) number: u64,
    pub(super) process_id: u32,
    pub(super) report: TokenReport,
}

/// The token with its workers.
pub(super) struct HsmToken {
    config: HsmConfig,
    stages: Vec<watch::Sender<Stage>>,
    /// The number of the worker that was last ordered to be started again, for each place.
    restart: Vec<watch::Sender<u64>>,
    events: mpsc::UnboundedSender<HsmEvent>,
    /// What was last told about the token; nothing at first.
    told_up: Mutex<Option<bool>>,
    /// How many workers in a row were killed because nothing at all was answered.
    pub(super) killed_as_stuck: AtomicU32,
    /// Signatures that a worker was asked for after another one had died over them.
    pub(super) asked_again: Arc<AtomicU64>,
    is_failing: AtomicBool,
    last_failure: Mutex<Option<HsmError>>,
    breaker: Breaker,
}

impl HsmToken {
    /// A token whose workers are about to start.
    pub(super) fn new(config: HsmConfig, events: mpsc::UnboundedSender<HsmEvent>) -> Self {
        let workers = config.workers.max(1);
        let starting = HsmFailure::Unavailable { detail: "it is starting".into() };
        Self {
            stages: (0..workers).map(|_| watch::Sender::new(Stage::Down(starting.clone()))).collect(),
            restart: (0..workers).map(|_| watch::Sender::new(0)).collect(),
            config,
            events,
            told_up: Mutex::new(None),
            killed_as_stuck: AtomicU32::new(0),
            asked_again: Arc::default(),
            is_failing: AtomicBool::new(false),
            last_failure: Mutex::new(None),
            breaker: Breaker::default(),
        }
    }

    /// This token by another configuration. Its workers take the place of this one's once they answer; that they don't yet
    /// is no event. Signatures that were asked again of either are counted together.
    pub(super) fn successor(&self, config: HsmConfig) -> Self {
        let (asked_again, told_up) = (Arc::clone(&self.asked_again), Mutex::new(Some(false)));
        Self { asked_again, told_up, ..Self::new(config, self.events.clone()) }
    }

    /// Its name.
    pub(super) fn name(&self) -> &HsmName {
        &self.config.name
    }

    /// Its configuration.
    pub(super) fn config(&self) -> &HsmConfig {
        &self.config
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

    /// Its circuit breaker.
    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Whether requests are sent to it: a worker answers, and nothing speaks against it.
    pub(super) fn is_healthy(&self) -> bool {
        self.breaker.is_closed() && self.has_worker()
    }

    /// Whether any worker answers.
    pub(super) fn has_worker(&self) -> bool {
        self.stages.iter().any(|stage| matches!(&*stage.borrow(), Stage::Up(..)))
    }

    /// Gives it no more requests while another token is healthy, until a test signature has verified. Whoever knows why
    /// has told.
    pub(super) fn distrust(&self, failure: HsmFailure) {
        self.breaker.trip(failure, Instant::now());
    }

    /// Records a signature that was asked for at `asked_at` and verified.
    pub(super) fn prove(&self, asked_at: Instant) {
        if self.breaker.proved(asked_at) {
            let _ = self.events.send(HsmEvent::Resumed { hsm: self.config.name.clone() });
        }
    }

    fn tell_suspended(&self, failure: HsmFailure) {
        // Where nobody listens to events, the log has it.
        tracing::warn!(hsm = %self.config.name, %failure, "the HSM token is suspended");
        let _ = self.events.send(HsmEvent::Suspended { hsm: self.config.name.clone(), failure });
    }

    /// The number of its worker processes.
    pub(super) fn workers(&self) -> usize {
        self.stages.len()
    }

    /// Follows one worker's stage.
    pub(super) fn watch(&self, index: usize) -> Option<watch::Receiver<Stage>> {
        self.stages.get(index).map(watch::Sender::subscribe)
    }

    /// Records one worker's stage, and tells when the token as a whole went up or down.
    pub(super) fn enter(&self, index: usize, stage: Stage) {
        let mut told_up = self.told_up.lock();
        let was_up = self.is_up(index);
        if let Some(sender) = self.stages.get(index) {
            sender.send_replace(stage.clone());
        }
        let is_up = self.has_worker();
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

    /// Whether this worker answers, or did until this moment.
    pub(super) fn is_up(&self, index: usize) -> bool {
        self.stages.get(index).is_some_and(|stage| matches!(&*stage.borrow(), Stage::Up(..)))
    }

    /// Records that a worker has ended because the server stops, which is no event.
    pub(super) fn leave(&self, index: usize) {
        if let Some(sender) = self.stages.get(index) {
            sender.send_replace(Stage::Down(HsmFailure::Unavailable { detail: "the server stops".into() }));
        }
    }

    /// Waits for the order to start this very worker again.
    pub(super) async fn restart_ordered(&self, index: usize, number: u64) {
        let Some(mut order) = self.restart.get(index).map(watch::Sender::subscribe) else {
            return std::future::pending().await;
        };
        // The sender lives as long as the token.
        let _ = order.wait_for(|ordered| *ordered == number).await;
    }

    /// Has every worker that answers now started again. One that is starting is another than the one complained of.
    pub(super) fn restart_workers(&self) {
        for (order, stage) in self.restart.iter().zip(&self.stages) {
            if let Stage::Up(_, worker) = &*stage.borrow() {
                order.send_replace(worker.number);
            }
        }
    }

    /// How it does among the others.
    pub(super) fn health(&self) -> TokenHealth {
        match (self.pick(|_| true), self.breaker.reason()) {
            (Err(failure), _) => TokenHealth::Away(failure),
            (Ok(_), Some(reason)) => TokenHealth::Suspended { reason },
            (Ok(_), None) => TokenHealth::Serving,
        }
    }

    /// Waits for the first worker that answers.
    /// Errors: The failure that keeps it from that: at once where it lasts, else after the deadline.
    pub(super) async fn ready(&self, deadline: tokio::time::Instant) -> Result<(), HsmFailure> {
        // Further workers start after the first: its stage is the token's.
        let Some(mut first) = self.watch(0) else { return Ok(()) };
        let settled = first.wait_for(|stage| !matches!(stage, Stage::Down(_)));
        if let Ok(Ok(stage)) = tokio::time::timeout_at(deadline, settled).await {
            return match &*stage {
                Stage::Failed(failure) => Err(failure.clone()),
                Stage::Up(..) | Stage::Down(_) => Ok(()),
            };
        }
        match self.stages.first().map(|stage| stage.borrow().clone()) {
            Some(Stage::Down(failure) | Stage::Failed(failure)) => Err(failure),
            Some(Stage::Up(..)) | None => Ok(()),
        }
    }

    /// Whether the token answers, as far as is known without asking it.
    pub(super) fn readiness(&self) -> Result<(), HsmError> {
        self.pick(|_| true).map_err(|failure| HsmError::new("health", failure))?;
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
        let (mut unanswered, mut workers) = (0_usize, 0_usize);
        for (_, connection) in self.live() {
            unanswered += connection.load();
            workers += 1;
        }
        let sessions = workers.saturating_mul(usize::try_from(self.config.sessions.max(1)).unwrap_or(usize::MAX));
        unanswered.saturating_mul(1000) / sessions.max(1)
    }

    /// Whether one of its workers has room for a request that has the deadline's time; `None` where no worker answers.
    pub(super) fn has_room(&self) -> Option<bool> {
        let mut live = self.live().peekable();
        live.peek()?;
        Some(live.any(|(_, connection)| connection.has_room(self.config.deadline)))
    }

    /// How many requests its workers have not answered yet.
    pub(super) fn unanswered(&self) -> usize {
        self.live().map(|(_, connection)| connection.load()).sum()
    }

    /// The process ids of the workers that answer.
    pub(super) fn process_ids(&self) -> Vec<u32> {
        let up = |stage: &watch::Sender<Stage>| match &*stage.borrow() {
            Stage::Up(_, worker) => Some(worker.process_id),
            Stage::Down(_) | Stage::Failed(_) => None,
        };
        self.stages.iter().filter_map(up).collect()
    }

    /// Asks a worker and waits for its answer. What can be done twice is tried once more where the worker died.
    pub(super) async fn call(&self, operation: Operation) -> Result<Answer, HsmError> {
        let patience = if operation.is_management() { MANAGEMENT_TIMEOUT } else { self.config.deadline };
        self.call_within(patience, operation).await
    }

    /// Asks a worker and waits for its answer for so long at most. What can be done twice is tried once more where the
    /// worker died.
    pub(super) async fn call_within(&self, patience: Duration, operation: Operation) -> Result<Answer, HsmError> {
        let deadline = Instant::now() + patience;
        let mut outcome = self.ask_one(&operation, patience, deadline, None).await;
        if let Err(Missed { failure: HsmFailure::Unavailable { .. }, worker: Some(died), was_asked }) = outcome
            && operation.is_idempotent()
            && self.pick(|index| index != died).is_ok()
        {
            if was_asked && matches!(operation, Operation::Sign { .. }) {
                self.asked_again.fetch_add(1, Ordering::Relaxed);
            }
            let again = self.ask_one(&operation, patience, deadline, Some(died)).await;
            outcome = again.map_err(|missed| Missed { was_asked: was_asked || missed.was_asked, ..missed });
        }
        match &outcome {
            Ok(_) => self.breaker.answered(),
            // Where no worker took it, the token is away, which is known without the breaker.
            Err(Missed { failure, worker: Some(_), .. }) if speaks_of_the_token(&operation, failure) => {
                self.count_failure(failure);
            }
            Err(_) => {}
        }
        let error =
            |Missed { failure, was_asked, .. }| HsmError { operation: operation.name().to_owned(), failure, was_asked };
        let result = outcome.map_err(error);
        self.remember(result.as_ref().err());
        result
    }

    fn count_failure(&self, failure: &HsmFailure) {
        if self.breaker.failed(failure, Instant::now()) {
            self.tell_suspended(failure.clone());
        }
    }

    /// Tells every worker but the one that manages keys, without waiting for more than their answers.
    pub(super) async fn tell_others(&self, operation: &Operation) {
        let connections: Vec<Arc<Connection>> = self.live().skip(1).map(|(_, connection)| connection).collect();
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
        let first_only = operation.is_management();
        let first = self.live().next().map(|(index, _)| index);
        let (index, connection) = self
            .pick(|index| Some(index) != avoid && (!first_only || Some(index) == first))
            .map_err(|failure| Missed::unasked(failure, None))?;
        let asked = |failure| Missed { failure, worker: Some(index), was_asked: true };
        match connection.send(operation, patience, deadline) {
            Err(NotTaken::Full) => Err(Missed::unasked(HsmFailure::Overloaded, None)),
            Err(NotTaken::Closed(failure)) => Err(Missed::unasked(failure, Some(index))),
            Ok(answer) => match answer.await {
                Ok(outcome) => outcome.map_err(asked),
                Err(_) => Err(asked(HsmFailure::Unavailable { detail: "its worker is gone".into() })),
            },
        }
    }

    fn live(&self) -> impl Iterator<Item = (usize, Arc<Connection>)> + '_ {
        self.stages.iter().enumerate().filter_map(|(index, stage)| match &*stage.borrow() {
            Stage::Up(connection, _) => Some((index, Arc::clone(connection))),
            Stage::Down(_) | Stage::Failed(_) => None,
        })
    }

    /// The live worker with the least to do.
    fn pick(&self, eligible: impl Fn(usize) -> bool) -> Result<(usize, Arc<Connection>), HsmFailure> {
        let least = self.live().filter(|(index, _)| eligible(*index)).min_by_key(|(_, connection)| connection.load());
        least.ok_or_else(|| match self.stages.first().map(|stage| stage.borrow().clone()) {
            Some(Stage::Down(failure) | Stage::Failed(failure)) => failure,
            Some(Stage::Up(..)) | None => HsmFailure::Unavailable { detail: "its worker is gone".into() },
        })
    }

    fn remember(&self, error: Option<&HsmError>) {
        use HsmFailure as F;
        match error {
            None => {
                if self.is_failing.load(Ordering::Relaxed) {
                    self.is_failing.store(false, Ordering::Relaxed);
                }
            }
            Some(error) if matches!(error.failure, F::Deadline(_) | F::Module { .. } | F::Unavailable { .. }) => {
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
        F::Unavailable { .. } | F::Overloaded | F::DoesNotOpen => false,
        // A revoked key is destroyed while its last requests are under way, and the token's other keys sign on.
        F::KeyMissing { .. } => false,
        // A spoiled signing key makes each signature fail; a vault key speaks of the vault alone.
        _ => matches!(operation, Operation::Sign { .. }),
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
