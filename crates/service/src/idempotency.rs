//! Whether a request was made before, by the key that it came with: what creates is done once under each key, on whatever node.
//!
//! A request is written down before it is done, and what became of it afterwards. What lies between is done or not, and nobody
//! can say which: such a key is answered so for its whole time, and never has the request done again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::ChangeError;
use signet_jose::clock::Timestamp;
use signet_store::{RequestClaim, RequestOutcome};

/// How long a key stands for its request.
pub const KEPT: Duration = Duration::from_hours(24);
/// How long another node may have a request in hand: none is given so much time.
const IN_HAND: Duration = Duration::from_mins(10);

/// A request that says its key.
#[derive(Debug, Clone, Copy)]
pub struct KeyedRequest<'r> {
    /// Who asks, as the audit log names them: another one's key is another key.
    pub operator: &'r str,
    /// The key.
    pub key: &'r str,
    /// The method and the path.
    pub operation: &'r str,
    /// The body, byte by byte.
    pub body: &'r [u8],
}

/// What is known of a request.
#[derive(Debug)]
pub enum Known {
    /// It was never made: it is in the caller's hand now.
    Not(Claim),
    /// It was done.
    Done(RequestOutcome),
    /// It is being done.
    InHand,
    /// It was begun, and the process that did ended before it could say what became of it.
    CutOff {
        /// When it was begun.
        begun_at: Timestamp,
    },
    /// The key came with another request.
    Another,
}

/// A request that is in hand, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    row: Box<RequestClaim>,
    _in_hand: InHand,
}

type Hashes = Arc<Mutex<HashSet<[u8; 32]>>>;

#[derive(Debug)]
struct InHand {
    hash: [u8; 32],
    all: Hashes,
}

impl InHand {
    fn take(hash: [u8; 32], all: &Hashes) -> Option<Self> {
        all.lock().insert(hash).then(|| Self { hash, all: Arc::clone(all) })
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.all.lock().remove(&self.hash);
    }
}

module! {
    /// Tells requests that were made before.
    pub struct RequestsOnce {
        takes clock, settings, secret, nodes, idempotency_keys;
        keeps in_hand: Hashes;
    }
}

impl RequestsOnce {
    /// Takes a request in hand, unless it was made before.
    pub async fn claim_request(&self, asked: KeyedRequest<'_>) -> Result<Known, ChangeError> {
        let KeyedRequest { operator, key, operation, body } = asked;
        let hash = async |what, of: [&[u8]; 2]| self.secret.derive_lasting(what, &of.join(&0)).await;
        let key_hash = hash("idempotency key", [operator.as_bytes(), key.as_bytes()]).await?;
        let body_hash = hash("idempotency body", [operation.as_bytes(), body]).await?;
        let Some(in_hand) = InHand::take(key_hash, &self.in_hand) else { return Ok(Known::InHand) };
        let claimed_at = self.clock.now();
        let row = RequestClaim {
            tenant: self.settings.tenant.clone(),
            key_hash,
            operator: operator.to_owned(),
            operation: operation.to_owned(),
            body_hash,
            node: self.nodes.node().clone(),
            claimed_at,
            kept_until: claimed_at.plus(KEPT),
            outcome: None,
        };
        Ok(match self.idempotency_keys.claim_request(&row).await? {
            None => Known::Not(Claim { row: Box::new(row), _in_hand: in_hand }),
            Some(there) => judge(&row, there),
        })
    }

    /// Writes down what became of a request.
    pub async fn finish_request(&self, claim: &Claim, outcome: &RequestOutcome) -> Result<(), ChangeError> {
        Ok(self.idempotency_keys.finish_request(&claim.row, outcome).await?)
    }

    /// Frees the key of a request that was refused: it may be made again under the same one.
    pub async fn release_request(&self, claim: &Claim) -> Result<(), ChangeError> {
        Ok(self.idempotency_keys.release_request(&claim.row).await?)
    }
}

/// What a request is to one that was made under its key.
fn judge(asked: &RequestClaim, there: RequestClaim) -> Known {
    if there.operation != asked.operation || there.body_hash != asked.body_hash {
        return Known::Another;
    }
    if let Some(outcome) = there.outcome {
        return Known::Done(outcome);
    }
    // This process has none in hand under the key, and is the only one of its node.
    let may_be_in_hand = there.node != asked.node && asked.claimed_at < there.claimed_at.plus(IN_HAND);
    if may_be_in_hand { Known::InHand } else { Known::CutOff { begun_at: there.claimed_at } }
}
