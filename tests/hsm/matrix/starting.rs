//! Faults while a worker starts: it was gone, and the module fails as its successor takes over.

use std::time::Duration;

use super::expected::Expected;
use super::{Asked, DEADLINE, Scene, both_phases};
use signet_fault_module::rules::Latch;

const FUNCTIONS: &[&str] =
    &["C_Initialize", "C_GetSlotList", "C_GetTokenInfo", "C_GetMechanismList", "C_OpenSession", "C_GetInfo"];

const CODES: &[&str] = &[
    "CKR_GENERAL_ERROR",
    "CKR_DEVICE_ERROR",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_HOST_MEMORY",
    "CKR_CRYPTOKI_NOT_INITIALIZED",
];

#[tokio::test]
async fn hazard_61_every_fault_of_a_start_is_got_over() {
    both_phases("starting", 50, async |scene, phase| {
        for function in FUNCTIONS {
            for what in CODES.iter().map(|code| format!("return {code}")) {
                let rules = format!("C_Sign nth 1 before exit\n{function} nth 1 {phase} {what}");
                starts_after(scene, &rules).await;
            }
            for what in ["segv", "exit", "delay 50", "garbage"] {
                let rules = format!("C_Sign nth 1 before exit\n{function} nth 1 {phase} {what}");
                starts_after(scene, &rules).await;
            }
        }
    })
    .await;
}

/// The second fault comes after the answer: the token is waited for, then both must have happened.
async fn starts_after(scene: &mut Scene, rules: &str) {
    let worker = scene.worker();
    scene.module.order(rules);
    let begun = std::time::Instant::now();
    let outcome = scene.ask(Asked::Sign).await;
    Expected::Restarts.check(&outcome, rules);
    let took = scene.recovered(Asked::Sign, begun, rules).await;
    assert!(scene.module.is_done(), "{rules}: it did not happen");
    assert_ne!(scene.worker(), worker, "{rules}");
    scene.results.cases += 1;
    scene.results.recoveries.entry(Expected::Restarts).or_default().push(took);
    scene.module.calm();
}

/// The device is away for a while: long enough that the pauses between the starts have grown.
#[tokio::test]
async fn hazard_61_a_device_that_is_back_signs_within_five_seconds_without_an_operator() {
    let scene = Scene::new(DEADLINE).await;
    for away in [Duration::from_millis(300), Duration::from_secs(8)] {
        let worker = scene.worker();
        scene.module.latch(Latch::Removed);
        let begun = std::time::Instant::now();
        while begun.elapsed() < away {
            let outcome = scene.ask(Asked::Sign).await;
            assert!(outcome.is_err());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        scene.module.unlatch();
        let took = scene.recovered(Asked::Sign, std::time::Instant::now(), "the device is back").await;
        eprintln!("fault matrix, a device that was away for {away:?}: signing {took:.0?} after it was back");
        assert!(took < Duration::from_secs(5));
        assert_ne!(scene.worker(), worker);
    }
    scene.end("device", 0).await;
}

#[tokio::test]
async fn hazard_64_more_sessions_than_the_token_allows_are_explained_and_not_insisted_on() {
    let mut scene = Scene::new(DEADLINE).await;
    // The anchor, one session, the managing one: exactly these.
    scene.module.stand("limit sessions 3");
    scene.case(Asked::Sign, "C_Sign nth 1 before segv", Expected::Restarts).await;
    for code in ["CKR_SESSION_HANDLE_INVALID", "CKR_OBJECT_HANDLE_INVALID"] {
        // A lost session is not closed, since it is not there any more: the token that counts it all the same is asked
        // again by another worker.
        let expected = if code == "CKR_SESSION_HANDLE_INVALID" { Expected::Restarts } else { Expected::Mended };
        scene.case(Asked::Sign, &format!("C_Sign nth 1 before return {code}"), expected).await;
    }
    scene.end("few sessions", 3).await;
}
