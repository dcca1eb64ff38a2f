//! `signet doctor`: each check in turn, each fault with what to do. Exit code 0 only if Signet would serve.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::mpsc;

use super::Ended;
use super::output::Output;
use super::wiring::{self, Deployment, Need};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::keys::{HsmName, KeyAdmin, SealMode};
use crate::store::{AuditLog as _, Deployment as _, Keys as _};

#[derive(Debug, clap::Args)]
pub(super) struct Doctor {}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    subject: String,
    ok: bool,
    text: String,
}

/// What all checks found.
#[derive(Debug, Default, Serialize)]
struct Findings {
    ok: bool,
    findings: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, subject: impl Into<String>, ok: bool, text: impl Into<String>) {
        self.findings.push(Finding { subject: subject.into(), ok, text: text.into() });
        self.ok = self.findings.iter().all(|finding| finding.ok);
    }

    fn as_text(&self) -> String {
        let line = |finding: &Finding| {
            let mark = if finding.ok { "ok   " } else { "FAULT" };
            format!("{mark}  {}: {}", finding.subject, finding.text)
        };
        self.findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// How long an HSM token has to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// 2026-01-01: a clock before it was never set.
const BUILT_AFTER: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

impl Doctor {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let mut findings = Findings::default();
        examine(config, &mut findings).await;
        output.value(&findings, Findings::as_text)?;
        if findings.ok { Ok(()) } else { Err(Ended::Refused.into()) }
    }
}

async fn examine(path: &Path, findings: &mut Findings) {
    let config = match wiring::load_config(path) {
        Ok(config) => config,
        Err(error) => return findings.add("configuration", false, format!("{error:#}")),
    };
    findings.add("configuration", true, format!("{} is understood", path.display()));
    if let Some(tls) = &config.server.tls {
        for file in [&tls.certificate, &tls.key] {
            let readable = std::fs::File::open(file);
            let text = readable.as_ref().map_or_else(
                |error| format!("{}: {error}", file.display()),
                |_| format!("{} can be read", file.display()),
            );
            findings.add("TLS", readable.is_ok(), text);
        }
    }
    let (events, _) = mpsc::unbounded_channel();
    let deployment = match Deployment::assemble(config.clone(), Need::Hsm, events).await {
        Ok(deployment) => deployment,
        Err(error) => {
            findings.add("store", false, format!("{error:#}"));
            return examine_hsm_alone(&config, findings).await;
        }
    };
    examine_store(&deployment, findings).await;
    let started = Instant::now();
    let ready = deployment.hsm.ready(PATIENCE).await;
    for hsm in &deployment.config.hsm {
        examine_hsm(deployment.hsm.as_ref(), &deployment.config, &hsm.name, started, findings).await;
    }
    if ready.is_ok() {
        examine_keys(&deployment, findings).await;
    }
    deployment.hsm.shutdown().await;
    deployment.store.close().await;
}

async fn examine_store(deployment: &Deployment, findings: &mut Findings) {
    let now = deployment.signet.clock_now();
    let set = now > BUILT_AFTER;
    findings.add("clock", set, if set { now.to_string() } else { format!("{now} lies in the past: set the clock") });
    match deployment.store.probe(now).await {
        Ok(()) => findings.add("store", true, "a durable write was made"),
        Err(error) => findings.add("store", false, error.to_string()),
    }
    let anchor = &deployment.config.audit.anchor;
    let is_signed = deployment.store.last_checkpoint().await.is_ok_and(|last| last.is_some());
    if is_signed && !anchor.exists() {
        let text = format!(
            "the anchor {} is gone: an old copy of the store can't be told from the right one",
            anchor.display()
        );
        findings.add("audit", false, text);
    }
    let crate::config::StoreConfig::Sqlite(path) = &deployment.config.store;
    let folder = path.parent().unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(folder) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize) / (1024 * 1024);
            let text = format!("{free} MiB are free for the store");
            let advice = format!("{text}: free some space, or no token can be issued soon");
            findings.add("disk", free >= 100, if free >= 100 { text } else { advice });
        }
        Err(error) => findings.add("disk", false, format!("{}: {error}", folder.display())),
    }
}

