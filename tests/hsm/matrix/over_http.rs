//! A cross section of the matrix through the whole server: 200 with a token that verifies, or 503 with `Retry-After`,
//! and nothing else.

use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use signet_fault_module::rules::Latch;

use super::RECOVERY;
use crate::support::application::{AUDIENCE, Application, TestClient};
use crate::support::fault::FaultModule;
use crate::support::process::{signal, wait_for};
use crate::support::server::Server;

/// A running deployment with its keys as a resource server has them.
pub(super) struct Stage {
    pub(super) module: FaultModule,
    pub(super) server: Server,
    client: TestClient,
    keys: JwkSet,
}

/// What a caller got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    Token,
    Unavailable,
}

impl Stage {
    pub(super) async fn new(lines: &str) -> Self {
        let module = FaultModule::new();
        let server = Application::with_faults(&module, lines, "").serve();
        let client = server.add_client("app", "client_credentials", "read");
        let keys = server.get("/oauth2/jwks").await.ok().json();
        Self { module, server, client, keys: serde_json::from_value(keys).unwrap() }
    }

    /// Asks for a token; it verifies by another library than the server's.
    pub(super) async fn ask(&self) -> Got {
        let fields = [("grant_type", "client_credentials"), ("scope", "read")];
        let answer = self.server.token(&self.client, &fields).await;
        match answer.status {
            200 => {
                self.verify(&answer.access_token());
                Got::Token
            }
            503 => {
                assert_eq!(answer.text("error"), "temporarily_unavailable", "{answer:?}");
                assert!(answer.retry_after().is_some_and(|seconds| seconds >= 1), "{answer:?}");
                Got::Unavailable
            }
            _ => panic!("{answer:?}"),
        }
    }

