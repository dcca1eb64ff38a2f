//! Which HSM token gets a request, and which one next where that fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::HsmGroup;
use super::token::HsmToken;
use crate::wire::{Answer, Operation};
use signet_core::keys::{HsmError, HsmFailure, HsmName, HsmResult, Trial};

/// With less time than this nothing is begun any more.
const TOO_LATE: Duration = Duration::from_millis(5);

/// An HSM token that was chosen for one attempt of a request.
pub struct Choice {
    /// Which of the named tokens it is.
    pub index: usize,
    pub(super) token: Arc<HsmToken>,
    /// How long the attempt may take: where another healthy token is left, half of what is left of the request's time.
    pub patience: Duration,
    /// Held while the attempt lasts, where it is a suspended token's trial.
    pub trial: Option<Trial>,
}

impl Choice {
    /// The attempt at a token, where there is time for one: `healthy` are left to try, this one among them.
    fn new(index: usize, token: &Arc<HsmToken>, spent: Duration, healthy: usize, trial: Option<Trial>) -> Option<Self> {
        let left = token.config.deadline.checked_sub(spent).filter(|left| *left > TOO_LATE)?;
        let patience = if healthy > 1 { left / 2 } else { left };
        Some(Self { index, token: Arc::clone(token), patience, trial })
    }
}

/// A request that several HSM tokens could answer: which one is asked next, and what those that were asked said.
pub(super) struct Failover<'a> {
    group: &'a HsmGroup,
    operation: &'a str,
    among: &'a [&'a HsmName],
    began: Instant,
    tried: Vec<usize>,
    last_error: Option<HsmError>,
}

impl Failover<'_> {
    /// The next token to ask; `None` where none, or no time, is left.
    pub(super) fn next(&self) -> Option<Choice> {
        self.group.choose(self.among, &self.tried, self.began.elapsed())
    }

    /// The attempt failed: another token is asked.
    pub(super) fn failed(&mut self, choice: &Choice, error: HsmError) {
        tracing::debug!(hsm = %choice.token.name(), %error, "another HSM token is asked");
        self.last_error = Some(error);
        self.tried.push(choice.index);
    }

    /// The error of the last attempt, or why there was none.
    pub(super) fn into_error(self) -> HsmError {
        let none = || HsmError::new(self.operation, self.group.none_left(self.among));
        self.last_error.unwrap_or_else(none)
    }
}

impl HsmGroup {
    /// Begins a request to any of the named tokens.
    pub(super) fn failover<'a>(&'a self, operation: &'a str, among: &'a [&'a HsmName]) -> Failover<'a> {
        Failover { group: self, operation, among, began: Instant::now(), tried: Vec::new(), last_error: None }
    }

    /// Asks one of the named tokens, and another one where that fails, until one answers or the time is up. Returns the
    /// answer with the place of the token that answered.
    /// Errors: [`HsmError`] of the last attempt, or why there was none.
    pub(super) async fn ask_any(
        &self,
        name: &str,
        among: &[&HsmName],
        operation: impl Fn(usize) -> Result<Operation, HsmFailure> + Send + Sync,
    ) -> HsmResult<(usize, Answer)> {
        let mut failover = self.failover(name, among);
        while let Some(choice) = failover.next() {
            let asked = match operation(choice.index) {
                Ok(operation) => choice.token.call_within(choice.patience, operation).await,
                Err(failure) => Err(HsmError::not_asked(name, failure)),
            };
            match asked {
                Ok(answer) => return Ok((choice.index, answer)),
                // What was tampered with is told, not worked around.
                Err(error) if error.failure == HsmFailure::DoesNotOpen => return Err(error),
                Err(error) => failover.failed(&choice, error),
            }
        }
        Err(failover.into_error())
    }

    /// Chooses one of the named tokens for a request that began `spent` ago: of the healthy ones the one with the
    /// least unanswered requests for each of its sessions, in turn where several have as few. A suspended one is chosen
    /// only where none of those named is healthy, and one request at a time tries it; one that is away only where
    /// nothing was tried, for its failure to be told. `None` where nothing, or no time, is left to try.
    pub fn choose(&self, among: &[&HsmName], tried: &[usize], spent: Duration) -> Option<Choice> {
        let members = self.members.load();
        let find = |name: &HsmName| members.iter().find(|member| member.token.name() == name);
        let known = || among.iter().enumerate().filter_map(|(index, name)| Some((index, &find(name)?.token)));
        let untried = || known().filter(|(index, _)| !tried.contains(index));
        let healthy = || untried().filter(|(_, token)| token.is_healthy());
        let count = healthy().count();
        if count > 0 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
            // Those before whose turn it is come after the others of the same load.
            let rank = |(place, (_, token)): &(usize, (usize, &Arc<HsmToken>))| (token.load(), *place < turn, *place);
            let (_, (index, token)) = healthy().enumerate().min_by_key(rank)?;
            return Choice::new(index, token, spent, count, None);
        }
        // As long as one of those named is healthy, no request waits for one that is not, whatever this one met there.
        if known().any(|(_, token)| token.is_healthy()) {
            return None;
        }
        let suspended = || untried().filter(|(_, token)| token.workers.any_is_up());
        if let Some((index, token)) = suspended().find(|(_, token)| token.breaker.answers()) {
            return Choice::new(index, token, spent, 1, None);
        }
        let now = Instant::now();
        for (index, token) in suspended() {
            if let Some(guard) = token.breaker.begin_trial(now) {
                return Choice::new(index, token, spent, 1, Some(Trial::new(guard)));
            }
        }
        // It fails at once, and says why.
        let (index, token) = untried().find(|(_, token)| !token.workers.any_is_up()).filter(|_| tried.is_empty())?;
        Choice::new(index, token, spent, 1, None)
    }

    /// Why none of these could be chosen.
    fn none_left(&self, among: &[&HsmName]) -> HsmFailure {
        let reason = among.iter().find_map(|name| self.token(name).ok()?.breaker.reason());
        let detail = reason.map_or_else(
            || "no HSM token that is configured has a key for it".to_owned(),
            |reason| format!("suspended until a test signature verifies: {reason}"),
        );
        HsmFailure::Unavailable(detail)
    }
}
