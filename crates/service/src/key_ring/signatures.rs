//! One signature: chosen key, HSM, and the check in process without which nothing is released. A token that fails is
//! followed by another one's key, as long as there is time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::AuditTrail;
use crate::base::Base;
use crate::custody::ledger::{Entry, Ledger};
use crate::directory::RingKey;
use crate::readiness::ReadinessState;
use crate::settings::Settings;
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::keys::{HsmError, HsmFailure, HsmName, KeyAdmin, Signature, SignedKind, Signer, test_signing_input};

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

/// Has the HSM sign, checks each signature, and counts it until its record is durable.
pub struct Signatures {
    key_admin: Arc<dyn KeyAdmin>,
    settings: Arc<Settings>,
    signer: Arc<dyn Signer>,
    audit: Arc<AuditTrail>,
    ledger: Arc<Ledger>,
    readiness: Arc<ReadinessState>,
}

impl Signatures {
    pub(crate) fn new(base: &Base, ledger: &Arc<Ledger>, readiness: &Arc<ReadinessState>) -> Self {
        Self {
            key_admin: base.ports.key_admin.clone(),
            settings: base.settings.clone(),
            signer: base.ports.signer.clone(),
            audit: base.audit.clone(),
            ledger: ledger.clone(),
            readiness: readiness.clone(),
        }
    }

    /// Signs by one of the keys, each of another HSM token or of several, within the time that one signature has. What
    /// is signed names its key, so that it is made anew for each attempt.
    pub(crate) async fn sign_by_any(
        &self,
        keys: &[&Arc<RingKey>],
        kind: SignedKind,
        input: impl Fn(&RingKey) -> String,
    ) -> Result<SignedToken, HsmError> {
        let among: Vec<&HsmName> = keys.iter().map(|key| &key.key.hsm).collect();
        let (began, mut tried, mut last_error) = (Instant::now(), Vec::new(), None);
        while let Some(choice) = self.key_admin.choose(&among, &tried, began.elapsed()) {
            let Some(key) = keys.get(choice.index) else { break };
            let signing_input = input(key);
            match self.sign_accounted_within(choice.patience, key, kind, signing_input.as_bytes()).await {
                Ok((signature, entry)) => {
                    let text = signet_jose::assemble(signing_input, signature.as_bytes());
                    return Ok(SignedToken { text, key: Arc::clone(key), entry });
                }
                Err(error) => {
                    tracing::warn!(hsm = %key.key.hsm, %error, "an HSM token did not sign; another one is asked");
                    last_error = Some(error);
                }
            }
            tried.push(choice.index);
        }
        let none = || HsmFailure::Unavailable { detail: "no HSM token with a key for it is healthy".to_owned() };
        Err(last_error.unwrap_or_else(|| HsmError::new("sign", none())))
    }

    /// Signs and verifies, and gives with the signature its entry in the ledger, which stays open until the caller says
    /// that the signature has its record.
    pub(crate) async fn sign_accounted(
        &self,
        key: &RingKey,
        kind: SignedKind,
        message: &[u8],
    ) -> Result<(Signature, Entry), HsmError> {
        self.sign_accounted_within(Duration::MAX, key, kind, message).await
    }

    async fn sign_accounted_within(
        &self,
        patience: Duration,
        key: &RingKey,
        kind: SignedKind,
        message: &[u8],
    ) -> Result<(Signature, Entry), HsmError> {
        let entry = self.ledger.open(&key.key.key_id, kind);
        match self.sign_checked_within(patience, key, message).await {
            Ok(signature) => Ok((signature, entry)),
            Err(error) => {
                // The worker answered that it did not sign, or was never asked. One that is gone or late may have signed.
                if !error.is_unknown_outcome() {
                    entry.close();
                }
                Err(error)
            }
        }
    }

    /// Signs and verifies. A signature that does not verify is an alarm and never leaves.
    pub(crate) async fn sign_checked(&self, key: &RingKey, message: &[u8]) -> Result<Signature, HsmError> {
        self.sign_checked_within(Duration::MAX, key, message).await
    }

    /// The same in no more than so much time.
    async fn sign_checked_within(
        &self,
        patience: Duration,
        key: &RingKey,
        message: &[u8],
    ) -> Result<Signature, HsmError> {
        let asked_at = Instant::now();
        let algorithm = key.verifying.algorithm();
        let raw = self.signer.sign_within(patience, &key.key, algorithm, message.to_vec()).await?;
        match raw.check(&key.verifying, message) {
            Ok(signature) => {
                self.readiness.signed(&key.key.hsm);
                self.key_admin.trust(&key.key, asked_at);
                Ok(signature)
            }
            Err(wrong) => {
                tracing::error!(key = %key.key.key_id, hsm = %key.key.hsm, "ALARM: {wrong}");
                self.key_admin.distrust(&key.key);
                self.tell_wrong_signature(key).await;
                let failure = HsmFailure::Unavailable { detail: wrong.to_string() };
                Err(HsmError::new("sign", failure))
            }
        }
    }

    async fn tell_wrong_signature(&self, key: &RingKey) {
        let tenant = self.settings.tenant.as_str();
        let mut draft = Draft::new(Event::HsmWrongSignature, Outcome::Failed, tenant, &RequestContext::default());
        draft.key = Some(key.key.key_id.to_string());
        let draft = draft.detail(key.key.hsm.to_string());
        if self.audit.append_throttled(&format!("wrong signature {}", key.key.key_id), draft).await.is_err() {
            tracing::error!("the alarm could not be written to the audit log");
        }
    }

    /// Makes a test signature with one key.
    ///
    /// # Errors
    ///
    /// [`HsmError`] with why the key can't sign.
    pub async fn test_key(&self, key: &RingKey) -> Result<(), HsmError> {
        let input = test_signing_input(&key.key.key_id, key.verifying.algorithm());
        self.sign_checked(key, input.as_bytes()).await.map(|_| ())
    }
}
