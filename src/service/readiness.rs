//! Whether tokens can be issued now: a real recent signature by each HSM token, the store, the audit log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::Signet;
use super::directory::RingKey;
use crate::clock::Timestamp;
use crate::keys::{HsmError, HsmName};

/// How old the last good signature may be.
const RECENT: Duration = Duration::from_secs(15);
/// How old it gets before a test signature is made.
const TEST_AFTER: Duration = Duration::from_secs(5);

/// What is signed for a test. It is no JWS signing input: it has no dot.
const PROBE: &[u8] = b"signet readiness probe";

/// The last good signature of each HSM token.
#[derive(Default)]
pub struct Readiness(Mutex<BTreeMap<HsmName, Timestamp>>);

impl Readiness {
    /// Remembers a signature that verified.
    pub(super) fn signed(&self, hsm: &HsmName, at: Timestamp) {
        let mut signed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match signed.get_mut(hsm) {
            Some(last) => *last = at,
            None => {
                signed.insert(hsm.clone(), at);
            }
        }
    }

    fn last(&self, hsm: &HsmName) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(hsm).copied()
    }
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, Serialize)]
pub struct ReadinessReport {
    /// Whether everything below is well: tokens can be issued.
    pub ready: bool,
    /// Each HSM token, in a word: `ok`, or what is wrong.
    pub hsm: BTreeMap<HsmName, String>,
    /// The store and the audit log, in a word.
    pub store: String,
    /// Whether verification material can be served; it needs no HSM.
    pub verification: bool,
}

impl Signet {
    /// Makes a test signature on each HSM token that has not signed lately. Called every few seconds.
    pub async fn exercise_keys(&self) {
        let Ok(snapshot) = self.directory.fresh().await else { return };
        let now = self.now();
        for hsm in self.adapters.key_admin.tokens() {
            let is_recent = self.readiness.last(&hsm).is_some_and(|last| now.since(last) < TEST_AFTER);
            let key = snapshot.active(self.settings.algorithm).find(|key| key.key.hsm == hsm);
            if let (false, Some(key)) = (is_recent, key)
                && let Err(error) = self.test_key(key).await
            {
                tracing::warn!(%hsm, %error, "the test signature failed");
            }
        }
    }

    /// Makes a test signature with one key.
    ///
    /// # Errors
    ///
    /// [`HsmError`] with why the key can't sign.
    pub async fn test_key(&self, key: &RingKey) -> Result<(), HsmError> {
        self.sign_checked(key, PROBE).await.map(|_| ())
    }

    /// The state of everything that issuance needs.
    pub async fn readiness(&self) -> ReadinessReport {
        let now = self.now();
        let hsm: BTreeMap<HsmName, String> =
            self.adapters.key_admin.tokens().into_iter().map(|hsm| (hsm.clone(), self.hsm_state(&hsm, now))).collect();
        let store = match self.adapters.store.probe(now).await {
            Ok(()) => "ok".to_owned(),
            Err(error) => {
                tracing::error!(%error, "the store can't be written");
                "not available".to_owned()
            }
        };
        let verification = self.directory.at_hand().await.is_ok();
        let ready = store == "ok" && !hsm.is_empty() && hsm.values().all(|state| state == "ok");
        ReadinessReport { ready, hsm, store, verification }
    }

    fn hsm_state(&self, hsm: &HsmName, now: Timestamp) -> String {
        if let Err(error) = self.adapters.key_admin.health(hsm) {
            tracing::warn!(%hsm, %error, "an HSM token is not ready");
            return "not available".to_owned();
        }
        match self.readiness.last(hsm) {
            Some(last) if now.since(last) < RECENT => "ok".to_owned(),
            Some(_) => "no recent signature".to_owned(),
            None => "no signature yet".to_owned(),
        }
    }
}
