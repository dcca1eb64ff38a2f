//! `signet login` and `signet logout`: what scripts get, what is kept, and what a person is told.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::application::{Application, PASSWORD, TestClient, TestUser};
use crate::support::hsm::PROGRAM;
use crate::support::process::{Ran, feed};
use crate::support::responder::Responder;
use crate::support::server::Server;
use crate::support::write_secret;

/// A person's terminal: a home of their own, and a server that they know.
pub(super) struct Terminal {
    pub(super) server: Server,
    pub(super) app: TestClient,
    pub(super) home: tempfile::TempDir,
    secret: PathBuf,
}

impl Terminal {
    pub(super) fn at(application: Arc<Application>) -> Self {
        let server = application.serve();
        let app = server.add_client("cli", "password,refresh_token", "read");
        let home = tempfile::tempdir().unwrap();
        let secret = home.path().join("client-secret");
        write_secret(&secret, &format!("{}\n", app.secret));
        Self { server, app, home, secret }
    }

    /// `signet` in a folder without a configuration.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_remove("SIGNET_CONFIG").env("XDG_STATE_HOME", self.home.path());
        // Whose tests these are may have a keyring of their own.
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
        command.current_dir(self.home.path());
        command
    }

    pub(super) fn run(&self, arguments: &[&str], input: &str) -> Ran {
        feed(self.command(arguments), input)
    }

    pub(super) fn login(&self, user: &TestUser, more: &[&str], input: &str) -> Ran {
        let (issuer, secret) = (self.server.issuer(), self.secret.to_str().unwrap());
        let arguments = ["login", "--issuer", &issuer, "--client-id", &self.app.id, "--client-secret-file", secret];
        let arguments = [&arguments[..], &["--user", &user.name, "--credentials-stdin"], more].concat();
        self.run(&arguments, input)
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.home.path().join("signet/login.json")
    }

    /// Lets the kept access token look expired.
    fn expire(&self) {
        let mut kept: Value = serde_json::from_slice(&std::fs::read(self.kept()).unwrap()).unwrap();
        kept["tokens"]["expires_at"] = 1.into();
        std::fs::write(self.kept(), kept.to_string()).unwrap();
    }
}

