//! Faults that need no injection: a killed worker, a hung one, what serves the token gone and back.

use std::time::{Duration, Instant};

use signet_core::keys::{HsmFailure, HsmKey, Signer as _};
use signet_hsm::HsmGroup;
use signet_jose::{Algorithm, VerifyingKey};

use super::for_each_make;
use crate::support::hsm::{hsm, pair, probe};
use crate::support::modules::{Make, serving};

for_each_make!(
    a_killed_worker_is_replaced_and_finds_its_keys,
    a_hung_worker_is_replaced,
    what_serves_the_token_may_go_and_come_back,
    many_callers_get_right_signatures,
);

async fn sign(group: &HsmGroup, key: &HsmKey, algorithm: Algorithm) -> Result<(), HsmFailure> {
    let raw = group.sign(key, algorithm, probe(key)).await.map_err(|error| error.failure)?;
    raw.check(&VerifyingKey::new(key.public.clone().unwrap()), &probe(key)).unwrap();
    Ok(())
}

/// Signs again by itself; in between nothing but "not available".
async fn comes_back(group: &HsmGroup, key: &HsmKey, algorithm: Algorithm) -> Duration {
    let since = Instant::now();
    while let Err(failure) = sign(group, key, algorithm).await {
        assert!(matches!(failure, HsmFailure::Unavailable(_) | HsmFailure::Deadline(_)), "{failure}");
        assert!(since.elapsed() < Duration::from_secs(15), "it does not come back: {failure}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    since.elapsed()
}

fn signal(group: &HsmGroup, signal: &str) {
    for process in group.worker_process_ids(&hsm()) {
        let status = std::process::Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
        assert!(status.success());
    }
}

async fn a_killed_worker_is_replaced_and_finds_its_keys(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    let algorithm = make.abilities().algorithms[0];
    let key = pair(&group, algorithm).await;
    for _ in 0..3 {
        let killed = group.worker_process_ids(&hsm());
        signal(&group, "-KILL");
        while group.worker_process_ids(&hsm()) == killed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(comes_back(&group, &key, algorithm).await < Duration::from_secs(3));
    }
    group.shutdown().await;
}

async fn a_hung_worker_is_replaced(make: Make) {
    let token = make.token();
    let mut config = token.config();
    config.deadline = Duration::from_millis(500);
    let group = serving(&token).await;
    let algorithm = make.abilities().algorithms[0];
    let key = pair(&group, algorithm).await;
    group.shutdown().await;
    let group = token.start(config);
    group.ready(Duration::from_secs(20)).await.unwrap();
    comes_back(&group, &key, algorithm).await;
    signal(&group, "-STOP");
    comes_back(&group, &key, algorithm).await;
    group.shutdown().await;
}

async fn what_serves_the_token_may_go_and_come_back(make: Make) {
    let mut token = make.token();
    if token.server().is_none() {
        return;
    }
    let group = serving(&token).await;
    let algorithm = make.abilities().algorithms[0];
    let key = pair(&group, algorithm).await;
    sign(&group, &key, algorithm).await.unwrap();
    token.server().unwrap().stop();
    let failure = sign(&group, &key, algorithm).await.unwrap_err();
    assert!(matches!(failure, HsmFailure::Unavailable(_) | HsmFailure::Module { .. }), "{failure}");
    token.server().unwrap().begin();
    comes_back(&group, &key, algorithm).await;
    group.shutdown().await;
}

async fn many_callers_get_right_signatures(make: Make) {
    let token = make.token();
    let group = serving(&token).await;
    let algorithm = make.abilities().algorithms[0];
    let keys = [pair(&group, algorithm).await, pair(&group, algorithm).await];
    let callers: Vec<_> = (0..16)
        .map(|number| {
            let (group, key) = (std::sync::Arc::clone(&group), keys[number % 2].clone());
            tokio::spawn(async move {
                for _ in 0..8 {
                    sign(&group, &key, algorithm).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    group.shutdown().await;
}
