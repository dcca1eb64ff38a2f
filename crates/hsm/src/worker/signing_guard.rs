//! What may be signed: each signing input is judged by the policy and counted before the HSM sees it.

use std::sync::Arc;
use std::time::Instant;

use super::counter_record::Counted;
use super::policy::Judge;
use super::signature_counter::SignatureCounter;
use super::token_bucket::TokenBucket;
use crate::HsmConfig;
use crate::wire::Operation;
use signet_core::keys::{HsmFailure, SignedKind, SigningPolicy};
use signet_jose::clock::{Clock as _, SystemClock};

/// The most OTP secrets that a worker exports in a second: whoever has taken the server over does not have all of
/// them before anybody looks at the log.
const MAX_EXPORTS: u32 = 100;

/// What every signature of this worker passes.
pub(super) struct SigningGuard {
    /// Looked after as long as the process lives (see [`SignatureCounter::keep`]).
    pub(super) counter: Arc<SignatureCounter>,
    policy: SigningPolicy,
    bucket: Option<TokenBucket>,
    exports: Option<TokenBucket>,
}

/// The right to make one signature, which is counted already.
#[must_use]
pub(super) struct Permit {
    key_id: String,
    kind: SignedKind,
}

impl SigningGuard {
    /// Opens the count.
    /// Errors: [`HsmFailure`] where nothing can be counted: a signer that can't count does not sign.
    pub(super) fn open(config: &HsmConfig) -> Result<Self, HsmFailure> {
        let directory = config.state_directory.as_deref().ok_or_else(|| {
            HsmFailure::Configuration(
                "there is no state directory to count signatures in, and what is not counted is not signed".into(),
            )
        })?;
        Ok(Self {
            counter: Arc::new(SignatureCounter::open(directory, config.name.as_str())?),
            policy: config.policy.clone(),
            bucket: TokenBucket::new(config.policy.most_per_second, Instant::now()),
            exports: TokenBucket::new(MAX_EXPORTS, Instant::now()),
        })
    }

    /// Judges what is to be signed, keeps to the limit of a second, and counts it. The limit is for tokens alone: a flood
    /// of requests for them does not stop the checkpoints and test signatures that tell how the deployment does.
    /// Errors: [`HsmFailure::Refused`] for what this key is not there for, counted and told on standard error;
    /// [`HsmFailure::Overloaded`] above the limit; [`HsmFailure::Unavailable`] where it can't be counted.
    pub(super) fn authorize(&self, operation: &Operation) -> Result<Option<Permit>, HsmFailure> {
        let Operation::Sign { key, algorithm, message } = operation else { return Ok(None) };
        let now = SystemClock.now();
        match (Judge { policy: &self.policy, now }).judge(key, *algorithm, &message.0) {
            Ok(SignedKind::Token) if self.bucket.as_ref().is_some_and(|bucket| !bucket.take(Instant::now())) => {
                Err(HsmFailure::Overloaded)
            }
            Ok(kind) => {
                self.counter.count(&key.key_id, Counted::Signed(kind), now)?;
                Ok(Some(Permit { key_id: key.key_id.clone(), kind }))
            }
            Err(refusal) => {
                eprintln!("ALARM: refused to sign with the {} key {}: {refusal}", key.purpose.name(), key.key_id);
                self.counter.count(&key.key_id, Counted::Refused, now)?;
                Err(HsmFailure::Refused(refusal.to_string()))
            }
        }
    }

    /// Whether a secret may be exported now.
    pub(super) fn may_export(&self) -> bool {
        self.exports.as_ref().is_some_and(|bucket| bucket.take(Instant::now()))
    }

    /// The HSM did not sign.
    pub(super) fn take_back(&self, permit: Permit) {
        self.counter.take_back(&permit.key_id, permit.kind);
    }
}
