//! A worker that dies, hangs or is overrun costs milliseconds, and nothing but 503s (HAZARDS 58-66).

use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_core::keys::{HsmFailure, HsmHealth as _, HsmKey, HsmName, Signer as _};
use signet_hsm::{HsmEvent, HsmGroup};
use signet_jose::{Algorithm, VerifyingKey};

use crate::support::hsm::{SoftToken, hsm, pair, probe, start, started};
use crate::support::process::runs;

fn signal(pid: u32, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// The signal is sent at once and takes effect thread by thread.
fn is_stopped(pid: u32) -> bool {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap();
        status.lines().any(|line| line.starts_with("State:\tT"))
    })
}

async fn sign_checked(group: &HsmGroup, key: &HsmKey) -> Result<(), HsmFailure> {
    let raw = group.sign(key, Algorithm::Es256, probe(key)).await.map_err(|error| error.failure)?;
    raw.check(&VerifyingKey::new(key.public.clone().unwrap()), &probe(key)).unwrap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_costs_less_than_a_second_of_unavailability() {
    let token = SoftToken::new();
    let (group, mut events) = started(token.config()).await;
    let key = Arc::new(pair(&group, Algorithm::Es256).await);
    let streams: Vec<_> = (0..8)
        .map(|_| {
            let (group, key) = (Arc::clone(&group), Arc::clone(&key));
            tokio::spawn(async move {
                let until = Instant::now() + Duration::from_secs(4);
                let (mut signed, mut refused) = (0_u32, Vec::new());
                while Instant::now() < until {
                    match sign_checked(&group, &key).await {
                        Ok(()) => signed += 1,
                        Err(failure) => {
                            refused.push((Instant::now(), failure));
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                }
                assert!(sign_checked(&group, &key).await.is_ok());
                (signed, refused)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed_at = Instant::now();
    for pid in group.worker_process_ids(&hsm()) {
        signal(pid, "-KILL");
    }
    for stream in streams {
        let (signed, refused) = stream.await.unwrap();
        assert!(signed > 0);
        for (when, failure) in refused {
            assert!(matches!(failure, HsmFailure::Unavailable(_)), "{failure}");
            assert!(when.duration_since(killed_at) < Duration::from_secs(1));
        }
    }
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(matches!(event, HsmEvent::Up { .. }));
    }
    assert_eq!(told, [true, false, true]);
    group.shutdown().await;
}

#[tokio::test]
async fn with_two_workers_the_death_of_one_is_not_noticed() {
    let token = SoftToken::new();
    let mut config = token.config();
    config.workers = 2;
    let (group, _events) = started(config).await;
    let key = pair(&group, Algorithm::Es256).await;
    while group.worker_process_ids(&hsm()).len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    signal(group.worker_process_ids(&hsm())[0], "-KILL");
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        sign_checked(&group, &key).await.unwrap();
    }
    group.shutdown().await;
}

#[tokio::test]
async fn a_hanging_worker_is_told_by_deadline_then_killed_and_replaced() {
    let token = SoftToken::new();
    let mut config = token.config();
    config.deadline = Duration::from_millis(300);
    let (group, _events) = started(config).await;
    let key = pair(&group, Algorithm::Es256).await;
    sign_checked(&group, &key).await.unwrap();
    let stopped = group.worker_process_ids(&hsm());
    signal(stopped[0], "-STOP");
    while !is_stopped(stopped[0]) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asked = Instant::now();
    let outcome = sign_checked(&group, &key).await;
    assert!(matches!(outcome, Err(HsmFailure::Deadline(_))), "{outcome:?}");
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert!(group.readiness(&hsm()).is_err());
    let until = Instant::now() + Duration::from_secs(10);
    while sign_checked(&group, &key).await.is_err() {
        assert!(Instant::now() < until, "the worker was not replaced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(group.readiness(&hsm()).is_ok());
    assert_ne!(group.worker_process_ids(&hsm()), stopped);
    group.shutdown().await;
}

/// Each of them is waited for two seconds: all at once.
#[tokio::test]
async fn workers_that_do_not_end_are_waited_for_together() {
    let token = SoftToken::new();
    let mut config = token.config();
    config.workers = 4;
    let (group, _events) = started(config).await;
    while group.worker_process_ids(&hsm()).len() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let workers = group.worker_process_ids(&hsm());
    for worker in &workers {
        signal(*worker, "-STOP");
    }
    let asked = Instant::now();
    group.shutdown().await;
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert!(!workers.into_iter().any(runs));
}

#[tokio::test]
async fn many_complaints_about_one_worker_replace_it_once() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    let complained_of = group.worker_process_ids(&hsm());
    let complain = || (0..100).for_each(|_| group.distrust(&key));
    complain();
    // Some come while nobody answers.
    while !group.worker_process_ids(&hsm()).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    complain();
    let until = Instant::now() + Duration::from_secs(5);
    while group.worker_process_ids(&hsm()).is_empty() {
        assert!(Instant::now() < until, "the worker was not replaced");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let replaced = group.worker_process_ids(&hsm());
    assert_ne!(replaced, complained_of);
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        sign_checked(&group, &key).await.unwrap();
        assert_eq!(group.worker_process_ids(&hsm()), replaced);
    }
    group.shutdown().await;
}

#[tokio::test]
async fn over_its_queue_a_worker_takes_no_more() {
    let token = SoftToken::new();
    let mut config = token.config();
    config.queue = 4;
    config.sessions = 1;
    let (group, _events) = started(config).await;
    let key = Arc::new(pair(&group, Algorithm::Rs256).await);
    let asked: Vec<_> = (0..64)
        .map(|_| {
            let (group, key) = (Arc::clone(&group), Arc::clone(&key));
            tokio::spawn(async move { group.sign(&key, Algorithm::Rs256, probe(&key)).await.map(drop) })
        })
        .collect();
    let (mut signed, mut overloaded) = (0, 0);
    for answer in asked {
        match answer.await.unwrap() {
            Ok(()) => signed += 1,
            Err(error) if error.failure == HsmFailure::Overloaded => overloaded += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(signed >= 4 && overloaded >= 1, "{signed} signed, {overloaded} refused");
    group.shutdown().await;
}

#[tokio::test]
async fn other_processes_that_use_the_token_disturb_nobody() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    for _ in 0..4 {
        // It comes and goes, logs in and out, and makes keys.
        token.pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", "77"]);
        sign_checked(&group, &key).await.unwrap();
    }
    group.shutdown().await;
}

#[tokio::test]
async fn a_device_that_was_removed_comes_back_by_itself() {
    let token = SoftToken::new();
    let (group, mut events) = started(token.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    let (here, away) = (token.path().join("tokens"), token.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    std::fs::create_dir(&here).unwrap();
    signal(group.worker_process_ids(&hsm())[0], "-KILL");
    let gone = |failure: &HsmFailure| matches!(failure, HsmFailure::Configuration(_));
    let until = Instant::now() + Duration::from_secs(5);
    while !sign_checked(&group, &key).await.is_err_and(|failure| gone(&failure)) {
        assert!(Instant::now() < until, "the token is not missed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_dir_all(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while sign_checked(&group, &key).await.is_err() {
        assert!(Instant::now() < until, "the token does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    group.shutdown().await;
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(matches!(event, HsmEvent::Up { .. }));
    }
    assert_eq!(told, [true, false, true]);
}

/// As after a restart of the server while its network HSM is away.
#[tokio::test]
async fn hazard_61_a_device_that_is_away_at_start_comes_by_itself_where_the_deployment_is_bound_to_it() {
    let token = SoftToken::new();
    let mut config = token.config();
    let (group, mut events) = started(config.clone()).await;
    let Some(HsmEvent::Up { token: info, .. }) = events.recv().await else { panic!("no event") };
    group.shutdown().await;
    config.expected_serial = Some(info.serial);
    let (here, away) = (token.path().join("tokens"), token.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    // Without its folder SoftHSM does not even initialise; with an empty one it has no tokens.
    for is_there in [false, true] {
        if is_there {
            std::fs::create_dir(&here).unwrap();
        }
        let (group, _events) = start(vec![config.clone()]);
        let failure = group.ready(Duration::from_secs(2)).await.unwrap_err().failure;
        assert!(matches!(failure, HsmFailure::Unavailable(_)), "{failure}");
        if is_there {
            std::fs::remove_dir_all(&here).unwrap();
            std::fs::rename(&away, &here).unwrap();
            group.ready(Duration::from_secs(10)).await.unwrap();
        }
        group.shutdown().await;
    }
    // The very token under another label is a mistake of the configuration.
    config.token_label = "sginet".into();
    let (group, _events) = start(vec![config]);
    let failure = group.ready(Duration::from_secs(10)).await.unwrap_err().failure;
    assert!(matches!(failure, HsmFailure::Configuration(_)), "{failure}");
    group.shutdown().await;
}

#[tokio::test]
async fn one_broken_token_of_two_does_not_keep_the_other_from_serving() {
    let token = SoftToken::new();
    let mut broken = token.config();
    broken.name = HsmName::new("broken");
    broken.token_label = "sginet".into();
    let (group, _events) = start(vec![broken, token.config()]);
    let outcomes = group.ready_each(Duration::from_secs(20)).await;
    let [(first, Err(error)), (second, Ok(()))] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!((first.as_str(), second), ("broken", &hsm()));
    assert!(matches!(error.failure, HsmFailure::Configuration(_)), "{error}");
    let key = pair(&group, Algorithm::Es256).await;
    sign_checked(&group, &key).await.unwrap();
    group.shutdown().await;
}

#[tokio::test]
async fn the_workers_end_with_the_group() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let workers = group.worker_process_ids(&hsm());
    assert!(workers.len() == 1 && runs(workers[0]));
    let key = pair(&group, Algorithm::Es256).await;
    group.shutdown().await;
    assert!(!runs(workers[0]));
    assert!(matches!(sign_checked(&group, &key).await, Err(HsmFailure::Unavailable(_))));

    let (group, _events) = started(token.config()).await;
    let workers = group.worker_process_ids(&hsm());
    drop(group);
    let until = Instant::now() + Duration::from_secs(5);
    while runs(workers[0]) {
        assert!(Instant::now() < until, "a worker outlives its group");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
