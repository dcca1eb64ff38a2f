//! The deployment's keys: there, in custody, usable, and signing.

use std::sync::Arc;
use std::time::Instant;

use super::{Findings, Tokens};
use crate::server::{RunMarks, Runtime};
use signet_core::keys::{HsmKey, KeyAdmin as _};
use signet_jose::KeyId;
use signet_service::custody::alone_in_words;
use signet_service::directory::RingKey;
use signet_service::hsm_membership::Membership;
use signet_store::Keys as _;

/// Examines the keys, and returns those that sign tokens now and did so when they were tried.
pub(super) async fn examine(deployment: &Runtime, tokens: &Tokens, findings: &mut Findings) -> Vec<Arc<RingKey>> {
    let keys = match deployment.store.keys().await {
        Ok(keys) => keys,
        Err(error) => {
            findings.error("keys", error);
            return Vec::new();
        }
    };
    if keys.is_empty() {
        findings.fault("keys", "there are none yet", "run `signet init`");
        return Vec::new();
    }
    if let Err(error) = deployment.signet.issuer().directory.fresh().await {
        findings.error("keys", error);
        return Vec::new();
    }
    examine_custody(deployment, findings).await;
    examine_use(deployment, tokens, &keys, findings).await;
    examine_signatures(deployment, findings).await
}

async fn examine_custody(deployment: &Runtime, findings: &mut Findings) {
    let marks = RunMarks::only_look(deployment.config.store.folder());
    let report = match deployment.signet.custody.custody(deployment.config.has_tls_key(), &marks).await {
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
async fn examine_use(deployment: &Runtime, tokens: &Tokens, keys: &[HsmKey], findings: &mut Findings) {
    let published: Vec<HsmKey> = keys.iter().filter(|key| key.state.is_published()).cloned().collect();
    let is_active = |key_id: &KeyId| published.iter().any(|key| key.key_id == *key_id && key.state.is_active());
    for (hsm, membership) in tokens.with_keys() {
        match deployment.hsm.check(hsm, &published).await {
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
async fn examine_signatures(deployment: &Runtime, findings: &mut Findings) -> Vec<Arc<RingKey>> {
    let Ok(snapshot) = deployment.signet.issuer().directory.at_hand().await else { return Vec::new() };
    let algorithm = deployment.signet.issuer().settings.algorithm;
    let signing: Vec<Arc<RingKey>> = snapshot.active(algorithm).cloned().collect();
    if signing.is_empty() {
        let advice = format!("run `signet key generate --algorithm {algorithm}`");
        findings.fault("signature", format!("no active {algorithm} key"), advice);
    }
    let (mut verified, mut failed) = (Vec::new(), Vec::new());
    for key in signing {
        let before = Instant::now();
        match deployment.signet.key_ring.signatures.test_key(&key).await {
            Ok(()) => {
                let text = format!("{algorithm} by {} in {} µs, verified", key.key.hsm, before.elapsed().as_micros());
                findings.well("signature", text);
                verified.push(key);
            }
            Err(error) => failed.push((key, error)),
        }
    }
    for (key, error) in failed {
        if verified.is_empty() {
            findings.error("signature", error);
        } else {
            let text = format!("none by {}: {error:#}", key.key.hsm);
            findings.warn("signature", text, "tokens are signed by the others meanwhile");
        }
    }
    verified
}
