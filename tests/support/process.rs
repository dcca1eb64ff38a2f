//! Processes: what a command did, a server that runs, signals, and waiting for what they do.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that is waited for; a loaded machine needs some of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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

    /// Asserts that it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
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

/// Runs a command with text on its standard input.
pub(crate) fn feed(mut command: Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ran::new(child.wait_with_output().unwrap())
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
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A process that serves; it is killed when it is dropped. What it logs goes to a file.
pub(crate) struct Serving {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Serving {
    /// Starts a command that serves, with its log appended to a file, and waits until it listens.
    ///
    /// # Errors
    ///
    /// What a server logged that ended before.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self, String> {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let before = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let mut child = command.stderr(file).spawn().unwrap();
        let address = wait_for("the server", || {
            let text = fs::read_to_string(log).unwrap();
            let said = text.get(before..).unwrap_or_default();
            let ended = child.try_wait().unwrap().is_some();
            listens_on(said).map(Ok).or_else(|| ended.then(|| Err(said.to_owned())))
        });
        address.map(|address| Self { child, address })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(super) fn kill(&mut self) {
        // It may have ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    #[track_caller]
    pub(super) fn ended(&mut self) -> ExitStatus {
        wait_for("the server's end", || self.child.try_wait().unwrap())
    }

    /// Asks it to stop, and waits until it has ended well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        signal(self.id(), "TERM");
        let status = self.ended();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The address in `serving ISSUER on ADDRESS`, or in the line of JSON that says so.
fn listens_on(log: &str) -> Option<SocketAddr> {
    let in_json = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    if let Some(said) = in_json.into_iter().find(|line| line["message"] == "serving") {
        return said["address"].as_str()?.parse().ok();
    }
    let line = log.lines().find(|line| line.starts_with("serving "))?;
    let address = line.split(" on ").nth(1)?;
    address.split(';').next()?.trim().parse().ok()
}

/// The child processes of a process.
pub(crate) fn children(id: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else { return Vec::new() };
    let children = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|text| text.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// Whether a process runs; one that has ended and is not reaped yet does not.
pub(crate) fn runs(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// Sends a signal to a process of this test's own.
pub(crate) fn signal(id: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {id}");
}

/// Processes that do not run, until the value is dropped. Workers must run again before their server ends, or they
/// would never see that it did.
#[must_use]
pub(crate) struct Paused(Vec<u32>);

impl Paused {
    pub(crate) fn new(processes: Vec<u32>) -> Self {
        let paused = Self(processes);
        paused.0.iter().for_each(|id| signal(*id, "STOP"));
        // The signal is sent before it has reached every thread, and one that it has not reached yet would still sign.
        wait_for("the processes' halt", || paused.0.iter().all(|id| has_stopped(*id)).then_some(()));
        paused
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // A worker that hung for longer than the deadline was killed by its server: there may be nobody to wake.
        let processes = self.0.iter().map(u32::to_string);
        let _ = Command::new("kill").arg("-CONT").args(processes).stderr(Stdio::null()).status();
    }
}

/// Whether each thread of a process was stopped by a signal.
fn has_stopped(id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    threads.map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap_or_default()).all(|stat| {
        // The name before the state may hold parentheses of its own.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}
