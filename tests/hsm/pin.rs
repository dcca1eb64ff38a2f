//! Promise 9: nothing is retried against a PIN (HAZARDS 63, 90, 91).

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use signet_core::keys::{HsmFailure, HsmHealth as _, KeyAdmin as _};
use signet_hsm::{HsmEvent, PinSource};

use crate::support::hsm::{SoftToken, hsm, start, started};

pub(super) fn write_pin(path: &Path, pin: &str) {
    std::fs::write(path, pin).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn refusal(config: signet_hsm::HsmConfig) -> HsmFailure {
    let (group, _events) = start(vec![config]);
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
    group.shutdown().await;
    failure
}

#[tokio::test]
async fn a_wrong_pin_is_presented_once_by_any_number_of_workers_and_starts() {
    let token = SoftToken::new();
    let pin = token.pin();
    let wrong = token.path().join("wrong");
    write_pin(&wrong, "0000-not-the-pin");
    let mut config = token.config();
    config.pin = PinSource::File(wrong.clone());
    config.workers = 3;

    let (group, mut events) = start(vec![config.clone()]);
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
    let HsmFailure::PinRefused(detail) = &failure else { panic!("{failure}") };
    assert!(detail.contains("CKR_PIN_INCORRECT") && detail.contains("wrong.refused"), "{detail}");
    assert!(!detail.contains("0000-not-the-pin"));
    assert!(matches!(events.recv().await, Some(HsmEvent::Down { failure: HsmFailure::PinRefused(_), .. })));
    assert_eq!(group.readiness(&hsm()).unwrap_err().failure, failure);
    // No other worker starts: nothing more is ever told.
    assert!(tokio::time::timeout(Duration::from_secs(1), events.recv()).await.is_err());
    group.shutdown().await;

    // The right PIN clears SoftHSM's "count low". A new start with the wrong one must not set it again.
    let (healthy, _events) = started(token.config()).await;
    assert!(!healthy.describe(&hsm()).await.unwrap().pin_count_low);
    let failure = refusal(config.clone()).await;
    assert!(matches!(&failure, HsmFailure::PinRefused(detail) if detail.contains("not sent again")), "{failure}");
    assert!(!healthy.describe(&hsm()).await.unwrap().pin_count_low);

    // A person who removes the marker has the same PIN tried once more; the token notices.
    std::fs::remove_file(token.path().join("wrong.refused")).unwrap();
    let failure = refusal(config.clone()).await;
    assert!(matches!(&failure, HsmFailure::PinRefused(detail) if detail.contains("CKR_PIN_INCORRECT")), "{failure}");
    assert!(healthy.describe(&hsm()).await.unwrap().pin_count_low);
    healthy.shutdown().await;

    // The corrected PIN is tried without further ado.
    write_pin(&wrong, &pin);
    let (group, _events) = started(config).await;
    assert!(!token.path().join("wrong.refused").exists());
    group.shutdown().await;
}

#[tokio::test]
async fn a_refusal_is_remembered_in_the_state_directory_where_one_is_given() {
    let token = SoftToken::new();
    let state = tempfile::tempdir().unwrap();
    let credentials = tempfile::tempdir().unwrap();
    write_pin(&credentials.path().join("hsm-pin"), "wrong");
    let mut config = token.config();
    config.pin = PinSource::Credential("hsm-pin".into());
    config.state_directory = Some(state.path().to_owned());
    config.environment.insert("CREDENTIALS_DIRECTORY".into(), credentials.path().to_str().unwrap().into());
    assert!(matches!(refusal(config.clone()).await, HsmFailure::PinRefused(_)));
    let marker = state.path().join("primary.pin-refused");
    assert_eq!(std::fs::metadata(&marker).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&marker).unwrap().contains("wrong"));
    // systemd makes the credential's file anew at each start: only a person's word counts.
    write_pin(&credentials.path().join("hsm-pin"), &token.pin());
    let failure = refusal(config.clone()).await;
    assert!(matches!(&failure, HsmFailure::PinRefused(detail) if detail.contains("not sent again")), "{failure}");
    std::fs::remove_file(&marker).unwrap();
    started(config).await.0.shutdown().await;
}

#[tokio::test]
async fn a_pin_file_that_others_can_read_is_refused() {
    let token = SoftToken::new();
    std::fs::set_permissions(token.pin_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let failure = refusal(token.config()).await;
    assert!(matches!(&failure, HsmFailure::Configuration(detail) if detail.contains("chmod 600")), "{failure}");
}

#[tokio::test]
async fn the_pin_is_in_no_argument_and_no_environment_of_the_worker() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let workers = group.worker_process_ids(&hsm());
    assert_eq!(workers.len(), 1);
    for pid in workers {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(arguments.ends_with(b"\0hsm-worker\0"));
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"));
    }
    group.shutdown().await;
}
