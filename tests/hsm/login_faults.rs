//! Faults while a worker starts and logs in: a PIN whose fate is unknown is not shown again.

use std::time::{Duration, Instant};

use signet_core::keys::HsmFailure;

use super::faults::once;
use crate::support::fault::FaultModule;
use crate::support::hsm::{start, started};

#[tokio::test]
async fn a_locked_pin_stops_the_worker_for_good() {
    for (code, name) in
        [("0xA4", "CKR_PIN_LOCKED"), ("0xA3", "CKR_PIN_EXPIRED"), ("0x102", "CKR_USER_PIN_NOT_INITIALIZED")]
    {
        let module = FaultModule::new();
        module.order(&once("C_Login", &format!("return {code}")));
        let (group, _events) = start(vec![module.config()]);
        let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
        assert!(matches!(&failure, HsmFailure::PinRefused(detail) if detail.contains(name)), "{failure}");
        group.shutdown().await;
        // SoftHSM would take the PIN now. It is not sent.
        let (group, _events) = start(vec![module.config()]);
        let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
        assert!(matches!(&failure, HsmFailure::PinRefused(detail) if detail.contains("not sent again")), "{failure}");
        group.shutdown().await;
    }
}

/// A crash, or an answer that says nothing of the PIN: the token may have counted a try.
#[tokio::test]
async fn promise_9_a_pin_whose_fate_is_unknown_is_not_presented_again() {
    for fault in ["abort", "exit", "return 0x05", "return 0x06", "return 0x30"] {
        let module = FaultModule::new();
        let marker = module.token.path().join("pin.refused");
        module.order(&once("C_Login", fault));
        let (group, _events) = start(vec![module.config()]);
        let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
        assert!(
            matches!(&failure, HsmFailure::PinRefused(detail) if detail.contains("may have counted") && detail.contains("pin.refused")),
            "{fault}: {failure}"
        );
        group.shutdown().await;
        assert!(module.is_done() && marker.exists(), "{fault}");
        // A later login would be counted here.
        module.order("C_Login nth 1 before return 0xA0");
        let (group, _events) = start(vec![module.config()]);
        let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
        assert!(matches!(failure, HsmFailure::PinRefused(_)), "{fault}: {failure}");
        group.shutdown().await;
        assert!(!module.is_done(), "{fault}: the PIN was presented again");
    }
}

/// The PIN was good at an earlier start, and its file is as it was: one end of unknown fate needs nobody, two do.
#[tokio::test]
async fn promise_9_a_pin_that_was_taken_before_is_presented_once_more_after_a_crash() {
    for fault in ["abort", "exit", "return 0x05"] {
        let module = FaultModule::new();
        let (group, _events) = started(module.config()).await;
        group.shutdown().await;
        module.order(&once("C_Login", fault));
        let (group, _events) = started(module.config()).await;
        group.shutdown().await;
        assert!(module.is_done() && !module.token.path().join("pin.refused").exists(), "{fault}");
    }
    let module = FaultModule::new();
    let (group, _events) = started(module.config()).await;
    group.shutdown().await;
    for _ in 0..2 {
        // The worker is not started again by the group: each end is that of a whole server.
        let marker = module.token.path().join("pin.refused");
        module.order(&once("C_Login", "hang"));
        let (group, _events) = start(vec![module.config()]);
        let until = Instant::now() + Duration::from_secs(20);
        while !module.is_done() || !marker.exists() {
            assert!(Instant::now() < until, "the PIN was not presented");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        group.shutdown().await;
    }
    module.order(&once("C_Login", "return 0xA0"));
    let (group, _events) = start(vec![module.config()]);
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
    assert!(matches!(failure, HsmFailure::PinRefused(_)), "{failure}");
    group.shutdown().await;
    assert!(!module.is_done(), "the PIN was presented a third time");
}

#[tokio::test]
async fn an_answer_before_the_pin_was_looked_at_is_tried_again() {
    for fault in ["return 0x32", "return 0xE0", "return 0x02", "return 0xB3", "return 0x100"] {
        let module = FaultModule::new();
        module.order(&once("C_Login", fault));
        let (group, _events) = started(module.config()).await;
        assert!(module.is_done() && !module.token.path().join("pin.refused").exists(), "{fault}");
        group.shutdown().await;
    }
}

#[tokio::test]
async fn a_passing_error_at_start_is_tried_again_and_too_many_sessions_are_explained() {
    let module = FaultModule::new();
    module.order("C_OpenSession nth 1 before return 0x05");
    let (group, _events) = started(module.config()).await;
    assert!(module.is_done());
    group.shutdown().await;
    // CKR_SESSION_COUNT at the third session
    module.order("C_OpenSession nth 3 before return 0xB1");
    let (group, _events) = start(vec![module.config()]);
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
    assert!(matches!(&failure, HsmFailure::Configuration(detail) if detail.contains("lower `sessions`")), "{failure}");
    group.shutdown().await;
}
