//! Faults of the two calls that make a signature.

use std::time::Duration;

use signet_core::keys::KeyAdmin as _;
use signet_jose::Algorithm;

use super::expected::{Expected, PHASES, by_code};
use super::{Asked, DEADLINE, Scene, both_phases};
use crate::support::hsm::pair;

async fn every_code_of(function: &str) {
    both_phases(&format!("{function}, every code"), 41, async |scene, phase| {
        for (code, expected) in by_code() {
            // The one code that C_Sign may give and go on: there is a buffer of the length that it names.
            let is_mended = (function, code) == ("C_Sign", "CKR_BUFFER_TOO_SMALL");
            let expected = if is_mended { Expected::Mended } else { expected };
            scene.case(Asked::Sign, &format!("{function} nth 1 {phase} return {code}"), expected).await;
        }
    })
    .await;
}

#[tokio::test]
async fn hazards_58_to_64_every_code_of_c_sign_init() {
    every_code_of("C_SignInit").await;
}

#[tokio::test]
async fn hazards_58_to_64_every_code_of_c_sign() {
    every_code_of("C_Sign").await;
}

#[tokio::test]
async fn hazards_59_and_66_every_behaviour_of_a_signature() {
    both_phases("C_SignInit and C_Sign, behaviours", 14, async |scene, phase| {
        for function in ["C_SignInit", "C_Sign"] {
            for what in ["delay 100", "garbage", "logout", "latch logged-out"] {
                scene.case(Asked::Sign, &format!("{function} nth 1 {phase} {what}"), Expected::Mended).await;
            }
            for what in ["segv", "abort", "exit"] {
                scene.case(Asked::Sign, &format!("{function} nth 1 {phase} {what}"), Expected::Restarts).await;
            }
        }
        let median = scene.results.median(Expected::Restarts);
        assert!(median < Duration::from_secs(1), "{median:?} from a crash to the next signature");
    })
    .await;
}

/// The same code again and again, from one session after another.
#[tokio::test]
async fn a_code_that_nobody_knows_is_borne_once() {
    let mut scene = Scene::new(DEADLINE).await;
    let worker = scene.worker();
    scene.module.order("C_SignInit from 1 before return 0x80000001");
    Expected::Fails.check(&scene.ask(Asked::Sign).await, "the first time");
    Expected::Restarts.check(&scene.ask(Asked::Sign).await, "the second time");
    scene.module.calm();
    scene.recovered(Asked::Sign, std::time::Instant::now(), "afterwards").await;
    assert_ne!(scene.worker(), worker);
    // What the request was to blame for does not end the worker, however often it is said.
    let worker = scene.worker();
    scene.module.order("C_SignInit from 1 before return CKR_MECHANISM_PARAM_INVALID");
    for _ in 0..10 {
        Expected::Fails.check(&scene.ask(Asked::Sign).await, "a refusal");
    }
    scene.case(Asked::Sign, "C_Sign nth 1 before return CKR_SESSION_CLOSED", Expected::Mended).await;
    assert_eq!(scene.worker(), worker);
    scene.end("repeated codes", 1).await;
}

/// A stale session that stays stale after it was replaced: the module itself is.
#[tokio::test]
async fn what_is_broken_again_after_it_was_mended_restarts_the_worker() {
    let mut scene = Scene::new(DEADLINE).await;
    for code in super::expected::STALE {
        let rules = format!("C_SignInit nth 1 before return {code}\nC_Sign nth 1 before return {code}");
        scene.case(Asked::Sign, &rules, Expected::Restarts).await;
    }
    scene.end("broken twice", 8).await;
}

#[tokio::test]
async fn hazard_67_a_wrong_signature_is_withheld() {
    let mut scene = Scene::new(DEADLINE).await;
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
        let other = pair(&scene.group, algorithm).await;
        scene.key = pair(&scene.group, algorithm).await;
        scene.sign(&other).await.unwrap();
        scene.sign(&scene.key).await.unwrap();
        for what in ["flip", "truncate", "zero"] {
            scene.case(Asked::Sign, &format!("C_Sign nth 1 after {what}"), Expected::Withheld).await;
        }
        scene.sign(&other).await.unwrap();
        scene.case(Asked::Sign, "C_SignInit nth 1 before other-key", Expected::Withheld).await;
        scene.group.destroy(&other).await.unwrap();
    }
    scene.end("wrong signatures", 20).await;
}

/// Nothing comes back: the asker hears of it at the deadline, and the next ones get another worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hazard_65_a_hang_is_answered_within_two_seconds_and_replaced_within_three() {
    let deadline = Duration::from_secs(1);
    let mut scene = Scene::new(deadline).await;
    for function in ["C_SignInit", "C_Sign"] {
        for phase in PHASES {
            let worker = scene.worker();
            scene.module.order(&format!("{function} nth 1 {phase} hang"));
            let begun = std::time::Instant::now();
            let (first, second, third) =
                tokio::join!(scene.ask(Asked::Sign), scene.ask(Asked::Sign), scene.ask(Asked::Sign));
            for outcome in [first, second, third] {
                Expected::Hangs.check(&outcome, function);
            }
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
            assert!(scene.module.is_done());
            let took = scene.recovered(Asked::Sign, begun, function).await;
            assert!(took < Duration::from_secs(3), "{took:?}");
            assert_ne!(scene.worker(), worker);
            scene.results.cases += 1;
            scene.results.recoveries.entry(Expected::Hangs).or_default().push(took);
            // An answer that comes quickly clears the suspicion that the HSM is slow throughout.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    scene.end("hangs", 4).await;
}
