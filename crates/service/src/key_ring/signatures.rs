//! One signature: chosen key, HSM, and the check in process without which nothing is released. A token that fails is
//! followed by another one's key, as long as there is time.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use crate::custody::ledger::Entry;
use crate::{Ledger, ReadinessState, RingKey};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::{
    Attempts, HsmError, HsmFailure, HsmKey, RawSignature, Signature, SignedKind, test_signing_input,
};

/// A signed token with the key that signed it.
#[must_use]
pub(crate) struct SignedToken {
    text: String,
    pub(crate) key: Arc<RingKey>,
    /// To be closed once the token's record is durable.
    entry: Entry,
}

/// A signed token whose record is durable: nothing else may leave (promise 3).
pub(crate) struct RecordedToken {
    pub(crate) text: String,
    pub(crate) key: Arc<RingKey>,
}

impl SignedToken {
    /// The signed text, for the record that holds it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The token, once its record is durable. Its signature is accounted for from here on, whether it is released or not.
    pub(crate) fn recorded(self) -> RecordedToken {
        self.entry.close();
        RecordedToken { text: self.text, key: self.key }
    }
}

module! {
    /// Has the HSM sign, checks each signature, and counts it until its record is durable.
    pub struct Signatures {
        takes hsm_health, settings, signer, audit;
        calls ledger: Ledger, readiness: ReadinessState;
    }
}

impl Signatures {
    /// Signs by one of the keys, each of another HSM token or of several, within the time that one signature has.
    pub(crate) async fn sign_by_any(
        &self,
        keys: &[&Arc<RingKey>],
        kind: SignedKind,
        input: impl Fn(&RingKey) -> String + Send,
    ) -> Result<SignedToken, HsmError> {
        let among: Vec<&HsmKey> = keys.iter().map(|key| &key.key).collect();
        let mut attempts = AccountedAttempts { signatures: self, keys, kind, input, under_way: None, signed: None };
        self.signer.sign_any(&among, &mut attempts).await?;
        attempts.signed.ok_or_else(none_signed)
    }

    /// Signs and verifies, and returns with the signature its entry in the ledger, which stays open until the caller says
    /// that the signature has its record.
    pub(crate) async fn sign_accounted(
        &self,
        key: &RingKey,
        kind: SignedKind,
        message: &[u8],
    ) -> Result<(Signature, Entry), HsmError> {
        let entry = self.ledger.open(&key.key.key_id, kind);
        match self.sign_checked(key, message).await {
            Ok(signature) => Ok((signature, entry)),
            Err(error) => Err(unsigned(entry, error)),
        }
    }

    async fn sign_checked(&self, key: &RingKey, message: &[u8]) -> Result<Signature, HsmError> {
        let asked_at = Instant::now();
        let raw = self.signer.sign(&key.key, key.verifying.algorithm(), message.to_vec()).await?;
        self.check(key, message, asked_at, raw).await
    }

    /// Verifies a signature that was asked for at `asked_at`. One that does not verify is an alarm and never leaves.
    async fn check(
        &self,
        key: &RingKey,
        message: &[u8],
        asked_at: Instant,
        raw: RawSignature,
    ) -> Result<Signature, HsmError> {
        match raw.check(&key.verifying, message) {
            Ok(signature) => {
                self.readiness.signed(&key.key.hsm);
                self.hsm_health.trust(&key.key, asked_at);
                Ok(signature)
            }
            Err(wrong) => {
                tracing::error!(key = %key.key.key_id, hsm = %key.key.hsm, "ALARM: {wrong}");
                self.hsm_health.distrust(&key.key);
                self.tell_wrong_signature(key).await;
                let failure = HsmFailure::Unavailable(wrong.to_string());
                Err(HsmError::new("sign", failure))
            }
        }
    }

    async fn tell_wrong_signature(&self, key: &RingKey) {
        let tenant = self.settings.tenant.as_str();
        let mut draft = AuditEvent::new(Event::HsmWrongSignature, Outcome::Failed, tenant, &RequestContext::default());
        draft.key = Some(key.key.key_id.to_string());
        let draft = draft.detail(key.key.hsm.to_string());
        if self.audit.append_throttled(&format!("wrong signature {}", key.key.key_id), draft).await.is_err() {
            tracing::error!("the alarm could not be written to the audit log");
        }
    }

    /// Makes a test signature with one key.
    /// Errors: [`HsmError`] with why the key can't sign.
    pub async fn test_key(&self, key: &RingKey) -> Result<(), HsmError> {
        let input = test_signing_input(&key.key.key_id, key.verifying.algorithm());
        self.sign_checked(key, input.as_bytes()).await.map(|_| ())
    }
}

/// One signature by any of several keys, with an entry in the ledger for each attempt: each may have signed.
struct AccountedAttempts<'a, I> {
    signatures: &'a Signatures,
    keys: &'a [&'a Arc<RingKey>],
    kind: SignedKind,
    /// What a key signs. It names the key, so that it is made anew for each attempt.
    input: I,
    under_way: Option<(Entry, String, Instant)>,
    signed: Option<SignedToken>,
}

#[async_trait]
impl<I: Fn(&RingKey) -> String + Send> Attempts for AccountedAttempts<'_, I> {
    fn begin(&mut self, index: usize) -> Vec<u8> {
        let Some(key) = self.keys.get(index) else { return Vec::new() };
        let input = (self.input)(key);
        let message = input.clone().into_bytes();
        self.under_way = Some((self.signatures.ledger.open(&key.key.key_id, self.kind), input, Instant::now()));
        message
    }

    async fn end(&mut self, index: usize, outcome: Result<RawSignature, HsmError>) -> Result<(), HsmError> {
        let begun = self.keys.get(index).zip(self.under_way.take());
        let (key, (entry, input, asked_at)) = begun.ok_or_else(none_signed)?;
        let checked = match outcome {
            Ok(raw) => self.signatures.check(key, input.as_bytes(), asked_at, raw).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(signature) => {
                let text = signet_jose::assemble(input, signature.as_bytes());
                self.signed = Some(SignedToken { text, key: Arc::clone(key), entry });
                Ok(())
            }
            Err(error) => {
                tracing::warn!(hsm = %key.key.hsm, %error, "an HSM token did not sign; another one is asked");
                Err(unsigned(entry, error))
            }
        }
    }
}

/// Closes the entry of a signature that was certainly not made: the worker answered that it did not sign, or was never
/// asked. One that is gone or late may have signed.
fn unsigned(entry: Entry, error: HsmError) -> HsmError {
    if !error.is_unknown_outcome() {
        entry.close();
    }
    error
}

fn none_signed() -> HsmError {
    let detail = "no HSM token with a key for it is healthy".to_owned();
    HsmError::new("sign", HsmFailure::Unavailable(detail))
}
