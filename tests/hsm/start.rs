//! What can't work says so, in words that a person can act on (HAZARDS 68, 71, 72).

use std::time::Duration;

use signet_core::keys::HsmFailure;
use signet_hsm::HsmConfig;

use crate::support::hsm::{PROGRAM, SoftToken, provision, start, started};

async fn complaint(config: HsmConfig) -> String {
    let (group, _events) = start(vec![config]);
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
    group.shutdown().await;
    match failure {
        HsmFailure::Configuration(detail) => detail,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_missing_module_and_a_file_that_is_none() {
    let token = SoftToken::new();
    let mut config = token.config();
    config.module = "/usr/lib/nowhere/libnothing.so".into();
    assert!(complaint(config.clone()).await.contains("there is no PKCS#11 module at /usr/lib/nowhere/libnothing.so"));
    config.module = token.configuration();
    assert!(complaint(config).await.contains("can't be loaded as a PKCS#11 module"));
}

/// How long a signature that was given up may still be made depends on it, and tokens come and go while the server serves.
#[tokio::test]
async fn the_longest_deadline_is_that_of_any_token_that_was_ever_there() {
    let token = SoftToken::new();
    let with = |seconds| HsmConfig { deadline: Duration::from_secs(seconds), ..token.config() };
    let (group, _events) = start(vec![with(3)]);
    assert_eq!(group.longest_deadline(), Duration::from_secs(3));
    group.ready(Duration::from_secs(20)).await.unwrap();
    group.reconfigure(vec![with(9)]).await.unwrap();
    group.reconfigure(vec![]).await.unwrap();
    assert_eq!(group.longest_deadline(), Duration::from_secs(9));
    group.shutdown().await;
}

#[tokio::test]
async fn an_unknown_label_names_the_known_ones() {
    let token = SoftToken::new();
    let mut config = token.config();
    config.token_label = "sginet".into();
    let detail = complaint(config).await;
    assert!(detail.contains("\"sginet\"") && detail.contains("\"signet\""), "{detail}");
}

#[tokio::test]
async fn a_label_found_twice_is_refused() {
    let token = SoftToken::new();
    let status = token
        .command("softhsm2-util")
        .args(["--init-token", "--free", "--label", "signet", "--so-pin", "12345678", "--pin", "12345678"])
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    let detail = complaint(token.config()).await;
    assert!(detail.contains("2 tokens carry the label \"signet\""), "{detail}");
}

#[tokio::test]
async fn a_token_that_was_made_anew_under_the_same_label_is_refused() {
    let token = SoftToken::new();
    let mut config = token.config();
    let (group, mut events) = started(config.clone()).await;
    let Some(signet_hsm::HsmEvent::Up { token: info, .. }) = events.recv().await else { panic!("no event") };
    group.shutdown().await;
    config.expected_serial = Some(info.serial);
    started(config.clone()).await.0.shutdown().await;

    std::fs::remove_dir_all(token.path().join("tokens")).unwrap();
    provision(token.path(), "signet");
    assert!(complaint(config).await.contains("it is another token"));
}

#[tokio::test]
async fn provisioning_twice_keeps_the_token_and_its_pin() {
    let token = SoftToken::new();
    let pin = token.pin();
    provision(token.path(), "signet");
    assert_eq!(token.pin(), pin);
    started(token.config()).await.0.shutdown().await;
}

#[test]
fn the_script_writes_what_the_template_shows() {
    let token = SoftToken::new();
    let state = token.path().canonicalize().unwrap();
    let tokens = state.join("tokens");
    let template = include_str!("../../softhsm/softhsm2.conf.in").replace("@TOKENDIR@", tokens.to_str().unwrap());
    assert_eq!(std::fs::read_to_string(token.configuration()).unwrap(), template);
}

#[tokio::test]
async fn two_entries_of_one_name_are_refused() {
    let token = SoftToken::new();
    let (events, _received) = tokio::sync::mpsc::unbounded_channel();
    let failure = signet_hsm::HsmGroup::start(PROGRAM.into(), vec![token.config(), token.config()], events);
    assert!(matches!(failure.err().unwrap().failure, HsmFailure::Configuration(_)));
}

#[test]
fn a_worker_that_a_person_starts_says_what_it_is() {
    let output = std::process::Command::new(PROGRAM).arg("hsm-worker").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("signet serve"));
}