    fn verify(&self, token: &str) {
        let header = decode_header(token).unwrap();
        let key = self.keys.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[AUDIENCE]);
        decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap();
    }

    /// Has the fault happen to some request, the server's own included; gives what callers got meanwhile, and how long
    /// after the fault tokens were issued again.
    async fn case(&self, rules: &str) -> (Vec<Got>, Duration) {
        self.module.order(rules);
        let begun = Instant::now();
        let mut got = Vec::new();
        while !self.module.is_done() {
            got.push(self.ask().await);
            assert!(begun.elapsed() < Duration::from_secs(20), "{rules}: it did not happen");
        }
        let happened = Instant::now();
        while self.ask().await != Got::Token {
            got.push(Got::Unavailable);
            assert!(happened.elapsed() < RECOVERY, "{rules}: no token again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.module.calm();
        (got, happened.elapsed())
    }
}

#[tokio::test]
async fn hazards_58_to_67_over_http_a_fault_is_a_200_or_a_503_with_retry_after() {
    let stage = Stage::new("sessions = 2\ndeadline = \"1500ms\"").await;
    let mended = [
        "return CKR_SESSION_HANDLE_INVALID",
        "return CKR_SESSION_CLOSED",
        "return CKR_KEY_HANDLE_INVALID",
        "return CKR_USER_NOT_LOGGED_IN",
        "return CKR_OPERATION_ACTIVE",
        "return CKR_FUNCTION_FAILED",
        "latch logged-out",
        "delay 100",
        "garbage",
    ];
    let failing = [
        "return CKR_DEVICE_ERROR",
        "return CKR_DEVICE_REMOVED",
        "return CKR_HOST_MEMORY",
        "return CKR_GENERAL_ERROR",
        "return CKR_MECHANISM_INVALID",
        "return CKR_PIN_EXPIRED",
        "return 0x80000001",
        "segv",
        "abort",
        "exit",
    ];
    let mut cases = 0;
    let mut recoveries = Vec::new();
    for function in ["C_SignInit", "C_Sign"] {
        for phase in ["before", "after"] {
            for what in mended {
                let (got, _) = stage.case(&format!("{function} nth 1 {phase} {what}")).await;
                assert!(!got.contains(&Got::Unavailable), "{function} {phase} {what}: {got:?}");
                cases += 1;
            }
            for what in failing {
                recoveries.push(stage.case(&format!("{function} nth 1 {phase} {what}")).await.1);
                cases += 1;
            }
        }
    }
    for what in ["flip", "truncate", "zero"] {
        let (got, took) = stage.case(&format!("C_Sign nth 1 after {what}")).await;
        assert!(got.len() <= 1 || got.contains(&Got::Unavailable), "{what}: {got:?}");
        recoveries.push(took);
        cases += 1;
    }
    assert!(stage.server.log().contains("ALARM"));
    recoveries.sort_unstable();
    let (median, most) = (recoveries[recoveries.len() / 2], recoveries[recoveries.len() - 1]);
    eprintln!("fault matrix, over HTTP: {cases} cases, tokens again after {median:.0?} (median), {most:.0?} (most)");
    assert!(median < Duration::from_secs(1), "{median:?}");
}

#[tokio::test]
async fn hazard_65_over_http_a_hang_is_a_503_within_two_seconds() {
    let stage = Stage::new("sessions = 1\ndeadline = \"1500ms\"").await;
    for function in ["C_SignInit", "C_Sign"] {
        stage.module.order(&format!("{function} nth 1 before hang"));
        let begun = Instant::now();
        // The first is in the module's hands, or the server's own is; the others wait for it.
        let (first, second, third) = tokio::join!(stage.ask(), stage.ask(), stage.ask());
        assert!([first, second, third].contains(&Got::Unavailable));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        while stage.ask().await != Got::Token {
            assert!(begun.elapsed() < Duration::from_secs(4), "no token again");
        }
        eprintln!("fault matrix, over HTTP: a hang, tokens again after {:.0?}", begun.elapsed());
        stage.module.calm();
        stage.ask().await;
    }
}

#[tokio::test]
async fn hazard_61_over_http_a_removed_token_leaves_verification_alone_and_comes_back() {
    let stage = Stage::new("sessions = 2\ndeadline = \"1500ms\"").await;
    stage.module.latch(Latch::Removed);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(stage.ask().await, Got::Unavailable);
        assert_eq!(stage.server.get("/oauth2/jwks").await.status, 200);
    }
    stage.module.unlatch();
    let back = Instant::now();
    while stage.ask().await != Got::Token {
        assert!(back.elapsed() < Duration::from_secs(5), "no token again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eprintln!("fault matrix, over HTTP: the device is back, tokens again after {:.0?}", back.elapsed());
}

/// The module's log of logins counts for every process: workers, servers, commands.
#[tokio::test]
async fn promise_9_over_http_a_wrong_pin_is_presented_once_by_all_workers_servers_and_commands() {
    let mut stage = Stage::new("sessions = 2\ndeadline = \"1500ms\"").await;
    let pin = stage.module.token.pin();
    std::fs::write(stage.module.token.pin_file(), "not the PIN 0123").unwrap();
    let logins = stage.module.logins();
    // Somebody logs the token out, so that the running worker needs the PIN again.
    stage.module.order("C_SignInit nth 1 before latch logged-out");
    assert_eq!(stage.ask().await, Got::Unavailable);
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        assert_eq!(stage.ask().await, Got::Unavailable);
    }
    stage.server.kill();
    for arguments in [["custody"], ["doctor"], ["serve"], ["serve"]] {
        if arguments == ["serve"] {
            // It may refuse to start, or serve without its HSM; either way it is ended.
            let mut serving = stage.server.command(&arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
            tokio::time::sleep(Duration::from_millis(700)).await;
            let _ = serving.kill();
            serving.wait().unwrap();
        } else {
            stage.server.run(&arguments);
        }
    }
    assert_eq!(stage.module.logins() - logins, 1, "the PIN was presented again");
    std::fs::write(stage.module.token.pin_file(), pin).unwrap();
    stage.server.run(&["hsm", "allow-login", "primary"]).ok();
    stage.server.restart();
    assert_eq!(stage.ask().await, Got::Token);
}

/// The server is killed, and its worker with it, while the token has the PIN: the next server asks nobody, and comes back once.
#[tokio::test]
async fn promise_9_over_http_a_server_killed_in_its_workers_login_comes_back_by_itself_once() {
    let mut stage = Stage::new("sessions = 2\ndeadline = \"1500ms\"").await;
    let logins = stage.module.logins();
    stage.module.order("C_Login nth 1 before hang");
    signal(stage.server.workers()[0], "KILL");
    wait_for("a worker in C_Login", || (stage.module.logins() > logins).then_some(()));
    stage.server.kill();
    stage.module.calm();
    stage.server.restart();
    assert_eq!(stage.ask().await, Got::Token);
    assert_eq!(stage.module.logins() - logins, 2);
    let listed = stage.server.run(&["hsm", "list"]).ok();
    assert!(!listed.stdout.contains("allow-login"), "{listed:?}");
}