pub(super) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_person_signs_in_scripts_get_fresh_tokens_and_logging_out_revokes_them() {
    let terminal = Terminal::at(Application::new(""));
    let ann = terminal.server.add_user("ann", "reader");
    let totp = terminal.server.add_totp(&ann, &[]);
    let nobody = terminal.run(&["login", "--print-token"], "");
    nobody.fails(1, &["nobody is signed in", "signet login --issuer"]);

    let ran = terminal.login(&ann, &["--json"], &format!("{PASSWORD}\n{}\n", totp.code()));
    let status = ran.json();
    assert_eq!((&status["user"], &status["signed_in"]), (&"ann".into(), &true.into()), "{ran:?}");
    assert_eq!((mode(&terminal.kept()), mode(terminal.kept().parent().unwrap())), (0o600, 0o700));

    let printed = terminal.run(&["login", "--print-token"], "");
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    let first = printed.stdout.trim_end().to_owned();
    assert!(first.split('.').count() == 3 && !first.contains(char::is_whitespace), "{printed:?}");
    assert!(terminal.server.is_active(&terminal.app, &first).await);
    let shown = [&ran.stdout, &terminal.run(&["login", "--status"], "").stdout].map(Clone::clone).concat();
    assert!(!shown.contains(&first) && !shown.contains(&terminal.app.secret) && !shown.contains(PASSWORD), "{shown}");

    // Many shells at once: one of them refreshes, and the family lives on.
    terminal.expire();
    let children: Vec<_> =
        (0..8).map(|_| terminal.command(&["login", "--print-token"]).stdout(Stdio::piped()).spawn().unwrap()).collect();
    let tokens: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(tokens.iter().all(|output| output.status.success() && output.stdout == tokens[0].stdout), "{tokens:?}");
    let second = String::from_utf8(tokens[0].stdout.clone()).unwrap().trim_end().to_owned();
    assert_ne!(first, second);
    let refreshes = terminal.server.audit().await;
    let refreshes = refreshes.iter().filter(|record| record["event"] == "token.refreshed").count();
    assert_eq!(refreshes, 1);

    assert_eq!(terminal.run(&["logout"], "").code, Some(0));
    assert!(!terminal.kept().exists());
    for token in [&second] {
        assert!(!terminal.server.is_active(&terminal.app, token).await);
    }
    terminal.run(&["logout"], "").fails(1, &["nobody is signed in"]);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_words_that_help() {
    let terminal = Terminal::at(Application::new("[mfa]\ntries = 2\npause = \"12m\""));
    let ann = terminal.server.add_user("ann", "reader");
    terminal.server.add_totp(&ann, &[]);
    let wrong = format!("{PASSWORD}\n000000\n");
    terminal.login(&ann, &[], &wrong).fails(1, &["name, password or second factor is wrong"]);
    terminal.login(&ann, &[], &wrong).fails(1, &["name, password or second factor is wrong"]);
    terminal.login(&ann, &[], &wrong).fails(1, &["too many wrong tries", "does not say which"]);
    assert!(!terminal.kept().exists());
    terminal.login(&ann, &[], &format!("{PASSWORD}\n")).fails(2, &["one-time code", "next line of standard input"]);

    let (issuer, id) = (terminal.server.issuer(), terminal.app.id.clone());
    let other = |issuer: &str, id: &str, input: &str| {
        let arguments = ["login", "--issuer", issuer, "--client-id", id, "--client-secret-stdin"];
        terminal.run(&[&arguments[..], &["--user", "ann", "--credentials-stdin"]].concat(), input)
    };
    other(&issuer, &id, &format!("wrong secret\n{wrong}")).fails(1, &["client's id or secret is wrong"]);
    other(&format!("{issuer}/elsewhere"), &id, "x\ny\nz\n").fails(1, &["is this the issuer's URL"]);
    other("http://127.0.0.1:9", &id, "x\ny\nz\n").fails(1, &["is the server running"]);
    other("http://id.example", &id, "x\ny\nz\n").fails(2, &["https://"]);
    terminal.run(&["login", "--client-id", "x"], "").fails(2, &["--issuer"]);
    let prompts = ["login", "--issuer", &issuer, "--client-id", &id, "--client-secret-stdin", "--user", "ann"];
    terminal.run(&prompts, "x\n").fails(2, &["--credentials-stdin"]);
    let open = terminal.home.path().join("open");
    std::fs::write(&open, "secret").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = ["login", "--issuer", &issuer, "--client-id", &id, "--client-secret-file", open.to_str().unwrap()];
    terminal.run(&file, "").fails(1, &["can be read by others", "chmod 600"]);
}

#[tokio::test]
async fn a_server_behind_a_ca_of_its_own_is_trusted_when_told_so() {
    let terminal = Terminal::at(Application::with_tls(""));
    let ann = terminal.server.add_user("ann", "reader");
    let totp = terminal.server.add_totp(&ann, &[]);
    let input = format!("{PASSWORD}\n{}\n", totp.code());
    terminal.login(&ann, &[], &input).fails(1, &["certificate is not trusted", "--ca"]);
    let ca = terminal.server.folder().join("certificate.pem");
    let ran = terminal.login(&ann, &["--ca", ca.to_str().unwrap()], &input);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(terminal.run(&["logout"], "").code, Some(0));
}

const CHALLENGE: &str =
    "Bearer realm=\"api\", error=\"insufficient_user_authentication\", acr_values=\"urn:signet:aal3\"";

/// RFC 9470: what a resource server asks for is proved where it was not, and kept in the place of the weaker sign-in.
#[tokio::test]
async fn more_is_proved_where_it_is_asked_for_and_the_earlier_sign_in_ends() {
    let terminal = Terminal::at(Application::new(""));
    let ann = terminal.server.add_user("ann", "reader");
    let totp = terminal.server.add_totp(&ann, &[]);
    terminal.run(&["login", "--acr", "urn:signet:aal2"], "").fails(1, &["nobody is signed in"]);
    assert_eq!(terminal.login(&ann, &[], &format!("{PASSWORD}\n{}\n", totp.at(-1))).code, Some(0));
    let token = |ran: Ran| ran.stdout.trim_end().to_owned();
    let first = token(terminal.run(&["login", "--print-token"], ""));

    let enough = terminal.run(&["login", "--acr", "urn:signet:aal2", "--max-age", "3600", "--json"], "");
    assert_eq!((enough.json()["acr"].as_str(), enough.code), (Some("urn:signet:aal2"), Some(0)), "nothing is asked");
    assert_eq!(token(terminal.run(&["login", "--print-token", "--acr", "urn:signet:aal2"], "")), first);
    terminal.run(&["login", "--print-token", "--challenge", CHALLENGE], "").fails(1, &["urn:signet:aal3", "terminal"]);
    terminal.run(&["login", "--challenge", "Basic realm=\"x\""], "").fails(2, &["--challenge"]);

    let weak = format!("{PASSWORD}\n{}\n", totp.at(0));
    let refused = terminal.run(&["login", "--challenge", CHALLENGE, "--credentials-stdin"], &weak);
    refused.fails(1, &["urn:signet:aal3", "stronger factor"]);
    assert_eq!(token(terminal.run(&["login", "--print-token"], "")), first, "what was kept stays");

    let recent = ["login", "--print-token", "--max-age", "0", "--credentials-stdin"];
    let second = token(terminal.run(&recent, &format!("{PASSWORD}\n{}\n", totp.at(1))));
    assert_ne!(second, first);
    let is_active = async |token: &str| terminal.server.is_active(&terminal.app, token).await;
    assert_eq!((is_active(&first).await, is_active(&second).await), (false, true));
    assert_eq!(token(terminal.run(&["login", "--print-token"], "")), second);
}

/// The same in a real terminal: password and code are asked for and not echoed, and the token is printed.
#[tokio::test]
async fn a_person_in_a_terminal_is_asked_for_what_is_missing() {
    let terminal = Terminal::at(Application::new(""));
    let ann = terminal.server.add_user("ann", "reader");
    let totp = terminal.server.add_totp(&ann, &[]);
    assert_eq!(terminal.login(&ann, &[], &format!("{PASSWORD}\n{}\n", totp.at(-1))).code, Some(0));
    let mut typed = Typist::start(&terminal, "login --print-token --max-age 0");
    typed.answer("password: ", PASSWORD);
    typed.answer("one-time code: ", &totp.at(0));
    let seen = typed.end();
    let token = seen.lines().map(str::trim).find(|line| line.split('.').count() == 3 && line.len() > 100);
    assert!(terminal.server.is_active(&terminal.app, token.unwrap_or_else(|| panic!("{seen}"))).await);
    assert!(!seen.contains(PASSWORD), "{seen}");
}

/// `signet` in a pseudo-terminal, which `script` of util-linux makes.
struct Typist {
    child: std::process::Child,
    seen: String,
}

impl Typist {
    fn start(terminal: &Terminal, arguments: &str) -> Self {
        let mut command = terminal.command(&[]);
        let line = format!("{PROGRAM} {arguments}");
        let environment: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        command = Command::new("script");
        command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]).envs(environment);
        command.current_dir(terminal.home.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self { child: command.spawn().expect("util-linux's script is installed"), seen: String::new() }
    }

    /// Waits for the prompt, and types the answer.
    fn answer(&mut self, prompt: &str, answer: &str) {
        use std::io::{Read as _, Write as _};
        let from = self.seen.len();
        let mut byte = [0];
        while !self.seen[from..].ends_with(prompt) {
            let read = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert_eq!(read, 1, "it ended without {prompt}: {}", self.seen);
            self.seen.push(char::from(byte[0]));
        }
        writeln!(self.child.stdin.as_mut().unwrap(), "{answer}").unwrap();
    }

    /// Everything that the terminal showed.
    fn end(mut self) -> String {
        use std::io::Read as _;
        let mut rest = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        assert!(status.success(), "{}", self.seen);
        self.seen
    }
}
const DEADLINE: Duration = Duration::from_secs(60);

