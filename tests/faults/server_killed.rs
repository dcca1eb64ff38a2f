//! The server ends: without a word in a storm of refreshes, or in order. Nothing that was answered is lost.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::application::{ALL_GRANTS, Application, TestClient};
use crate::support::caller::{Caller, token_id};
use crate::support::commands::exported;
use crate::support::hsm::PROGRAM;
use crate::support::process::signal;
use crate::support::requests::basic;
use crate::support::server::Server;

use crate::support::application::PASSWORD;
/// A client that refreshes until the server is gone.
pub(super) struct Family {
    /// The refresh token of the last answer that was received.
    pub(super) held: String,
    /// The access tokens that were received.
    pub(super) received: Vec<String>,
}

impl Family {
    pub(super) async fn storm(mut self, caller: Caller) -> Self {
        while let Ok(answer) = caller.refresh(&self.held).await {
            assert_eq!(answer.status, 200, "{answer:?}");
            self.take(&answer);
        }
        self
    }

    pub(super) fn take(&mut self, answer: &crate::support::requests::Answer) {
        self.held = answer.text("refresh_token");
        self.received.push(answer.text("access_token"));
    }
}

async fn families(deployment: &Application, caller: &Caller, users: usize) -> Vec<Family> {
    let mut families = Vec::new();
    for user in (0..users).map(|index| format!("user-{index}")) {
        let user = deployment.add_user(&user, "reader");
        let totp = deployment.add_totp(&user, &[]);
        for code in totp.two_codes() {
            let answer = caller.sign_in(&user.name, PASSWORD, &code).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            families.push(Family { held: answer.text("refresh_token"), received: vec![answer.text("access_token")] });
        }
    }
    families
}

/// Every token that was ever received has its record, in a chain that is intact.
pub(super) fn assert_recorded<'t>(deployment: &Application, tokens: impl Iterator<Item = &'t String>) {
    let export = deployment.file("export.jsonl");
    let ran = deployment.run(&["audit", "export", "--output", export.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let records = exported(&std::fs::read_to_string(&export).unwrap());
    let recorded: BTreeSet<&str> = records.iter().filter_map(|record| record["jti"].as_str()).collect();
    let mut count = 0;
    for token in tokens {
        let id = token_id(token);
        assert!(recorded.contains(id.as_str()), "no record of the token {id}");
        count += 1;
    }
    assert!(count > 0);
    assert_eq!(deployment.run(&["audit", "verify"]).code, Some(0));
    assert_eq!(deployment.run(&["audit", "verify", "--file", export.to_str().unwrap()]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_74_kill_9_in_a_refresh_storm_loses_and_revives_no_family() {
    let deployment = Application::with_hsm("sessions = 2\nworkers = 2", "[tokens]\nrefresh_retry_window = \"60s\"");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let mut server = deployment.serve();
    let mut caller = Caller::new(&server, &credentials);
    let mut families = families(&deployment, &caller, 2).await;
    let revoked = families.pop().unwrap();
    let mut storms = 0;
    for round in 0..3 {
        let mut clients = JoinSet::new();
        for family in families.drain(..) {
            clients.spawn(family.storm(caller.clone()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        if round == 0 {
            assert_eq!(caller.revoke(&revoked.held).await.unwrap().status, 200);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.kill();
        families = clients.join_all().await;
        server = deployment.serve();
        caller = Caller::new(&server, &credentials);
        for family in &mut families {
            let answer = caller.refresh(&family.held).await.unwrap();
            assert_eq!(answer.status, 200, "a lost family: {answer:?}");
            family.take(&answer);
        }
        let answer = caller.refresh(&revoked.held).await.unwrap();
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_grant")), "a revived family");
        storms = families.iter().map(|family| family.received.len()).sum();
    }
    assert!(storms > 30, "a storm of {storms}");
    server.stop();
    assert_recorded(&deployment, families.iter().chain([&revoked]).flat_map(|family| &family.received));
}

/// The signed token of a killed request never gets out without its record, also where nothing refreshes.
#[tokio::test(flavor = "multi_thread")]
async fn promise_3_every_token_that_left_before_kill_9_has_its_record() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let mut server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let mut streams = JoinSet::new();
    for _ in 0..16 {
        let caller = caller.clone();
        streams.spawn(async move {
            let mut received = Vec::new();
            while let Ok(answer) = caller.client_credentials().await {
                received.push(answer.text("access_token"));
            }
            received
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.kill();
    let received: Vec<String> = streams.join_all().await.into_iter().flatten().collect();
    assert_recorded(&deployment, received.iter());
}

/// A request whose body is still on its way when the server is asked to stop.
fn half_a_request(server: &Server, credentials: &TestClient) -> (TcpStream, &'static [u8]) {
    let body = b"grant_type=client_credentials&scope=read";
    let (first, rest) = body.split_at(10);
    let mut stream = TcpStream::connect(server.listens_on()).unwrap();
    let basic = basic(&credentials.id, &credentials.secret);
    write!(
        stream,
        "POST /oauth2/token HTTP/1.1\r\nHost: {}\r\nAuthorization: {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        server.listens_on(),
        body.len()
    )
    .unwrap();
    stream.write_all(first).unwrap();
    stream.flush().unwrap();
    (stream, rest)
}

#[test]
fn an_orderly_stop_answers_what_is_under_way_and_frees_the_port() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let (address, id) = (server.listens_on(), server.id());
    let workers = server.workers();
    let (mut stream, rest) = half_a_request(&server, &credentials);
    // Its headers are read before the stop: a connection on which nothing was asked is closed at once.
    std::thread::sleep(Duration::from_millis(200));
    server.terminate();
    crate::support::process::wait_for("no more connections", || TcpStream::connect(address).err());
    stream.write_all(rest).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("access_token"), "{answer}");
    let status = server.ended();
    assert_eq!(status.code(), Some(0));
    TcpListener::bind(address).unwrap();
    for worker in workers.iter().chain([&id]) {
        assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists(), "{worker} is left behind");
    }
    let ran = deployment.run(&["audit", "export"]);
    assert_eq!(exported(&ran.stdout).last().unwrap()["event"], "server.stopped", "{ran:?}");
}

#[test]
fn a_ctrl_c_in_the_terminal_is_for_the_server_and_leaves_the_worker_its_last_checkpoint() {
    let deployment = Application::new("");
    let mut command = deployment.command(&["serve"]);
    // A group of its own, as a shell gives to what it starts: a terminal sends Ctrl-C to all of it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    let server = deployment.serve_by(command);
    let group = format!("-{}", server.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    assert_eq!(server.ended().code(), Some(0));
    let verified = deployment.json(&["audit", "verify"]);
    assert_eq!(verified["signed_up_to"], verified["records"], "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_the_running_program_also_after_its_file_was_replaced() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let copy = deployment.file("signet-program");
    std::fs::copy(PROGRAM, &copy).unwrap();
    let mut command = Command::new(&copy);
    command.arg("--config").arg(deployment.configuration()).arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
    let server = deployment.serve_by(command);
    std::fs::remove_file(&copy).unwrap();
    std::fs::write(&copy, "another version").unwrap();
    let workers = server.workers();
    signal(workers[0], "KILL");
    server.new_worker(&workers);
    let caller = Caller::new(&server, &credentials);
    let until = Instant::now() + Duration::from_secs(10);
    while caller.client_credentials().await.unwrap().status != 200 {
        assert!(Instant::now() < until, "no token again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
