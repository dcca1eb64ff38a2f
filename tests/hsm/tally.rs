//! The worker counts what it signs, and what it counts outlives it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use signet_core::keys::{HsmFailure, KeyAdmin as _, KeyTally, Signer as _};
use signet_hsm::{HsmConfig, HsmGroup};
use signet_jose::Algorithm;

use crate::support::fault::FaultModule;
use crate::support::hsm::{SoftToken, hsm, pair, probe, start, started};

async fn tally(group: &HsmGroup) -> KeyTally {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match group.tally(&hsm()).await {
            Ok(mut tallies) => {
                assert_eq!(tallies.len(), 1);
                return tallies.remove(0);
            }
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn file(token: &SoftToken) -> PathBuf {
    token.state().join("primary.0.tally")
}

#[tokio::test]
async fn each_signature_is_counted_with_its_key_and_kind() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    assert_eq!(group.tally(&hsm()).await.unwrap(), []);
    let key = pair(&group, Algorithm::Es256).await;
    for _ in 0..7 {
        drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap());
    }
    let failure = group.sign(&key, Algorithm::Es256, b"foreign bytes".to_vec()).await.unwrap_err().failure;
    assert!(matches!(failure, HsmFailure::Refused(_)), "{failure}");
    let counted = tally(&group).await;
    assert_eq!((counted.tests, counted.refused, counted.tokens), (7, 1, 0));
    assert_eq!(counted.key_id, key.key_id);
    assert!(counted.first_at <= counted.last_at && counted.first_at.is_some());
    group.shutdown().await;
}

/// Killed again and again while it signs: each signature that somebody got is in the count, and no more are than were
/// asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_is_never_behind_after_kill_nine() {
    let token = SoftToken::new();
    let mut config = token.config();
    config.workers = 2;
    let (group, _events) = started(config).await;
    let key = Arc::new(pair(&group, Algorithm::Es256).await);
    let (asked, got) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let until = Instant::now() + Duration::from_secs(4);
    let streams: Vec<_> = (0..8)
        .map(|_| {
            let (group, key, asked, got) = (group.clone(), key.clone(), asked.clone(), got.clone());
            tokio::spawn(async move {
                while Instant::now() < until {
                    // One more where the worker died: it is asked of another.
                    asked.fetch_add(2, Ordering::Relaxed);
                    match group.sign(&key, Algorithm::Es256, probe(&key)).await {
                        Ok(_) => drop(got.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            })
        })
        .collect();
    let mut kills = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(400)).await;
        for worker in group.worker_process_ids(&hsm()) {
            assert!(std::process::Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
            kills += 1;
        }
    }
    for stream in streams {
        stream.await.unwrap();
    }
    let counted = tally(&group).await.tests;
    let (asked, got) = (asked.load(Ordering::Relaxed), got.load(Ordering::Relaxed));
    println!("{kills} kills: {got} signatures were got, {counted} are counted");
    assert!(kills >= 6 && got > 500, "{kills} kills, {got} signatures");
    assert!((got..=asked).contains(&counted), "{got} were got, {counted} are counted");
    // What was in hand: at most eight at each kill.
    assert!(counted - got <= kills * 8, "{got} were got, {counted} are counted");
    group.shutdown().await;
}

#[tokio::test]
async fn what_the_hsm_did_not_sign_is_not_counted() {
    let module = FaultModule::new();
    let (group, _events) = started(module.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap());
    module.order("C_Sign nth 1 before return 0x21");
    assert!(group.sign(&key, Algorithm::Es256, probe(&key)).await.is_err());
    assert_eq!(tally(&group).await.tests, 1);
    // Mended by a second attempt: one signature, counted once.
    module.order("C_Sign nth 1 before return 0xB3");
    drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap());
    assert_eq!(tally(&group).await.tests, 2);
    group.shutdown().await;
}

/// Whoever was told that the time is up counts the signature as perhaps made, and settles that; a count that were taken
/// back later would be behind the records.
#[tokio::test]
async fn what_failed_after_its_time_was_up_stays_counted() {
    let module = FaultModule::new();
    let config = HsmConfig { sessions: 1, deadline: Duration::from_millis(500), ..module.config() };
    let (group, _events) = started(config).await;
    let key = pair(&group, Algorithm::Es256).await;
    module.order("C_Sign nth 1 before delay 1000\nC_Sign nth 1 after return 0x21");
    let late = group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap_err();
    assert!(matches!(late.failure, HsmFailure::Deadline(_)) && late.is_unknown_outcome(), "{late}");
    // The one session does this one after that one. On a busy machine another one may be late too, and then stays counted.
    let (mut asked, until) = (1, Instant::now() + Duration::from_secs(20));
    loop {
        asked += 1;
        if group.sign(&key, Algorithm::Es256, probe(&key)).await.is_ok() {
            break;
        }
        assert!(Instant::now() < until, "it does not sign any more");
    }
    assert!(module.is_done());
    let counted = tally(&group).await.tests;
    assert!((2..=asked).contains(&counted), "{counted} of {asked}");
    group.shutdown().await;
}

#[tokio::test]
async fn a_damaged_count_stops_the_signer_and_says_what_to_do() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap());
    group.shutdown().await;
    let mut bytes = std::fs::read(file(&token)).unwrap();
    bytes[70] ^= 1;
    std::fs::write(file(&token), bytes).unwrap();
    let (group, _events) = start(vec![token.config()]);
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure.to_string();
    assert!(failure.contains("damaged in line 1") && failure.contains("move it away"), "{failure}");
    group.shutdown().await;
    std::fs::rename(file(&token), token.state().join("kept")).unwrap();
    let (group, _events) = started(token.config()).await;
    drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap());
    assert_eq!(tally(&group).await.tests, 1);
    group.shutdown().await;
}
