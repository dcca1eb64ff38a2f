//! [`HsmHealth`] by what the supervisors of the workers know.

use std::sync::Arc;
use std::time::Instant;

use super::token::HsmToken;
use super::{HsmEvent, HsmGroup};
use signet_core::keys::{HsmError, HsmFailure, HsmHealth, HsmKey, HsmName, HsmResult, TokenHealth, Trial};

impl HsmHealth for HsmGroup {
    fn health(&self, hsm: &HsmName) -> TokenHealth {
        self.token(hsm).map_or_else(TokenHealth::Away, |token| token.health())
    }

    fn readiness(&self, hsm: &HsmName) -> HsmResult<()> {
        self.token(hsm).map_err(|failure| HsmError::new("health", failure))?.readiness()
    }

    fn has_room(&self) -> bool {
        let members = self.members.load();
        let mut with_workers = members.iter().filter_map(|member| member.token.has_room()).peekable();
        with_workers.peek().is_none() || with_workers.any(|has_room| has_room)
    }

    fn trust(&self, key: &HsmKey, asked_at: Instant) {
        if let Ok(token) = self.token(&key.hsm) {
            token.prove(asked_at);
        }
    }

    fn distrust(&self, key: &HsmKey) {
        let (hsm, key_id) = (&key.hsm, &key.key_id);
        // Where nobody listens to events, the log has it.
        let _ = self.events.send(HsmEvent::WrongSignature { hsm: hsm.clone(), key_id: key_id.clone() });
        tracing::error!(%hsm, %key_id, "the HSM answered with a signature that does not verify");
        if let Ok(token) = self.token(hsm) {
            let failure = HsmFailure::Unavailable("a signature of it did not verify".into());
            token.breaker.trip(failure, Instant::now());
            token.workers.restart_all();
        }
    }

    fn trials_due(&self) -> Vec<(HsmName, Trial)> {
        let now = Instant::now();
        let tokens = self.tokens().into_iter().filter(|token| !token.breaker.is_closed() && token.workers.any_is_up());
        let begun = |token: Arc<HsmToken>| {
            let guard = token.breaker.begin_trial(now)?;
            Some((token.name().clone(), Trial::new(guard)))
        };
        tokens.filter_map(begun).collect()
    }
}
