//! Starts the HSM tokens of a server, and decides which of their faults end its start.

use std::sync::Arc;
use std::time::Duration;

use super::runtime::Runtime;
use signet_core::keys::{HsmError, HsmFailure, HsmKey, HsmName, KeyPurpose};
use signet_service::Deployment;
use signet_service::directory::{RingKey, Snapshot};
use signet_store::Keys as _;

/// How long a starting server waits for its HSM tokens before it serves without them.
const HSM_PATIENCE: Duration = Duration::from_secs(5);

/// Says where the four-eyes rule is other than the configuration asks for.
pub(super) async fn tell_four_eyes(signet: &Deployment) {
    match signet.issuer().four_eyes.four_eyes().await {
        Ok(state) if state.holds && !state.is_configured => tracing::warn!(
            "the four-eyes rule holds, although `admin.four_eyes` does not ask for it any more: two persons must agree that it ends \
             (POST /api/v1/four-eyes/lowering)"
        ),
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "whether the four-eyes rule holds can't be said now"),
    }
}

/// Waits for the HSM tokens. What only a person can mend ends the start; what heals by itself does not.
pub(super) async fn start_hsm(runtime: &Runtime) -> anyhow::Result<()> {
    let snapshot = runtime.signet.issuer().directory.fresh().await?;
    let keys = runtime.store.keys().await?;
    let ring: Vec<&HsmKey> = keys.iter().filter(|key| key.purpose == KeyPurpose::TokenSigning).collect();
    anyhow::ensure!(!ring.is_empty(), "this deployment has no keys yet: run `signet init` first");
    let algorithm = runtime.signet.issuer().settings.current().algorithm;
    // A ring of revoked keys gets another one as soon as an HSM token answers.
    anyhow::ensure!(
        ring.iter().any(|key| key.public.as_ref().is_some_and(|jwk| jwk.algorithm == algorithm)),
        "no active {algorithm} key: run `signet init`, or `signet key generate --algorithm {algorithm}`"
    );
    let outcomes = runtime.hsm.ready_each(HSM_PATIENCE).await;
    let answers = |hsm: &HsmName| outcomes.iter().any(|(name, outcome)| name == hsm && outcome.is_ok());
    let some_answer = outcomes.iter().any(|(_, outcome)| outcome.is_ok());
    for (hsm, outcome) in &outcomes {
        match outcome {
            Err(error) if !some_answer && !heals_by_itself(error) => return Err(error.clone().into()),
            Err(error) => tracing::error!(%hsm, %error, "serving without this HSM token"),
            Ok(()) => {}
        }
    }
    // A key that signs no more, or not yet, keeps nobody from being served.
    let active: Vec<_> = keys.into_iter().filter(|key| key.state.is_active()).collect();
    for (hsm, _) in outcomes.iter().filter(|(_, outcome)| outcome.is_ok()) {
        match runtime.signet.ports().key_admin.check(hsm, &active).await {
            Ok(faults) => {
                if let Some((key_id, error)) = faults.into_iter().next() {
                    return Err(anyhow::Error::from(error).context(format!("the key {key_id} can't be used")));
                }
            }
            Err(error) => tracing::error!(%hsm, %error, "the keys could not be checked"),
        }
    }
    if some_answer {
        runtime.open_secret().await;
    }
    warn_of_unknown_keys(runtime, &snapshot);
    for key in snapshot.active(algorithm).filter(|key| answers(&key.key.hsm)) {
        match runtime.signet.key_ring.signatures.test_key(key).await {
            Err(error) if !heals_by_itself(&error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Says so where `tokens.algorithm` was changed sooner than verifiers can know the new algorithm's keys.
fn warn_of_unknown_keys(runtime: &Runtime, snapshot: &Snapshot) {
    let settings = &runtime.signet.issuer().settings;
    let now = runtime.signet.now();
    let is_known = |key: &Arc<RingKey>| now.since(key.key.created_at) >= settings.current().keys.least_published();
    let mut signing = snapshot.active(settings.current().algorithm).peekable();
    if signing.peek().is_some() && !signing.any(is_known) && snapshot.published().any(is_known) {
        let algorithm = settings.current().algorithm;
        let wait = settings.current().keys.least_published();
        tracing::warn!(%algorithm, "the key that signs was published less than {wait:?} ago: until then verifiers that keep the JWKS may refuse its tokens");
    }
}

fn heals_by_itself(error: &HsmError) -> bool {
    matches!(error.failure, HsmFailure::Unavailable(_) | HsmFailure::Overloaded | HsmFailure::Deadline(_))
}
