//! How many signatures a second an HSM token makes, by how many sessions and workers, and what to configure.
//!
//! Each arrangement is measured through real workers, as everything is. The messages are test signatures: they can be
//! mistaken for nothing that Signet issues.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::PATIENCE;
use crate::cli::Output;
use crate::server::{self, HsmGroup, PinSource, Runtime};
use signet_admin_api::diagnosis::Findings;
use signet_core::keys::{HsmError, Signer as _, test_signing_input};
use signet_service::directory::RingKey;

/// What is tried, in this order: sessions of each worker, and workers.
const ARRANGEMENTS: [(u32, u32); 9] = [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (1, 2), (2, 2), (4, 2), (8, 2)];
/// How long each one signs.
const MEASURED: Duration = Duration::from_millis(500);
/// How much of the best is good enough: fewer sessions leave more of the HSM to others.
const GOOD_ENOUGH: f64 = 0.9;
/// Below this much of the best, another configuration is worth a restart.
const WORTH_A_CHANGE: f64 = 0.75;

/// What one arrangement gave.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    sessions: u32,
    workers: u32,
    per_second: f64,
}

pub(super) async fn examine(deployment: &Runtime, signing: &[Arc<RingKey>], output: &Output, findings: &mut Findings) {
    // The configured workers rest meanwhile: a token may allow no more sessions than these and the measured ones.
    deployment.hsm.shutdown().await;
    for key in signing {
        let Some(hsm) = deployment.config.hsm.iter().find(|hsm| hsm.name == key.key.hsm) else { continue };
        let subject = format!("speed of {}", hsm.name);
        if hsm.pin == PinSource::Prompt {
            findings.well(subject, "not measured: the PIN would have to be typed for each arrangement");
            continue;
        }
        if hsm.worker_socket.is_some() {
            findings.well(subject, "not measured: its worker is not started by this command (worker_socket)");
            continue;
        }
        let configured = (hsm.sessions, hsm.workers);
        let mut tried = ARRANGEMENTS.to_vec();
        if !tried.contains(&configured) {
            tried.push(configured);
        }
        let mut all = Vec::new();
        let mut limit = None;
        for (sessions, workers) in tried {
            if limit.is_some_and(|limit| sessions * workers > limit) {
                continue;
            }
            output.progress(&format!("measuring {} with {}", hsm.name, in_words(sessions, workers)));
            match measure(deployment, key, sessions, workers).await {
                Ok(per_second) => all.push(Measured { sessions, workers, per_second }),
                Err(error) => {
                    output.note(&format!("  {error}"));
                    limit = Some((sessions * workers).saturating_sub(1));
                }
            }
        }
        conclude(&subject, key, configured, &all, findings);
    }
}

/// Signatures a second of one arrangement.
async fn measure(deployment: &Runtime, key: &Arc<RingKey>, sessions: u32, workers: u32) -> anyhow::Result<f64> {
    let group = server::start_hsm_with(&deployment.config, &key.key.hsm, sessions, workers)?;
    let rate = measure_with(&group, key, sessions * workers).await;
    group.shutdown().await;
    Ok(rate?)
}

async fn measure_with(group: &Arc<HsmGroup>, key: &Arc<RingKey>, threads: u32) -> Result<f64, HsmError> {
    group.ready(PATIENCE).await?;
    let message = test_signing_input(&key.key.key_id, key.verifying.algorithm()).into_bytes();
    // Each session finds its key once; that is not what is measured.
    for _ in 0..threads {
        sign(group, key, &message).await?;
    }
    let began = Instant::now();
    let mut askers = JoinSet::new();
    for _ in 0..threads * 2 {
        let (group, key, message) = (group.clone(), key.clone(), message.clone());
        askers.spawn(async move {
            let mut signed = 0_u32;
            while began.elapsed() < MEASURED {
                sign(&group, &key, &message).await?;
                signed += 1;
            }
            Ok(signed)
        });
    }
    let mut signed = 0.0;
    for outcome in askers.join_all().await {
        signed += f64::from(outcome?);
    }
    Ok(signed / began.elapsed().as_secs_f64())
}

async fn sign(group: &HsmGroup, key: &RingKey, message: &[u8]) -> Result<(), HsmError> {
    // That signatures verify is checked elsewhere; none of these leaves.
    let _ = group.sign(&key.key, key.verifying.algorithm(), message.to_vec()).await?;
    Ok(())
}

fn conclude(subject: &str, key: &RingKey, configured: (u32, u32), all: &[Measured], findings: &mut Findings) {
    let Some((best, recommended)) = recommend(all) else {
        return findings.warn(subject, "no arrangement could be measured", "the progress above says why");
    };
    let algorithm = key.verifying.algorithm();
    let listed: Vec<String> = all.iter().map(Measured::in_words).collect();
    findings.well(subject, format!("{algorithm} signatures a second: {}", listed.join(", ")));
    let (sessions, workers) = configured;
    let current = all.iter().find(|it| (it.sessions, it.workers) == configured).map_or(0.0, |it| it.per_second);
    let advice = format!("set sessions = {} and workers = {}", recommended.sessions, recommended.workers);
    let text = format!(
        "configured: {}, {current:.0} a second; {advice} would give {:.0}",
        in_words(sessions, workers),
        recommended.per_second
    );
    if current < best.per_second * WORTH_A_CHANGE {
        findings.warn(subject, text, format!("{advice} in its [[hsm]]"));
    } else {
        findings.well(
            subject,
            format!("configured: {}, {current:.0} a second, which is good", in_words(sessions, workers)),
        );
    }
}

/// The best, and the arrangement with the fewest sessions and workers that is nearly as good.
fn recommend(all: &[Measured]) -> Option<(Measured, Measured)> {
    let best = *all.iter().max_by(|one, other| one.per_second.total_cmp(&other.per_second))?;
    let good = all.iter().filter(|it| it.per_second >= best.per_second * GOOD_ENOUGH);
    let least = good.min_by_key(|it| (it.workers * it.sessions, it.workers))?;
    Some((best, *least))
}

impl Measured {
    fn in_words(&self) -> String {
        format!("{:.0} with {}", self.per_second, in_words(self.sessions, self.workers))
    }
}

fn in_words(sessions: u32, workers: u32) -> String {
    let sessions = if sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") };
    if workers == 1 { sessions } else { format!("{workers} workers of {sessions}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_arrangement_that_is_nearly_the_best_is_recommended() {
        let measured = |sessions, workers, per_second| Measured { sessions, workers, per_second };
        let all = [measured(1, 1, 100.0), measured(2, 1, 185.0), measured(4, 1, 200.0), measured(1, 2, 190.0)];
        let (best, least) = recommend(&all).unwrap();
        assert_eq!((best.sessions, least.sessions, least.workers), (4, 2, 1));
        assert_eq!(recommend(&[]), None);
    }
}
