//! The deployment's keys: there, in custody, usable, and signing.

use std::sync::Arc;
use std::time::Instant;

use super::super::run_mark::RunMarks;
use super::super::wiring::{self, Deployment};
use super::finding::Findings;
use crate::keys::{HsmKey, KeyAdmin as _};
use crate::service::directory::RingKey;
use crate::store::Keys as _;

/// Examines the keys; gives those that sign tokens now.
pub(super) async fn examine(deployment: &Deployment, findings: &mut Findings) -> Vec<Arc<RingKey>> {
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
    if let Err(error) = deployment.signet.directory().fresh().await {
        findings.error("keys", error);
        return Vec::new();
    }
    examine_custody(deployment, findings).await;
    examine_use(deployment, &keys, findings).await;
    examine_signatures(deployment, findings).await
}

async fn examine_custody(deployment: &Deployment, findings: &mut Findings) {
    let marks = RunMarks::only_look(&wiring::state_folder(&deployment.config));
    let report = match deployment.signet.custody(deployment.config.server.tls.is_some(), &marks).await {
        Ok(report) => report,
        Err(error) => return findings.error("custody", error),
    };
    for key in report.tokens.iter().flat_map(|token| &token.keys).filter(|key| !key.held) {
        findings.fault(
            "custody",
            format!("{} ({}): {}", key.kid, key.purpose.name(), key.faults.join("; ")),
            "a key that could leave its HSM, or is gone, is never used: see `signet custody`",
        );
    }
    if let Some(account) = report.accounts.iter().find(|account| !account.is_well()) {
        findings.warn(
            "custody",
            format!("signatures and records of the key {} differ by {}", account.kid, account.difference),
            "`signet custody` says more, and docs/custody.md what to do",
        );
    }
    if report.held {
        findings.well("custody", "every key is held");
    }
}

/// What a starting server asks of each key.
async fn examine_use(deployment: &Deployment, keys: &[HsmKey], findings: &mut Findings) {
    let published: Vec<HsmKey> = keys.iter().filter(|key| key.state.is_published()).cloned().collect();
    for hsm in deployment.hsm.tokens() {
        match deployment.hsm.check(&hsm, &published).await {
            Ok(faults) if faults.is_empty() => findings.well("keys", format!("each can be used in {hsm}")),
            Ok(faults) => {
                for (key_id, error) in faults {
                    findings.fault("keys", format!("{key_id}: {error}"), "the server does not start with it");
                }
            }
            Err(error) => findings.error("keys", error),
        }
    }
}

/// One test signature by each signing key, checked with its public key, and how long it took.
async fn examine_signatures(deployment: &Deployment, findings: &mut Findings) -> Vec<Arc<RingKey>> {
    let Ok(snapshot) = deployment.signet.directory().at_hand().await else { return Vec::new() };
    let algorithm = deployment.signet.settings().algorithm;
    let signing: Vec<Arc<RingKey>> = snapshot.active(algorithm).cloned().collect();
    for key in &signing {
        let before = Instant::now();
        match deployment.signet.test_key(key).await {
            Ok(()) => {
                let text = format!("{algorithm} by {} in {} µs, verified", key.key.hsm, before.elapsed().as_micros());
                findings.well("signature", text);
            }
            Err(error) => findings.error("signature", error),
        }
    }
    if signing.is_empty() {
        let advice = format!("run `signet key generate --algorithm {algorithm}`");
        findings.fault("signature", format!("no active {algorithm} key"), advice);
    }
    signing
}