/// The HSM tokens of a deployment that is not initialised: what they offer is what a newcomer wants to know.
async fn examine_hsm_alone(config: &Config, findings: &mut Findings) {
    let started = Instant::now();
    let group = match wiring::start_hsm_alone(config) {
        Ok(group) => group,
        Err(error) => return findings.add("HSM", false, format!("{error:#}")),
    };
    // Each token is told of by itself below.
    let _ = group.ready_each(PATIENCE).await;
    for hsm in &config.hsm {
        examine_hsm(group.as_ref(), config, &hsm.name, started, findings).await;
    }
    group.shutdown().await;
}

async fn examine_hsm(admin: &dyn KeyAdmin, config: &Config, hsm: &HsmName, started: Instant, findings: &mut Findings) {
    let subject = format!("HSM {hsm}");
    let report = match admin.describe(hsm).await {
        Ok(report) => report,
        Err(error) => return findings.add(subject, false, error.to_string()),
    };
    let token = &report.token;
    let text = format!(
        "{} {} (serial {}, {}), logged in after {} ms",
        token.manufacturer,
        token.model,
        token.serial,
        report.library,
        started.elapsed().as_millis()
    );
    findings.add(&subject, true, text);
    findings.add(&subject, true, format!("its worker is confined: {}", report.confined.join(", ")));
    if !report.not_confined.is_empty() {
        let text = format!("this kernel does not offer its worker: {}", report.not_confined.join(", "));
        findings.add(&subject, true, text);
    }
    if report.pin_count_low {
        findings.add(&subject, true, "the token says that few PIN tries are left: a wrong PIN was shown to it before");
    }
    let names: Vec<_> = report.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    let wanted = config.tokens.algorithm;
    let offers = report.algorithms.contains(&wanted);
    let advice = if offers {
        String::new()
    } else {
        format!("; {wanted} (tokens.algorithm) is not among them: choose one that is")
    };
    findings.add(&subject, offers, format!("signs with {}{advice}", names.join(", ")));
    let in_words = |mode: &SealMode| match mode {
        SealMode::Wrapped => "wrapped (used inside the HSM only)",
        SealMode::Sealed => "sealed (AES-256-GCM)",
    };
    let modes: Vec<&str> = report.seal_modes.iter().map(in_words).collect();
    let advice = "keeps no secret: it offers neither CKM_AES_KEY_WRAP_PAD nor CKM_AES_GCM, so users can't be enrolled";
    let text = if modes.is_empty() { advice.to_owned() } else { format!("keeps secrets {}", modes.join(" and ")) };
    findings.add(subject, !report.seal_modes.is_empty(), text);
}

async fn examine_keys(deployment: &Deployment, findings: &mut Findings) {
    let keys = match deployment.store.keys().await {
        Ok(keys) => keys,
        Err(error) => return findings.add("keys", false, error.to_string()),
    };
    if keys.is_empty() {
        return findings.add("keys", false, "there are none yet: run `signet init`");
    }
    if let Err(error) = deployment.signet.directory().fresh().await {
        return findings.add("keys", false, error.to_string());
    }
    match deployment.signet.custody(deployment.config.server.tls.is_some()).await {
        Ok(report) => {
            let faults = report.tokens.iter().flat_map(|token| &token.keys).filter(|key| !key.held);
            for key in faults {
                findings.add(
                    "custody",
                    false,
                    format!("{} ({}): {}", key.kid, key.purpose.name(), key.faults.join("; ")),
                );
            }
            findings.add("custody", report.held, if report.held { "every key is held" } else { "see above" });
        }
        Err(error) => findings.add("custody", false, error.to_string()),
    }
    measure(deployment, findings).await;
}

/// One test signature by each signing key, checked with its public key, and how long it took.
async fn measure(deployment: &Deployment, findings: &mut Findings) {
    let Ok(snapshot) = deployment.signet.directory().at_hand().await else { return };
    let algorithm = deployment.signet.settings().algorithm;
    let mut signing = 0;
    for key in snapshot.active(algorithm) {
        signing += 1;
        let before = Instant::now();
        match deployment.signet.test_key(key).await {
            Ok(()) => {
                let text = format!("{algorithm} by {} in {} µs, verified", key.key.hsm, before.elapsed().as_micros());
                findings.add("signature", true, text);
            }
            Err(error) => findings.add("signature", false, error.to_string()),
        }
    }
    if signing == 0 {
        let text = format!("no active {algorithm} key: run `signet key generate --algorithm {algorithm}`");
        findings.add("signature", false, text);
    }
}
