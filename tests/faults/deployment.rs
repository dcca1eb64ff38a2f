//! A whole deployment in a folder of its own: a soft token, a configuration, a database and the real program.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::hsm::{PROGRAM, SoftToken};

/// How long anything may take that is waited for; a loaded machine needs some of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Every deployment's issuer. Its servers listen on a free port each, and verification asks the name alone.
pub(crate) const ISSUER: &str = "http://localhost:8080";
pub(crate) const AUDIENCE: &str = "https://api.example";

/// A deployment; its folder goes with it.
pub(crate) struct Deployment {
    pub(crate) token: SoftToken,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The JSON on standard output of a command that succeeded.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that it ended with this code, and that its message names all of `words`, with no trace of a panic.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let text = format!("{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
        assert!(!text.contains("panicked"), "{text}");
    }
}

impl Deployment {
    /// Soft token and configuration, before `signet init`. `extra` are lines of the configuration's `[[hsm]]` section
    /// and what follows it.
    pub(crate) fn uninitialised(extra: &str) -> Self {
        let token = SoftToken::new();
        let text = format!(
            "[server]\npublic_url = \"{ISSUER}\"\nlisten = \"127.0.0.1:0\"\n\n[store]\nurl = \"sqlite://signet.db\"\n\n\
             [[hsm]]\nname = \"primary\"\nmodule = \"{}\"\ntoken_label = \"signet\"\npin_file = \"pin\"\nsessions = 2\n\
             environment = {{ SOFTHSM2_CONF = \"{}\" }}\n{extra}\n",
            token.module().display(),
            token.configuration().display(),
        );
        fs::write(token.path().join("signet.toml"), text).unwrap();
        Self { token }
    }

    pub(crate) fn with(extra: &str) -> Self {
        let deployment = Self::uninitialised(extra);
        let ran = deployment.run(&["init"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        deployment
    }

    pub(crate) fn new() -> Self {
        Self::with("")
    }

    pub(crate) fn path(&self) -> &Path {
        self.token.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.file("signet.toml")
    }

    /// Replaces text of the configuration.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    /// The program with this deployment's configuration, and nothing else of Signet's in its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.config()).args(arguments).current_dir(self.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs a command with text on its standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        feed(self.command(arguments), input)
    }

    /// Runs a command that prints JSON and succeeds.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[&["--json"], arguments].concat()).json()
    }

    #[track_caller]
    pub(crate) fn add_user(&self, name: &str, password: &str) {
        let ran = self.run_with(&["user", "add", name, "--roles", "reader", "--password-stdin"], password);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// Enrols a TOTP factor; gives its id and secret.
    #[track_caller]
    pub(crate) fn add_totp(&self, user: &str) -> (String, String) {
        let made = self.json(&["factor", "add", "totp", "--user", user]);
        (text(&made, "id"), text(&made, "secret_base32"))
    }

    /// Adds a client of all grants; gives its id and secret.
    #[track_caller]
    pub(crate) fn add_client(&self, name: &str) -> (String, String) {
        let grants = "password,refresh_token,client_credentials";
        let made =
            self.json(&["client", "add", name, "--grant", grants, "--scope", "read write", "--audience", AUDIENCE]);
        (text(&made, "client_id"), text(&made, "client_secret"))
    }

    /// Starts the server and waits until it serves.
    #[track_caller]
    pub(crate) fn serve(&self) -> Server {
        let mut command = self.command(&["serve"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Server::start(command, self.file("server.log"))
    }
}

/// Runs a command with text on its standard input.
pub(crate) fn feed(mut command: Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ran::new(child.wait_with_output().unwrap())
}

#[track_caller]
pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}")).to_owned()
}

/// The records of an audit export, in order.
pub(crate) fn exported(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("event").is_some()).collect()
}

/// The code of a TOTP secret, so many steps from now, by an implementation that is not ours.
pub(crate) fn totp(secret: &str, steps_ahead: u32) -> String {
    let at = format!("now + {} seconds", steps_ahead * 30);
    let output = Command::new("oathtool").args(["--totp", "--base32", secret, "--now", &at]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The codes of this step and of the next: both are accepted, each once. Taken at one moment, so that they hold also
/// where the first is shown in the next step, after which the factor's clock counts as late.
pub(crate) fn two_codes(secret: &str) -> [String; 2] {
    let output = Command::new("oathtool").args(["--totp", "--base32", secret, "--window", "1"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

/// What the database answers, by a program that is not ours.
pub(crate) fn sqlite(deployment: &Deployment, sql: &str) -> String {
    let output = Command::new("sqlite3").arg(deployment.file("signet.db")).arg(sql).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Waits until something is there.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running server; it is killed on drop. What it logs goes to a file.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a command that serves, with its log appended to a file, and waits until it says so.
    #[track_caller]
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let before = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let mut child = command.stderr(file).spawn().unwrap();
        let address = wait_for("the server", || {
            let text = fs::read_to_string(&log).unwrap();
            let address = serving_on(text.get(before..).unwrap_or_default());
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() || address.is_some(), "the server ended: {text}");
            address
        });
        Self { child, address }
    }

    pub(crate) fn id(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Its standard input, where that was asked for.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its worker processes.
    pub(crate) fn workers(&self) -> Vec<i32> {
        children(self.id())
    }

    /// Waits for a worker that is none of `known`.
    pub(crate) fn new_worker(&self, known: &[i32]) -> i32 {
        wait_for("a new worker", || self.workers().into_iter().find(|id| !known.contains(id)))
    }

    /// Its end without a word, and its workers' with it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        signal(self.id(), "TERM");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn ended(mut self) -> ExitStatus {
        wait_for("the server's end", || self.child.try_wait().unwrap())
    }

    pub(crate) fn stop(self) {
        self.terminate();
        let status = self.ended();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in `serving ISSUER on ADDRESS`.
fn serving_on(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.starts_with("serving "))?;
    let address = line.split(" on ").nth(1)?;
    address.split(';').next()?.trim().parse().ok()
}

/// The child processes of a process.
pub(crate) fn children(id: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else { return Vec::new() };
    let children = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|text| text.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// Sends a signal to a process of this test's own.
pub(crate) fn signal(id: i32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {id}");
}
