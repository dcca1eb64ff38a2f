//! Faults of `C_Login`: whatever is not known to be harmless stops the worker for good, and the PIN is not shown again.

use std::time::{Duration, Instant};

use signet_core::keys::HsmFailure;
use signet_fault_module::rules::Latch;

use super::expected::{Expected, PHASES};
use super::{Asked, DEADLINE, Scene};
use crate::support::fault::FaultModule;
use crate::support::hsm::{hsm, start};

const OF_THE_PIN: &[&str] = &[
    "CKR_PIN_INCORRECT",
    "CKR_PIN_INVALID",
    "CKR_PIN_LEN_RANGE",
    "CKR_PIN_EXPIRED",
    "CKR_PIN_LOCKED",
    "CKR_USER_PIN_NOT_INITIALIZED",
];

/// Codes that come before a token looks at the PIN.
const HARMLESS: &[&str] = &[
    "CKR_CRYPTOKI_NOT_INITIALIZED",
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_SESSION_CLOSED",
    "CKR_SLOT_ID_INVALID",
    "CKR_DEVICE_REMOVED",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_TOKEN_NOT_RECOGNIZED",
    "CKR_HOST_MEMORY",
];

/// The token was logged out by somebody; what becomes of the next login.
#[tokio::test]
async fn hazard_59_a_login_that_fails_before_the_pin_was_looked_at_is_got_over() {
    let mut scene = Scene::new(DEADLINE).await;
    for code in HARMLESS {
        let logins = scene.module.logins();
        let rules = format!("C_SignInit nth 1 before latch logged-out\nC_Login nth 1 before return {code}");
        scene.case(Asked::Sign, &rules, Expected::Restarts).await;
        // The one that failed, and that of the next worker.
        assert_eq!(scene.module.logins() - logins, 2, "{code}");
    }
    scene.end("logging in again", 8).await;
}

/// Amid a logout a module may answer no more than that something went wrong, as SoftHSM does.
#[tokio::test]
async fn hazard_59_a_general_error_of_a_session_that_was_logged_out_is_a_logout() {
    let mut scene = Scene::new(DEADLINE).await;
    for function in ["C_SignInit", "C_Sign"] {
        for latch in ["logout", "latch logged-out"] {
            let logins = scene.module.logins();
            let rules = format!("{function} nth 1 before {latch}\n{function} nth 1 before return CKR_GENERAL_ERROR");
            scene.case(Asked::Sign, &rules, Expected::Mended).await;
            assert_eq!(scene.module.logins() - logins, 1, "{rules}");
        }
    }
    scene.end("a logout that looks like a broken module", 4).await;
}

/// All sessions find the token logged out at once: one login is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hazard_59_of_all_who_notice_a_logout_one_logs_in() {
    let module = FaultModule::new();
    let mut config = module.config();
    config.sessions = 8;
    let (group, _events) = crate::support::hsm::started(config).await;
    let key = crate::support::hsm::pair(&group, signet_jose::Algorithm::Es256).await;
    for _ in 0..5 {
        let logins = module.logins();
        module.order("C_SignInit nth 3 before latch logged-out\nC_Login every before delay 50");
        let asked = (0..64).map(|_| {
            let (group, key) = (std::sync::Arc::clone(&group), key.clone());
            tokio::spawn(async move {
                use signet_core::keys::Signer as _;
                group.sign(&key, signet_jose::Algorithm::Es256, crate::support::hsm::probe(&key)).await.map(drop)
            })
        });
        for outcome in asked.collect::<Vec<_>>() {
            outcome.await.unwrap().unwrap();
        }
        assert_eq!(module.logins() - logins, 1);
    }
    group.shutdown().await;
}

fn is_of_the_pin(told: &str) -> bool {
    told.contains("the PIN was not accepted")
}

/// The PIN is refused while the worker serves; then it is refused by the log of logins, whoever asks and starts again.
#[tokio::test]
async fn promise_9_and_hazard_63_a_pin_that_is_refused_is_presented_once_ever() {
    for (at, code) in OF_THE_PIN.iter().enumerate() {
        let scene = Scene::new(DEADLINE).await;
        let logins = scene.module.logins();
        let phase = PHASES[at % PHASES.len()];
        scene.module.order(&format!("C_SignInit nth 1 before latch logged-out\nC_Login nth 1 {phase} return {code}"));
        let failure = scene.ask(Asked::Sign).await.unwrap_err();
        // What was in the worker's hands may have been signed; the reason is told all the same.
        assert!(matches!(&failure, HsmFailure::Unavailable(detail) if is_of_the_pin(detail)), "{failure}");
        assert!(failure.to_string().contains(code), "{failure}");
        assert!(scene.module.is_done());
        // Were it presented again, the token would take it.
        scene.module.calm();
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            let failure = scene.ask(Asked::Sign).await.unwrap_err();
            assert!(is_of_the_pin(&failure.to_string()), "{failure}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(scene.group.worker_process_ids(&hsm()).is_empty());
        scene.group.shutdown().await;
        for _ in 0..2 {
            let (group, _events) = start(vec![scene.module.config()]);
            let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
            assert!(matches!(failure, HsmFailure::PinRefused(_)), "{failure}");
            group.shutdown().await;
        }
        assert_eq!(scene.module.logins() - logins, 1, "{code}: the PIN was presented again");
    }
}

/// A token whose PIN is locked says so before the login: it hears nothing of ours.
#[tokio::test]
async fn hazard_63_a_locked_pin_is_told_and_not_tried_again() {
    let module = FaultModule::new();
    module.latch(Latch::PinLocked);
    for _ in 0..3 {
        let (group, _events) = start(vec![module.config()]);
        let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
        assert!(matches!(&failure, HsmFailure::PinRefused(_)), "{failure}");
        group.shutdown().await;
    }
    assert_eq!(module.logins(), 0);
}