/// `signet` with a home of its own, at no server of ours.
fn signet(home: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("SIGNET_CONFIG").env("XDG_STATE_HOME", home).current_dir(home);
    command
}

/// Runs `signet login` at a server that answers so to the password grant.
fn login_at(answer: &Value, home: &Path) -> Ran {
    let (issuer, answer) = (Arc::new(OnceLock::<String>::new()), answer.to_string());
    let told = issuer.clone();
    let responder = Responder::new(move |target| {
        let issuer = told.get().unwrap();
        let document = json!({ "issuer": issuer, "token_endpoint": format!("{issuer}/token") });
        Some(if target == "/token" { answer.clone() } else { document.to_string() })
    });
    issuer.set(responder.url("")).unwrap();
    let mut command = signet(home);
    command.args(["login", "--issuer", issuer.get().unwrap(), "--client-id", "x", "--client-secret-stdin"]);
    command.args(["--user", "ann", "--credentials-stdin"]);
    feed(command, "secret\npassword\n123456\n")
}

#[test]
fn what_a_server_says_moves_no_cursor_and_begins_no_line() {
    let escape = "\u{1b}]0;owned\u{7} \u{1b}[2J \u{9b}31m \u{202e}";
    let is_plain =
        |text: &str| !text.chars().any(|letter| letter != '\n' && (letter.is_control() || letter == '\u{202e}'));
    for (answer, code) in [
        (json!({ "error": "invalid_scope", "error_description": escape }), 1),
        (json!({ "error": escape, "error_description": "x" }), 1),
        (json!({ "access_token": "a.b.c", "expires_in": 60, "scope": escape }), 0),
        (json!({ "access_token": format!("a{escape}"), "expires_in": 60, "scope": "x" }), 1),
        (json!({ "access_token": "a\nrm -r ~", "expires_in": 60, "scope": "x" }), 1),
    ] {
        let home = tempfile::tempdir().unwrap();
        let ran = login_at(&answer, home.path());
        assert_eq!(ran.code, Some(code), "{answer}: {ran:?}");
        assert!(is_plain(&ran.stdout) && is_plain(&ran.stderr), "{ran:?}");
        assert_eq!(home.path().join("signet/login.json").exists(), code == 0);
    }
}

