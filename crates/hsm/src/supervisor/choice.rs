//! Which HSM token gets a request, and which one next where that fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::HsmGroup;
use super::token::HsmToken;
use crate::wire::{Answer, Operation};
use signet_core::keys::{Choice, HsmError, HsmFailure, HsmName, Trial};

/// With less time than this nothing is begun any more.
const TOO_LATE: Duration = Duration::from_millis(5);

impl HsmGroup {
    /// See [`KeyAdmin::choose`](signet_core::keys::KeyAdmin::choose).
    pub(super) fn choose_among(&self, among: &[&HsmName], tried: &[usize], spent: Duration) -> Option<Choice> {
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
            return attempt(index, token, spent, count, None);
        }
        // As long as one of those named is healthy, no request waits for one that is not, whatever this one met there.
        if known().any(|(_, token)| token.is_healthy()) {
            return None;
        }
        let suspended = || untried().filter(|(_, token)| token.has_worker());
        if let Some((index, token)) = suspended().find(|(_, token)| token.breaker().answers()) {
            return attempt(index, token, spent, 1, None);
        }
        let now = Instant::now();
        for (index, token) in suspended() {
            if let Some(guard) = token.breaker().begin_trial(now) {
                return attempt(index, token, spent, 1, Some(Trial::new(guard)));
            }
        }
        // It fails at once, and says why.
        let (index, token) = untried().find(|(_, token)| !token.has_worker()).filter(|_| tried.is_empty())?;
        attempt(index, token, spent, 1, None)
    }

    /// Asks one of the named tokens, and another one where that fails, until one answers or the time is up. Gives the
    /// answer with the place of the token that gave it.
    pub(super) async fn ask_any(
        &self,
        name: &str,
        among: &[&HsmName],
        operation: impl Fn(usize) -> Result<Operation, HsmFailure> + Send + Sync,
    ) -> Result<(usize, Answer), HsmError> {
        let fail = |failure| HsmError::new(name, failure);
        let (began, mut tried, mut last_error) = (Instant::now(), Vec::new(), None);
        while let Some(choice) = self.choose_among(among, &tried, began.elapsed()) {
            let Some(hsm) = among.get(choice.index) else { break };
            let asked = match self.token(hsm).and_then(|token| Ok((token, operation(choice.index)?))) {
                Ok((token, operation)) => token.call_within(choice.patience, operation).await,
                Err(failure) => Err(fail(failure)),
            };
            match asked {
                Ok(answer) => return Ok((choice.index, answer)),
                // What was tampered with is told, not worked around.
                Err(error) if error.failure == HsmFailure::DoesNotOpen => return Err(error),
                Err(error) => {
                    tracing::debug!(%hsm, %error, "another HSM token is asked");
                    last_error = Some(error);
                }
            }
            tried.push(choice.index);
        }
        Err(last_error.unwrap_or_else(|| fail(self.none_left(among))))
    }

    /// Why none of these could be chosen.
    pub(super) fn none_left(&self, among: &[&HsmName]) -> HsmFailure {
        let reason = among.iter().find_map(|name| self.token(name).ok()?.breaker().reason());
        let detail = reason.map_or_else(
            || "no HSM token that is configured has a key for it".to_owned(),
            |reason| format!("suspended until a test signature verifies: {reason}"),
        );
        HsmFailure::Unavailable { detail }
    }
}

/// The attempt at a token, where there is time for one: `healthy` are left to try, this one among them.
fn attempt(index: usize, token: &HsmToken, spent: Duration, healthy: usize, trial: Option<Trial>) -> Option<Choice> {
    let left = token.config().deadline.checked_sub(spent).filter(|left| *left > TOO_LATE)?;
    let patience = if healthy > 1 { left / 2 } else { left };
    Some(Choice { index, patience, trial })
}
