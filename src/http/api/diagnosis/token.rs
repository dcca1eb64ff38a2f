//! The HSM tokens: module, state of the PIN, and what each offers. What one of them lacks is a fault where no other one
//! makes up for it.

use std::sync::Arc;
use std::time::Duration;

use signet_admin_api::diagnosis::Findings;
use signet_core::keys::{HsmError, HsmFailure, HsmHealth, HsmName, KeyAdmin, SealMode, TokenReport};
use signet_jose::Algorithm;
use signet_service::hsm_membership::{Membership, membership};
use signet_store::HsmMember;

/// How long one has to say what it offers.
const PATIENCE: Duration = Duration::from_secs(5);

/// One configured HSM token, and what it answered.
struct Asked {
    hsm: HsmName,
    membership: Membership,
    report: Result<TokenReport, HsmError>,
}

impl Asked {
    fn is_member(&self) -> bool {
        self.membership == Membership::Member
    }
}

/// Every configured HSM token.
pub struct Tokens(Vec<Asked>);

impl Tokens {
    /// Asks each token, all at once: one that is away keeps nobody waiting for the others. `members` are those of the deployment,
    /// none where there is no deployment yet.
    pub async fn ask(admin: Arc<dyn KeyAdmin>, health: Arc<dyn HsmHealth>, members: &[HsmMember]) -> Self {
        let asked = admin.tokens().into_iter().map(|hsm| {
            let (admin, health, membership) = (admin.clone(), health.clone(), membership(members, &hsm));
            tokio::spawn(async move {
                let report = match tokio::time::timeout(PATIENCE, admin.describe(&hsm)).await {
                    Ok(report) => report,
                    Err(_) => Err(health.readiness(&hsm).err().unwrap_or_else(|| too_slow(&hsm))),
                };
                Asked { hsm, membership, report }
            })
        });
        let mut tokens = Vec::new();
        for asked in asked.collect::<Vec<_>>() {
            // Nothing in there panics, and nobody ends it.
            tokens.extend(asked.await);
        }
        Self(tokens)
    }

    /// Whether one answers.
    pub(super) fn some_answer(&self) -> bool {
        self.0.iter().any(|asked| asked.report.is_ok())
    }

    /// Those that answer and have, or had, keys of the deployment.
    pub(super) fn with_keys(&self) -> impl Iterator<Item = (&HsmName, Membership)> {
        let has_keys = |asked: &&Asked| asked.report.is_ok() && asked.membership != Membership::NotAdded;
        self.0.iter().filter(has_keys).map(|asked| (&asked.hsm, asked.membership))
    }

    /// Whether a member other than this one answers, and does that.
    fn another(&self, hsm: &HsmName, does: impl Fn(&TokenReport) -> bool) -> bool {
        let others = self.0.iter().filter(|other| other.hsm != *hsm && other.is_member());
        others.filter_map(|other| other.report.as_ref().ok()).any(does)
    }

    /// Says of each what it offers, and what it lacks to sign with `wanted`.
    pub fn examine(&self, wanted: Algorithm, findings: &mut Findings) {
        for asked in &self.0 {
            self.examine_one(asked, wanted, findings);
        }
    }

    fn examine_one(&self, asked: &Asked, wanted: Algorithm, findings: &mut Findings) {
        let (hsm, subject) = (&asked.hsm, format!("HSM {}", asked.hsm));
        let report = match &asked.report {
            Ok(report) => report,
            Err(error) => {
                let advice = match asked.membership {
                    Membership::Member if !self.another(hsm, |other| other.algorithms.contains(&wanted)) => {
                        return findings.error(subject, error);
                    }
                    Membership::Retired => "it was retired: `signet hsm list` says when its [[hsm]] can be removed",
                    Membership::NotAdded => "it is not part of this deployment; `signet hsm add` needs it to answer",
                    _ => "the deployment goes on by the others, with less in reserve",
                };
                return findings.warn(subject, format!("{error:#}"), advice);
            }
        };
        describe(report, &subject, findings);
        match asked.membership {
            Membership::Retired => return findings.well(subject, "was retired: nothing is signed or sealed by it"),
            Membership::NotAdded => {
                findings.warn(&subject, "is not part of this deployment", format!("`signet hsm add {hsm}` adds it"));
            }
            Membership::Member | Membership::NotConfigured => {}
        }
        examine_algorithms(report, wanted, &subject, findings);
        let in_words = |mode: &SealMode| match mode {
            SealMode::Wrapped => "wrapped (used inside the HSM only)",
            SealMode::Sealed => "sealed (AES-256-GCM)",
        };
        let modes: Vec<&str> = report.seal_modes.iter().map(in_words).collect();
        if report.keeps_secrets() {
            findings.well(subject, format!("keeps secrets {}", modes.join(" and ")));
        } else if self.another(hsm, TokenReport::keeps_secrets) {
            findings.well(subject, "only signs: another HSM token keeps the secrets");
        } else {
            findings.fault(
                subject,
                "keeps no secret: it does not offer CKM_AES_GCM and what goes with it, and no other HSM token keeps any",
                "users can't be enrolled: use another token or module, or add one that keeps them (docs/guides/hsm-guide.md)",
            );
        }
    }
}

fn too_slow(hsm: &HsmName) -> HsmError {
    HsmError::new(format!("description of {hsm}"), HsmFailure::Deadline(PATIENCE))
}

fn describe(report: &TokenReport, subject: &str, findings: &mut Findings) {
    let token = &report.token;
    let text = format!(
        "{} {} (serial {}, firmware {}, {})",
        token.manufacturer, token.model, token.serial, token.firmware, report.library,
    );
    findings.well(subject, text);
    findings.well(subject, format!("its worker is confined: {}", report.confined.join(", ")));
    if !report.not_confined.is_empty() {
        let text = format!("this kernel does not offer its worker: {}", report.not_confined.join(", "));
        findings.warn(subject, text, "a newer kernel, or one with landlock and seccomp, confines it further");
    }
    if report.pin_count_low {
        let text = "the token says that few PIN tries are left: a wrong PIN was shown to it before";
        findings.warn(subject, text, "find out who shows it a wrong PIN, before it locks");
    }
}

fn examine_algorithms(report: &TokenReport, wanted: Algorithm, subject: &str, findings: &mut Findings) {
    let names: Vec<_> = report.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    let offered = names.join(", ");
    if report.algorithms.contains(&wanted) {
        findings.well(subject, format!("signs with {offered}"));
    } else {
        let advice = "choose one of them as tokens.algorithm, and make a key for it with `signet key generate`";
        findings.fault(subject, format!("signs with {offered}, and not with {wanted} (tokens.algorithm)"), advice);
    }
}
