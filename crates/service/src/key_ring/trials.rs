//! The HSM tokens of a deployment while it serves: which of them sign, and when one that failed is tried again.

use std::sync::Arc;

use crate::{RingKey, Signatures, Snapshot};
use signet_core::keys::{HsmName, TokenHealth};

module! {
    /// Tries whether suspended HSM tokens sign again.
    pub struct Trials {
        takes directory, hsm_health, settings;
        calls signatures: Signatures;
    }
}

impl Trials {
    /// Makes a test signature on each suspended HSM token for which it is time; one that verifies ends the suspension.
    /// Does not wait for them. Called many times a second.
    pub fn try_suspended_tokens(self: &Arc<Self>) {
        for (hsm, trial) in self.hsm_health.trials_due() {
            let signet = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = signet.try_token(&hsm).await {
                    tracing::debug!(%hsm, error, "the suspended HSM token does not sign yet");
                }
                drop(trial);
            });
        }
    }

    async fn try_token(&self, hsm: &HsmName) -> Result<(), String> {
        let snapshot = self.directory.at_hand().await.map_err(|error| error.to_string())?;
        let key = self.trial_key(&snapshot, hsm).ok_or("the deployment has no signing key there")?;
        self.signatures.test_key(&key).await.map_err(|error| error.to_string())
    }

    /// A key that shows whether the token signs: one that signs tokens, or will, or else one of the audit log's.
    fn trial_key(&self, snapshot: &Snapshot, hsm: &HsmName) -> Option<Arc<RingKey>> {
        let here = |key: &&Arc<RingKey>| key.key.hsm == *hsm;
        let active = snapshot.active(self.settings.current().algorithm).find(here);
        let published = || snapshot.published().find(here);
        let audit = || snapshot.audit_keys().iter().find(here);
        active.or_else(published).or_else(audit).cloned()
    }

    /// How an HSM token stands, in a word for `/readyz`; `None` where nothing speaks against it.
    pub(crate) fn standing_word(&self, hsm: &HsmName) -> Option<&'static str> {
        match self.hsm_health.health(hsm) {
            TokenHealth::Serving => None,
            TokenHealth::Suspended { .. } => Some("suspended"),
            TokenHealth::Away(_) => Some("not available"),
        }
    }
}