#[test]
fn tokens_are_kept_in_no_folder_that_others_write_to() {
    let answer = json!({ "access_token": "a.b.c", "expires_in": 60, "scope": "x" });
    for (mode, code) in [(0o777, 1), (0o775, 1), (0o755, 0), (0o700, 0)] {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("signet");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = login_at(&answer, home.path());
        assert_eq!(ran.code, Some(code), "{mode:o}: {ran:?}");
        if code == 1 {
            ran.fails(1, &["can be changed by others", "chmod 700"]);
            assert!(!folder.join("login.json").exists());
        }
    }
}

/// Ctrl-C in the midst of a refresh: the server has spent the kept token by then, and takes whoever shows it again for a
/// thief.
#[test]
fn an_interrupted_refresh_keeps_what_the_server_gave() {
    let home = tempfile::tempdir().unwrap();
    let tokens = |number: u8| json!({ "access_token": format!("a.{number}"), "refresh_token": format!("r{number}"), "expires_in": 1 });
    let ((asked, was_asked), (release, released)) = (channel(), channel::<()>());
    let (issuer, released, turns) = (Arc::new(OnceLock::<String>::new()), Mutex::new(released), AtomicU8::new(0));
    let told = issuer.clone();
    let responder = Responder::new(move |target| {
        let issuer = told.get().unwrap();
        if target != "/token" {
            return Some(json!({ "issuer": issuer, "token_endpoint": format!("{issuer}/token") }).to_string());
        }
        let turn = turns.fetch_add(1, Ordering::SeqCst) + 1;
        if turn == 2 {
            asked.send(()).unwrap();
            let _ = released.lock().unwrap().recv_timeout(DEADLINE);
        }
        Some(tokens(turn).to_string())
    });
    issuer.set(responder.url("")).unwrap();
    let login = ["--issuer", issuer.get().unwrap(), "--client-id", "x", "--client-secret-stdin", "--user", "ann"];
    let mut first = signet(home.path());
    first.args([&["login"][..], &login, &["--credentials-stdin"]].concat());
    assert_eq!(feed(first, "secret\npassword\n123456\n").code, Some(0));

    let child = signet(home.path()).args(["login", "--print-token"]).stdout(Stdio::piped()).spawn().unwrap();
    was_asked.recv_timeout(DEADLINE).unwrap();
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    release.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout == b"a.2\n", "{output:?}");
    let kept: Value = serde_json::from_slice(&std::fs::read(home.path().join("signet/login.json")).unwrap()).unwrap();
    assert_eq!(kept["tokens"]["refresh_token"], "r2");
}
