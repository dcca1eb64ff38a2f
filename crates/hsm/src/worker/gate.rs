//! Who passes to the key: what is to be signed is looked at and counted before the HSM sees it.

use std::sync::Arc;
use std::time::Instant;

use super::policy::Judge;
use super::rate::Ceiling;
use super::tally::{Counted, Tally};
use crate::HsmConfig;
use crate::wire::Operation;
use signet_core::keys::{HsmFailure, KeyTally, SignedKind, SigningPolicy};
use signet_jose::clock::{Clock as _, SystemClock};

/// The most OTP secrets that a worker hands over in a second: whoever has taken the server over does not have all of
/// them before anybody looks at the log.
const MOST_HANDED_OVER: u32 = 100;

/// The one gate of this worker.
pub(super) struct Gate {
    tally: Arc<Tally>,
    policy: SigningPolicy,
    ceiling: Option<Ceiling>,
    handing_over: Option<Ceiling>,
}

/// A signature that is counted and not made yet.
#[must_use]
pub(super) struct Pass {
    key_id: String,
    kind: SignedKind,
}

impl Gate {
    /// Opens the count.
    ///
    /// # Errors
    ///
    /// [`HsmFailure`] where nothing can be counted: a signer that can't count does not sign.
    pub(super) fn open(config: &HsmConfig) -> Result<Self, HsmFailure> {
        let directory = config.state_directory.as_deref().ok_or_else(|| HsmFailure::Configuration {
            detail: "there is no state directory to count signatures in, and what is not counted is not signed".into(),
        })?;
        Ok(Self {
            tally: Arc::new(Tally::open(directory, config.name.as_str())?),
            policy: config.policy.clone(),
            ceiling: Ceiling::new(config.policy.most_per_second, Instant::now()),
            handing_over: Ceiling::new(MOST_HANDED_OVER, Instant::now()),
        })
    }

    /// Has the count looked after.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread.
    pub(super) fn keep(&self) -> std::io::Result<()> {
        Tally::keep(&self.tally)
    }

    /// Judges what is to be signed, keeps to the ceiling, and counts it. Tokens alone take from the ceiling: a flood of
    /// requests for them does not stop the checkpoints and test signatures that tell how the deployment does.
    ///
    /// # Errors
    ///
    /// [`HsmFailure::Refused`] for what this key is not there for, counted and told on standard error;
    /// [`HsmFailure::Overloaded`] above the ceiling; [`HsmFailure::Unavailable`] where it can't be counted.
    pub(super) fn admit(&self, operation: &Operation) -> Result<Option<Pass>, HsmFailure> {
        let Operation::Sign { key, algorithm, message } = operation else { return Ok(None) };
        let now = SystemClock.now();
        match (Judge { policy: &self.policy, now }).judge(key, *algorithm, &message.0) {
            Ok(SignedKind::Token) if self.ceiling.as_ref().is_some_and(|ceiling| !ceiling.take(Instant::now())) => {
                Err(HsmFailure::Overloaded)
            }
            Ok(kind) => {
                self.tally.count(&key.key_id, Counted::Signed(kind), now)?;
                Ok(Some(Pass { key_id: key.key_id.clone(), kind }))
            }
            Err(refusal) => {
                eprintln!("ALARM: refused to sign with the {} key {}: {refusal}", key.purpose.name(), key.key_id);
                self.tally.count(&key.key_id, Counted::Refused, now)?;
                Err(HsmFailure::Refused { detail: refusal.to_string() })
            }
        }
    }

    /// Whether a secret may be handed over now.
    pub(super) fn may_hand_over(&self) -> bool {
        self.handing_over.as_ref().is_some_and(|ceiling| ceiling.take(Instant::now()))
    }

    /// The HSM did not sign.
    pub(super) fn take_back(&self, pass: Pass) {
        self.tally.take_back(&pass.key_id, pass.kind);
    }

    /// What was signed with each key, by every worker of this token.
    ///
    /// # Errors
    ///
    /// [`HsmFailure::Configuration`] where a count can't be read.
    pub(super) fn tally(&self) -> Result<Vec<KeyTally>, HsmFailure> {
        self.tally.sum()
    }
}
