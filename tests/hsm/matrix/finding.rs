//! Faults while a key is looked for and judged, and while a session is replaced.

use signet_jose::Algorithm;

use super::expected::{Expected, by_code, by_code_in_short};
use super::{Asked, DEADLINE, Scene, both_phases};
use crate::support::hsm::pair;

/// Looking for a key is tried again after a code that says as little as this.
fn while_finding(code: &str, expected: Expected) -> Expected {
    if ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED"].contains(&code) { Expected::Mended } else { expected }
}

#[tokio::test]
async fn hazard_60_every_code_of_the_functions_that_find_a_key() {
    both_phases("finding a key", 60, async |scene, phase| {
        for (function, codes) in [
            ("C_FindObjectsInit", by_code_in_short()),
            ("C_FindObjects", by_code()),
            ("C_GetAttributeValue", by_code_in_short()),
        ] {
            for (code, expected) in codes {
                let rules = format!("{function} nth 1 {phase} return {code}");
                scene.case(Asked::SignAnew, &rules, while_finding(code, expected)).await;
            }
        }
    })
    .await;
}

/// Neither the end of a search nor the copy of a key is needed.
#[tokio::test]
async fn what_is_not_needed_may_fail() {
    both_phases("C_FindObjectsFinal and C_CopyObject", 20, async |scene, phase| {
        for function in ["C_FindObjectsFinal", "C_CopyObject"] {
            for (code, _) in by_code_in_short() {
                scene.case(Asked::SignAnew, &format!("{function} nth 1 {phase} return {code}"), Expected::Mended).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_behaviour_while_a_key_is_found() {
    both_phases("finding a key, behaviours", 20, async |scene, phase| {
        for function in ["C_FindObjectsInit", "C_FindObjects", "C_GetAttributeValue", "C_CopyObject"] {
            for what in ["delay 50", "garbage", "logout"] {
                scene.case(Asked::SignAnew, &format!("{function} nth 1 {phase} {what}"), Expected::Mended).await;
            }
            for what in ["segv", "abort"] {
                scene.case(Asked::SignAnew, &format!("{function} nth 1 {phase} {what}"), Expected::Restarts).await;
            }
        }
    })
    .await;
}

/// The same handle twice is one key.
#[tokio::test]
async fn hazard_68_a_search_that_gives_a_handle_twice_has_found_one_key() {
    let mut scene = Scene::new(DEADLINE).await;
    for number in 1..=2 {
        let rules = format!("C_FindObjects nth {number} after duplicate");
        scene.case(Asked::SignAnew, &rules, Expected::Mended).await;
    }
    scene.end("duplicate results", 2).await;
}

/// The handle that is found is another key's.
#[tokio::test]
async fn hazard_60_another_keys_handle_is_not_taken_for_the_key() {
    let scene = Scene::new(DEADLINE).await;
    for number in 1..=2 {
        // A key to be taken for another must have been found before.
        let known = pair(&scene.group, Algorithm::Es256).await;
        scene.sign(&known).await.unwrap();
        let key = pair(&scene.group, Algorithm::Es256).await;
        scene.module.order(&format!("C_FindObjects nth {number} after other-key"));
        let outcome = scene.sign(&key).await;
        assert!(outcome.is_err(), "{outcome:?}");
        assert!(scene.module.is_done());
        scene.module.calm();
        scene.sign(&scene.key).await.unwrap();
    }
    scene.end("another key's handle", 0).await;
}

/// A session is replaced after a fault, and that fails too.
#[tokio::test]
async fn a_session_that_can_not_be_replaced_restarts_the_worker() {
    both_phases("replacing a session", 13, async |scene, phase| {
        for (code, _) in by_code_in_short() {
            let stale = "C_Sign nth 1 before return CKR_SESSION_HANDLE_INVALID";
            let rules = format!("{stale}\nC_OpenSession nth 1 {phase} return {code}");
            scene.case(Asked::Sign, &rules, Expected::Restarts).await;
        }
        for code in ["CKR_SESSION_HANDLE_INVALID", "CKR_DEVICE_ERROR", "CKR_GENERAL_ERROR"] {
            let stale = "C_Sign nth 1 before return CKR_OBJECT_HANDLE_INVALID";
            let rules = format!("{stale}\nC_CloseSession nth 1 {phase} return {code}");
            scene.case(Asked::Sign, &rules, Expected::Mended).await;
        }
    })
    .await;
}
