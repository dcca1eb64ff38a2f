//! Every fault that HAZARDS names of an HSM, made to happen by a module between the worker and SoftHSM.

use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_core::keys::{
    HsmFailure, HsmHealth as _, HsmKey, KeyAdmin as _, KeyPurpose, OtpHash, OtpSecretKind, RowBinding, SealMode,
    Signer as _, Vault as _,
};
use signet_core::secret::SecretBytes;
use signet_hsm::{HsmEvent, HsmGroup};
use signet_jose::{Algorithm, VerifyingKey};

use crate::support::fault::FaultModule;
use crate::support::hsm::{Events, announced, hsm, pair, probe, start, started, tenant, vault_keys};

/// The rule for the next call of a function.
pub(super) fn once(function: &str, what: &str) -> String {
    format!("{function} nth 1 before {what}")
}

const DEADLINE: Duration = Duration::from_secs(5);

struct Scene {
    module: FaultModule,
    group: Arc<HsmGroup>,
    events: Events,
    key: HsmKey,
}

impl Scene {
    async fn new() -> Self {
        Self::with("", DEADLINE).await
    }

    async fn with(standing: &str, deadline: Duration) -> Self {
        let module = FaultModule::standing(standing);
        let mut config = module.config();
        (config.sessions, config.deadline) = (1, deadline);
        let (group, events) = started(config).await;
        let key = pair(&group, Algorithm::Es256).await;
        let scene = Self { module, group, events, key };
        scene.sign().await.unwrap();
        scene
    }

    async fn sign(&self) -> Result<(), HsmFailure> {
        let raw =
            self.group.sign(&self.key, self.algorithm(), probe(&self.key)).await.map_err(|error| error.failure)?;
        raw.check(&VerifyingKey::new(self.key.public.clone().unwrap()), &probe(&self.key)).unwrap();
        Ok(())
    }

    fn algorithm(&self) -> Algorithm {
        self.key.public.as_ref().unwrap().algorithm
    }

    fn worker(&self) -> Option<u32> {
        self.group.worker_process_ids(&hsm()).first().copied()
    }

