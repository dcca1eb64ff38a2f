//! The deployment's keys: there, in custody, usable, and signing.

use std::sync::Arc;
use std::time::Instant;

use super::{ApiState, Tokens};
use signet_admin_api::diagnosis::Findings;
use signet_core::keys::HsmKey;
use signet_jose::KeyId;
use signet_service::custody::alone_in_words;
use signet_service::directory::RingKey;
use signet_service::hsm_membership::Membership;
use signet_store::Keys as _;

/// Examines the keys of the deployment.
pub(super) async fn examine(api: &ApiState, tokens: &Tokens, findings: &mut Findings) {
    let keys = match api.process.store.keys().await {
        Ok(keys) => keys,
        Err(error) => return findings.error("keys", error),
    };
    if keys.is_empty() {
        return findings.fault("keys", "there are none yet", "run `signet init`");
    }
    if let Err(error) = api.signet.issuer().directory.fresh().await {
        return findings.error("keys", error);
    }
    examine_custody(api, findings).await;
    examine_use(api, tokens, &keys, findings).await;
    examine_signatures(api, findings).await;
}

async fn examine_custody(api: &ApiState, findings: &mut Findings) {
    let process = &api.process;
    let report = match api.signet.custody.custody(process.has_tls_key).await {
        Ok(report) => report,
        Err(error) => return findings.error("custody", error),
    };
    for key in report.tokens.iter().flat_map(|token| &token.keys).filter(|key| !key.held) {
        let text = format!("{} ({}, {}): {}", key.kid, key.purpose.name(), key.stage, key.faults.join("; "));
        if key.stage == "active" {
            let advice = "a key that could leave its HSM, or is gone, is never used: see `signet custody`";
            findings.fault("custody", text, advice);
        } else {
            findings.warn("custody", text, "it does not sign now, and the server starts: see `signet custody`");
        }
    }
    if let Some(account) = report.accounts.iter().find(|account| !account.is_well()) {
        findings.warn(
            "custody",
            format!("signatures and records of the key {} differ by {}", account.kid, account.difference),
            "`signet custody` says more, and docs/evidence/custody.md what to do",
        );
    }
    for (hsm, secrets) in &report.alone {
        let advice = "`signet hsm add` a second HSM token: what is at rest is sealed for it as well";
        findings.warn("secrets", alone_in_words(hsm, *secrets), advice);
    }
    if report.held {
        findings.well("custody", "every key is held");
    }
}

/// What a starting server asks of each key.
async fn examine_use(api: &ApiState, tokens: &Tokens, keys: &[HsmKey], findings: &mut Findings) {
    let published: Vec<HsmKey> = keys.iter().filter(|key| key.state.is_published()).cloned().collect();
    let is_active = |key_id: &KeyId| published.iter().any(|key| key.key_id == *key_id && key.state.is_active());
    for (hsm, membership) in tokens.with_keys() {
        match api.signet.ports().key_admin.check(hsm, &published).await {
            Ok(faults) if faults.is_empty() => findings.well("keys", format!("each can be used in {hsm}")),
            Ok(faults) => {
                for (key_id, error) in faults {
                    let text = format!("{key_id}: {error}");
                    if is_active(&key_id) {
                        findings.fault("keys", text, "the server does not start with it");
                    } else {
                        findings.warn("keys", text, "it does not sign now, and the server starts");
                    }
                }
            }
            Err(error) if membership == Membership::Retired => {
                findings.warn("keys", format!("{error:#}"), "the HSM token was retired: nothing is signed by it");
            }
            Err(error) => findings.error("keys", error),
        }
    }
}

/// One test signature by each signing key, checked with its public key, and how long it took.
async fn examine_signatures(api: &ApiState, findings: &mut Findings) {
    let Ok(snapshot) = api.signet.issuer().directory.at_hand().await else { return };
    let algorithm = api.signet.issuer().settings.current().algorithm;
    let signing: Vec<Arc<RingKey>> = snapshot.active(algorithm).cloned().collect();
    if signing.is_empty() {
        let advice = format!("run `signet key generate --algorithm {algorithm}`");
        findings.fault("signature", format!("no active {algorithm} key"), advice);
    }
    let (mut verified, mut failed) = (0_u32, Vec::new());
    for key in signing {
        let before = Instant::now();
        match api.signet.key_ring.signatures.test_key(&key).await {
            Ok(()) => {
                let text = format!("{algorithm} by {} in {} µs, verified", key.key.hsm, before.elapsed().as_micros());
                findings.well("signature", text);
                verified += 1;
            }
            Err(error) => failed.push((key, error)),
        }
    }
    for (key, error) in failed {
        if verified == 0 {
            findings.error("signature", error);
        } else {
            let text = format!("none by {}: {error:#}", key.key.hsm);
            findings.warn("signature", text, "tokens are signed by the others meanwhile");
        }
    }
}
