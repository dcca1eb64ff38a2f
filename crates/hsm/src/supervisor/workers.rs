//! The workers of one HSM token: the stage of each, which of them is asked, and which is to be started again.

use std::sync::Arc;

use tokio::sync::watch;

use super::connection::Connection;
use signet_core::keys::{HsmFailure, TokenReport};

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

/// What is known of a worker that answers.
#[derive(Clone)]
pub(super) struct Worker {
    /// Its number at the spawner: no other worker ever has the same.
    pub(super) number: u64,
    pub(super) process_id: u32,
    pub(super) report: TokenReport,
}

/// The workers, each at its place.
pub(super) struct Workers {
    stages: Vec<watch::Sender<Stage>>,
    /// The number of the worker that was last ordered to be started again, for each place.
    restart: Vec<watch::Sender<u64>>,
}

impl Workers {
    /// So many that are about to start.
    pub(super) fn new(count: u32) -> Self {
        let starting = Stage::Down(HsmFailure::Unavailable("it is starting".into()));
        let stages = (0..count).map(|_| watch::Sender::new(starting.clone())).collect();
        Self { stages, restart: (0..count).map(|_| watch::Sender::new(0)).collect() }
    }

    /// How many there are, answering or not.
    pub(super) fn count(&self) -> usize {
        self.stages.len()
    }

    /// Whether any of them answers.
    pub(super) fn any_is_up(&self) -> bool {
        self.live().next().is_some()
    }

    /// Whether this one answers, or did until this moment.
    pub(super) fn is_up(&self, index: usize) -> bool {
        self.stages.get(index).is_some_and(|stage| matches!(&*stage.borrow(), Stage::Up(..)))
    }

    /// Records the stage of one.
    pub(super) fn set(&self, index: usize, stage: Stage) {
        if let Some(sender) = self.stages.get(index) {
            sender.send_replace(stage);
        }
    }

    /// Follows the stage of one.
    pub(super) fn watch(&self, index: usize) -> Option<watch::Receiver<Stage>> {
        self.stages.get(index).map(watch::Sender::subscribe)
    }

    /// Waits for the order to start this very worker again.
    pub(super) async fn restart_ordered(&self, index: usize, number: u64) {
        let Some(mut order) = self.restart.get(index).map(watch::Sender::subscribe) else {
            return std::future::pending().await;
        };
        // The sender lives as long as the token.
        let _ = order.wait_for(|ordered| *ordered == number).await;
    }

    /// Has each that answers now started again. One that is starting is another than the one complained of.
    pub(super) fn restart_all(&self) {
        for (order, stage) in self.restart.iter().zip(&self.stages) {
            if let Stage::Up(_, worker) = &*stage.borrow() {
                order.send_replace(worker.number);
            }
        }
    }

    /// Waits for the first of them to answer.
    /// Errors: The failure that keeps it from that: at once where it lasts, else after the deadline.
    pub(super) async fn ready(&self, deadline: tokio::time::Instant) -> Result<(), HsmFailure> {
        // Further workers start after the first: its stage is the token's.
        let Some(mut first) = self.watch(0) else { return Ok(()) };
        let settled = tokio::time::timeout_at(deadline, first.wait_for(|stage| !matches!(stage, Stage::Down(_)))).await;
        let settled = settled.ok().and_then(Result::ok).map(|stage| stage.clone());
        match settled.unwrap_or_else(|| first.borrow().clone()) {
            Stage::Down(failure) | Stage::Failed(failure) => Err(failure),
            Stage::Up(..) => Ok(()),
        }
    }

    /// The process ids of those that answer.
    pub(super) fn process_ids(&self) -> Vec<u32> {
        let up = |stage: &watch::Sender<Stage>| match &*stage.borrow() {
            Stage::Up(_, worker) => Some(worker.process_id),
            Stage::Down(_) | Stage::Failed(_) => None,
        };
        self.stages.iter().filter_map(up).collect()
    }

    /// Those that answer, with their places.
    pub(super) fn live(&self) -> impl Iterator<Item = (usize, Arc<Connection>)> + '_ {
        self.stages.iter().enumerate().filter_map(|(index, stage)| match &*stage.borrow() {
            Stage::Up(connection, _) => Some((index, Arc::clone(connection))),
            Stage::Down(_) | Stage::Failed(_) => None,
        })
    }

    /// Of those that answer and are eligible, the one with the least to do.
    /// Errors: Why there is none.
    pub(super) fn pick(&self, eligible: impl Fn(usize) -> bool) -> Result<(usize, Arc<Connection>), HsmFailure> {
        let least = self.live().filter(|(index, _)| eligible(*index)).min_by_key(|(_, connection)| connection.load());
        least.ok_or_else(|| match self.stages.first().map(|stage| stage.borrow().clone()) {
            Some(Stage::Down(failure) | Stage::Failed(failure)) => failure,
            Some(Stage::Up(..)) | None => HsmFailure::Unavailable("its worker is gone".into()),
        })
    }
}