    async fn signs_again_within(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while let Err(failure) = self.sign().await {
            assert!(Instant::now() < until, "{failure}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_stale_session_or_handle_is_mended_within_the_request() {
    let scene = Scene::new().await;
    let worker = scene.worker();
    for (name, code) in [
        ("CKR_SESSION_HANDLE_INVALID", "0xB3"),
        ("CKR_SESSION_CLOSED", "0xB0"),
        ("CKR_OBJECT_HANDLE_INVALID", "0x82"),
        ("CKR_KEY_HANDLE_INVALID", "0x60"),
        ("CKR_USER_NOT_LOGGED_IN", "0x101"),
    ] {
        for function in ["C_SignInit", "C_Sign"] {
            scene.module.order(&once(function, &format!("return {code}")));
            scene.sign().await.unwrap_or_else(|failure| panic!("{name} by {function}: {failure}"));
            assert!(scene.module.is_done());
        }
    }
    assert_eq!(scene.worker(), worker);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn a_signature_costs_two_calls_of_the_module() {
    let mut scene = Scene::with("log calls", DEADLINE).await;
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
        scene.key = pair(&scene.group, algorithm).await;
        scene.sign().await.unwrap();
        scene.module.calm();
        for _ in 0..3 {
            scene.sign().await.unwrap();
        }
        assert_eq!(scene.module.calls(), ["C_SignInit", "C_Sign"].repeat(3), "{algorithm}");
    }
    // A module that wants more room says how much, and gets it once.
    scene.module.order("C_Sign nth 1 before too-small 600");
    scene.sign().await.unwrap();
    assert!(scene.module.is_done());
    assert_eq!(scene.module.calls(), ["C_SignInit", "C_Sign", "C_Sign"]);
    // One that is not content with that, or wants too much, costs the request and its session.
    for order in ["C_Sign from 1 before too-small 600", "C_Sign nth 1 before too-small 1000000"] {
        scene.module.order(order);
        let failure = scene.sign().await.unwrap_err();
        assert_eq!(failure, HsmFailure::Module { function: "C_Sign".into(), code: "CKR_BUFFER_TOO_SMALL".into() });
        assert!(scene.module.is_done());
        scene.module.calm();
        scene.sign().await.unwrap();
    }
    scene.group.shutdown().await;
}

#[tokio::test]
async fn a_real_logout_is_mended_by_one_login() {
    let scene = Scene::new().await;
    let worker = scene.worker();
    scene.module.order("C_SignInit nth 1 before logout");
    scene.sign().await.unwrap();
    assert!(scene.module.is_done());
    assert_eq!(scene.worker(), worker);
    scene.group.shutdown().await;
}

/// The token allows the worker's sessions and not one more.
#[tokio::test]
async fn a_session_is_closed_before_another_is_opened() {
    let scene = Scene::with("limit sessions 3", DEADLINE).await;
    let worker = scene.worker();
    for _ in 0..3 {
        scene.module.order("C_Sign nth 1 before return 0x21");
        assert!(matches!(scene.sign().await, Err(HsmFailure::Module { .. })));
        scene.sign().await.unwrap();
    }
    assert_eq!(scene.worker(), worker);
    scene.group.shutdown().await;
}

/// Its number may be another thread's new session's.
#[tokio::test]
async fn a_session_that_the_module_does_not_know_is_not_closed() {
    let scene = Scene::with("log calls", DEADLINE).await;
    for (code, closes) in [("0xB3", 0), ("0xB0", 0), ("0x82", 1)] {
        scene.module.order(&once("C_Sign", &format!("return {code}")));
        scene.sign().await.unwrap();
        let closed = scene.module.calls().iter().filter(|function| *function == "C_CloseSession").count();
        assert_eq!(closed, closes, "{code}");
    }
    scene.group.shutdown().await;
}

/// As while another process generates a key.
#[tokio::test]
async fn a_passing_error_while_a_key_is_read_costs_nothing() {
    let mut scene = Scene::new().await;
    let worker = scene.worker();
    for skipped in 0..7 {
        scene.key = pair(&scene.group, Algorithm::Es256).await;
        scene.module.order(&format!("C_GetAttributeValue nth {} before return 0x05", skipped + 1));
        scene.sign().await.unwrap_or_else(|failure| panic!("the {skipped}th reading: {failure}"));
        assert!(scene.module.is_done(), "{skipped}");
    }
    assert_eq!(scene.worker(), worker);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn any_other_error_costs_one_request_and_its_session() {
    let scene = Scene::new().await;
    let worker = scene.worker();
    for (code, name) in [
        ("0x21", "CKR_DATA_LEN_RANGE"),
        ("0x70", "CKR_MECHANISM_INVALID"),
        ("0x80000001", "CKR_VENDOR_DEFINED (0x80000001)"),
    ] {
        scene.module.order(&once("C_Sign", &format!("return {code}")));
        let failure = scene.sign().await.unwrap_err();
        assert_eq!(failure, HsmFailure::Module { function: "C_Sign".into(), code: name.into() });
        assert!(scene.group.readiness(&hsm()).is_err());
        scene.sign().await.unwrap();
        assert!(scene.group.readiness(&hsm()).is_ok());
    }
    assert_eq!(scene.worker(), worker);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn a_module_in_no_state_to_go_on_is_started_again() {
    let scene = Scene::new().await;
    for fault in [
        "return 0x30",
        "return 0x31",
        "return 0x02",
        "return 0x05",
        "return 0x32",
        "return 0xE0",
        "return 0x190",
        "abort",
        "exit",
        "segv",
    ] {
        let worker = scene.worker();
        scene.module.order(&once("C_Sign", fault));
        let failure = scene.sign().await.unwrap_err();
        assert!(matches!(failure, HsmFailure::Unavailable(_)), "{fault}: {failure}");
        scene.signs_again_within(Duration::from_secs(2)).await;
        assert_ne!(scene.worker(), worker, "{fault}");
    }
    scene.group.shutdown().await;
}

#[tokio::test]
async fn a_call_that_hangs_meets_the_deadline_and_the_worker_is_replaced() {
    let scene = Scene::with("", Duration::from_millis(300)).await;
    let worker = scene.worker();
    scene.module.order("C_Sign nth 1 before hang");
    assert!(matches!(scene.sign().await, Err(HsmFailure::Deadline(_))));
    scene.signs_again_within(Duration::from_secs(10)).await;
    assert_ne!(scene.worker(), worker);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn hazard_64_a_slow_call_meets_the_deadline_and_the_worker_stays() {
    let scene = Scene::with("", Duration::from_millis(200)).await;
    let worker = scene.worker();
    scene.module.order("C_Sign nth 1 before delay 4000");
    assert!(matches!(scene.sign().await, Err(HsmFailure::Deadline(_))));
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.sign().await.unwrap();
    assert_eq!(scene.worker(), worker);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn hazard_65_where_nothing_comes_back_the_worker_is_replaced_within_three_seconds() {
    let scene = Scene::with("", Duration::from_secs(1)).await;
    let worker = scene.worker();
    scene.module.order("C_Sign nth 1 before hang");
    let asked = Instant::now();
    let (first, second, third) = tokio::join!(scene.sign(), scene.sign(), scene.sign());
    for outcome in [first, second, third] {
        assert!(matches!(outcome, Err(HsmFailure::Deadline(_))), "{outcome:?}");
    }
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    scene.signs_again_within(Duration::from_secs(3).saturating_sub(asked.elapsed())).await;
    assert_ne!(scene.worker(), worker);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn a_wrong_signature_is_seen_before_anybody_gets_it() {
    let mut scene = Scene::new().await;
    let worker = scene.worker();
    scene.module.order("C_Sign nth 1 after flip");
    let raw = scene.group.sign(&scene.key, Algorithm::Es256, probe(&scene.key)).await.unwrap();
    assert!(raw.check(&VerifyingKey::new(scene.key.public.clone().unwrap()), &probe(&scene.key)).is_err());
    scene.group.distrust(&scene.key);
    assert!(matches!(scene.events.recv().await, Some(HsmEvent::Up { .. })));
    assert!(matches!(scene.events.recv().await, Some(HsmEvent::WrongSignature { .. })));
    assert!(matches!(scene.events.recv().await, Some(HsmEvent::Down { .. })));
    scene.signs_again_within(Duration::from_secs(2)).await;
    assert_ne!(scene.worker(), worker);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn a_pin_that_is_refused_at_a_later_login_stops_the_worker_too() {
    let scene = Scene::new().await;
    std::fs::write(scene.module.token.pin_file(), "changed meanwhile").unwrap();
    scene.module.order("C_SignInit nth 1 before logout");
    // What was in the worker's hands may have been signed; the reason is told all the same.
    let failure = scene.sign().await.unwrap_err();
    assert!(
        matches!(&failure, HsmFailure::Unavailable(detail) if detail.contains("the PIN was not accepted")),
        "{failure}"
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let failure = scene.sign().await.unwrap_err();
    assert!(matches!(failure, HsmFailure::PinRefused(_)), "{failure}");
    assert_eq!(scene.worker(), None);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn a_full_token_fails_the_generation_and_the_old_key_signs_on() {
    let scene = Scene::new().await;
    scene.module.order("C_GenerateKeyPair nth 1 before return 0x31");
    let worker = scene.worker();
    let made =
        scene.group.generate_announced(&announced(KeyPurpose::TokenSigning, Algorithm::Es256), 0).await.map(drop);
    assert!(matches!(made.unwrap_err().failure, HsmFailure::Module { code, .. } if code == "CKR_DEVICE_MEMORY"));
    scene.sign().await.unwrap();
    assert_eq!(scene.worker(), worker, "a full token is no reason to start the worker again");
    assert_eq!(scene.group.list(&hsm()).await.unwrap().len(), 1);
    // A passing error, as beside another process, is worked around.
    scene.module.order("C_GenerateKeyPair nth 1 before return 0x05");
    pair(&scene.group, Algorithm::Es384).await;
    assert_eq!(scene.group.list(&hsm()).await.unwrap().len(), 2);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn what_the_module_does_not_hash_is_hashed_before() {
    let hidden = "hide 0x40\nhide 0x41\nhide 0x42\nhide 0x43\nhide 0x44\nhide 0x45";
    let scene = Scene::with(hidden, DEADLINE).await;
    for algorithm in
        [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512]
    {
        let key = pair(&scene.group, algorithm).await;
        let raw = scene.group.sign(&key, algorithm, probe(&key)).await.unwrap();
        raw.check(&VerifyingKey::new(key.public.clone().unwrap()), &probe(&key)).unwrap();
    }
    scene.group.shutdown().await;
}

#[tokio::test]
async fn a_missing_mechanism_is_named() {
    // CKM_ECDSA, CKM_AES_KEY_WRAP_PAD
    let module = FaultModule::standing("hide 0x1041\nhide 0x210a");
    let (group, _events) = started(module.config()).await;
    let report = group.describe(&hsm()).await.unwrap();
    assert!(!report.algorithms.contains(&Algorithm::Es256) && report.algorithms.contains(&Algorithm::EdDsa));
    assert_eq!(report.seal_modes, [SealMode::Sealed]);
    let key = pair(&group, Algorithm::Es256).await;
    let failure = group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap_err().failure;
    assert_eq!(failure, HsmFailure::MechanismMissing("CKM_ECDSA".into()));
    // Without key wrapping the seed is sealed, and works all the same.
    vault_keys(&group, &[KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding]).await;
    let row = RowBinding::new(&tenant(), "factors", "a", "secret");
    let kind = OtpSecretKind::Hmac(OtpHash::Sha1);
    let seals = group.wrap(&row, kind, &SecretBytes::new(vec![1; 20])).await.unwrap();
    assert_eq!(seals.0[&hsm()][0], 1);
    assert_eq!(group.otp_hmac(&row, &seals, OtpHash::Sha1, vec![[0; 8]]).await.unwrap()[0].len(), 20);
    group.shutdown().await;

    let nothing = [0x1, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0xd, 0x1041, 0x1057];
    module.stand(&nothing.map(|mechanism| format!("hide {mechanism:#x}")).join("\n"));
    let (group, _events) = start(vec![module.config()]);
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
    assert!(
        matches!(&failure, HsmFailure::MechanismMissing(mechanism) if mechanism.contains("CKM_ECDSA")),
        "{failure}"
    );
    group.shutdown().await;
}
