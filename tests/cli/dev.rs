//! `signet dev`: the commands that it prints do what they say, as they stand.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::hsm::PROGRAM;
use crate::support::process::{Serving, wait_for};
use crate::support::requests;

/// A throwaway deployment that serves, and what it printed.
fn start(folder: &Path, arguments: &[&str]) -> (Serving, String) {
    let printed = folder.join("printed");
    let mut command = Command::new(PROGRAM);
    command.arg("dev").args(arguments).arg("--state-dir").arg(folder.join("state"));
    command
        .env_remove("SIGNET_CONFIG")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(File::create(&printed).unwrap());
    let server = Serving::start(command, &folder.join("dev.log")).unwrap();
    let text =
        wait_for("the commands", || fs::read_to_string(&printed).ok().filter(|text| text.contains("Operate it")));
    (server, text)
}

/// What a program reads of a deployment that serves.
fn start_for_a_program(folder: &Path) -> (Serving, serde_json::Value) {
    let printed = folder.join("printed");
    let mut command = Command::new(PROGRAM);
    command.args(["dev", "--json", "--listen", &free_address(), "--state-dir"]).arg(folder.join("state"));
    command
        .env_remove("SIGNET_CONFIG")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(File::create(&printed).unwrap());
    let server = Serving::start(command, &folder.join("dev.log")).unwrap();
    let told = wait_for("the object", || serde_json::from_str(&fs::read_to_string(&printed).ok()?).ok());
    (server, told)
}

#[tokio::test]
async fn another_projects_tests_read_all_that_they_need_from_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, told) = start_for_a_program(folder.path());
    let text = |name: &str| told[name].as_str().unwrap_or_else(|| panic!("{name} is not in {told}")).to_owned();
    let code = Command::new("oathtool").args(["--totp", "-b", &text("totp_secret_base32")]).output().unwrap();
    let code = String::from_utf8(code.stdout).unwrap().trim().to_owned();
    let client = crate::support::application::TestClient {
        name: "demo".to_owned(),
        id: text("client_id"),
        secret: text("client_secret"),
    };
    let (user, password) = (text("username"), text("password"));
    let fields = [("grant_type", "password"), ("username", &*user), ("password", &*password), ("otp", &*code)];
    let token = requests::post(&text("token_endpoint"), Some(&client), &fields).await.ok();
    let fields = [("token", &*token.access_token())];
    let answer = requests::post(&text("introspection_endpoint"), Some(&client), &fields).await.ok().json();
    assert!(answer["active"] == true && answer["aud"].to_string().contains(&text("audience")), "{answer}");
    assert!(requests::get(&text("jwks_uri")).await.ok().json()["keys"].is_array());
    let mut command = Command::new(PROGRAM);
    command.args(["--json", "--config", &text("config"), "user", "list"]);
    let listed: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(listed[0]["name"], "demo");
    assert!(Path::new(&text("admin_socket")).exists());
    server.stop();
}

/// An address that nobody listens on.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The text from one mark to another, both included.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let start = text.find(from).unwrap_or_else(|| panic!("{from} is not in {text}"));
    let end = text[start..].find(to).unwrap_or_else(|| panic!("{to} is not in {text}")) + start + to.len();
    &text[start..end]
}

fn bash(script: &str) -> Output {
    Command::new("bash")
        .args(["-e", "-u", "-o", "pipefail", "-c", script])
        .env_remove("SIGNET_CONFIG")
        .output()
        .unwrap()
}

/// Runs the printed commands, and gives the token that they got and verified.
fn follow(printed: &str) -> String {
    let get = between(printed, "TOKEN=", "echo \"$TOKEN\"");
    let verify = between(printed, "echo \"$TOKEN\" | ", "--audience https://api.demo.example");
    let output = bash(&format!("{get}\n{verify}"));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}{get}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("valid until") && stdout.contains("\"scope\": \"read\""), "{stdout}");
    stdout.lines().next().unwrap().to_owned()
}

fn key_of(token: &str) -> serde_json::Value {
    signet_verify::inspect(token).unwrap().unverified_header["kid"].clone()
}

#[test]
fn the_printed_commands_give_a_token_that_verifies_and_a_second_start_finds_all_in_place() {
    let folder = tempfile::tempdir().unwrap();
    // The issuer's name holds the port, so it is chosen before the server takes it.
    let listen = free_address();
    let (mut server, printed) = start(folder.path(), &["--listen", &listen]);
    assert!(printed.contains('█'), "a QR code: {printed}");
    let first = follow(&printed);
    let operate = between(&printed, "Operate it: ", "user list").trim_start_matches("Operate it: ");
    let output = bash(operate);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("demo"), "{output:?}");
    server.stop();

    let before = Instant::now();
    let (mut server, printed) = start(folder.path(), &["--listen", &listen]);
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    let second = follow(&printed);
    assert_eq!(key_of(&first), key_of(&second), "the key is the same");
    let config = folder.path().join("state/signet.toml");
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).arg("--json").arg("--config").arg(&config).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    for (noun, count) in [("user", 1), ("client", 1), ("key", 6)] {
        assert_eq!(run(&[noun, "list"]).as_array().map(Vec::len), Some(count), "{noun}");
    }
    let factors = run(&["factor", "list", "--user", "demo"]);
    assert_eq!(factors.as_array().map(Vec::len), Some(2), "the code that was scanned first still works");
    server.stop();
}

#[test]
fn a_taken_port_is_passed_over_another_one_is_honoured_and_the_issuer_follows() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let asked = |listen: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["dev", "--listen", listen, "--state-dir"]).arg(folder.path().join("state"));
        crate::support::process::feed(command, "")
    };
    let refused = asked(&address);
    refused.fails(1, &["can't listen on", &address]);
    assert_eq!(refused.stderr.matches("Address already in use").count(), 1, "{refused:?}");
    assert!(fs::read_to_string(folder.path().join("state/signet.toml")).unwrap().contains(&address));

    // It is there by now, and names the port that is taken.
    let (mut server, printed) = start(folder.path(), &[]);
    let said = fs::read_to_string(folder.path().join("dev.log")).unwrap();
    assert!(said.contains(&format!("{address} is taken: listening on 127.0.0.1:")), "{said}");
    assert!(!printed.contains(&address), "{printed}");
    follow(&printed);
    asked(&free_address()).fails(1, &["is being served already"]);
    server.stop();

    let other = free_address();
    let (mut server, printed) = start(folder.path(), &["--listen", &other]);
    assert!(printed.contains(&format!("--issuer http://{other} ")), "{printed}");
    follow(&printed);
    server.stop();
}

#[test]
fn a_throwaway_deployment_listens_on_loopback_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["dev", "--listen", "0.0.0.0:8080", "--state-dir"]).arg(folder.path().join("state"));
    crate::support::process::feed(command, "").fails(1, &["loopback only"]);
    assert!(!folder.path().join("state").exists());
}
