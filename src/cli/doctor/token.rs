//! One HSM token: its module, its PIN's state, and what it offers.

use std::time::Duration;

use super::finding::Findings;
use crate::config::Config;
use crate::keys::{HsmName, KeyAdmin, SealMode};

pub(super) async fn examine(
    admin: &dyn KeyAdmin,
    config: &Config,
    hsm: &HsmName,
    waited: Duration,
    findings: &mut Findings,
) {
    let subject = format!("HSM {hsm}");
    let report = match admin.describe(hsm).await {
        Ok(report) => report,
        Err(error) => return findings.error(subject, error),
    };
    let token = &report.token;
    let text = format!(
        "{} {} (serial {}, firmware {}, {}), logged in after {} ms",
        token.manufacturer,
        token.model,
        token.serial,
        token.firmware,
        report.library,
        waited.as_millis()
    );
    findings.well(&subject, text);
    findings.well(&subject, format!("its worker is confined: {}", report.confined.join(", ")));
    if !report.not_confined.is_empty() {
        let text = format!("this kernel does not offer its worker: {}", report.not_confined.join(", "));
        findings.warn(&subject, text, "a newer kernel, or one with landlock and seccomp, takes more from it");
    }
    if report.pin_count_low {
        let text = "the token says that few PIN tries are left: a wrong PIN was shown to it before";
        findings.warn(&subject, text, "find out who shows it a wrong PIN, before it locks");
    }
    let names: Vec<_> = report.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    let (offered, wanted) = (names.join(", "), config.tokens.algorithm);
    if report.algorithms.contains(&wanted) {
        findings.well(&subject, format!("signs with {offered}"));
    } else {
        let advice = "choose one of them as tokens.algorithm, and make a key for it with `signet key generate`";
        findings.fault(&subject, format!("signs with {offered}, and not with {wanted} (tokens.algorithm)"), advice);
    }
    let in_words = |mode: &SealMode| match mode {
        SealMode::Wrapped => "wrapped (used inside the HSM only)",
        SealMode::Sealed => "sealed (AES-256-GCM)",
    };
    let modes: Vec<&str> = report.seal_modes.iter().map(in_words).collect();
    if modes.is_empty() {
        findings.fault(
            subject,
            "keeps no secret: it offers neither CKM_AES_KEY_WRAP_PAD nor CKM_AES_GCM",
            "users can't be enrolled with it: use another token or module (docs/hsm-guide.md)",
        );
    } else {
        findings.well(subject, format!("keeps secrets {}", modes.join(" and ")));
    }
}
