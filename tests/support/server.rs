//! A running server, and what clients ask of it.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::application::{Application, PASSWORD, TestClient, TestUser, fresh_address};
use super::requests::{self, Answer};

/// How long a server may take until it is ready; far more than it needs, for machines that are busy.
const PATIENCE: Duration = Duration::from_secs(30);

impl Application {
    /// Starts `signet serve` and waits until it is ready.
    pub(crate) fn serve(self: Arc<Self>) -> Server {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let child = self.start();
            let mut server = Server { application: self.clone(), child };
            match server.wait_until_ready(deadline) {
                Ok(()) => return server,
                // Somebody else's server: try another address.
                Err(log) if log.contains("can't listen") && Instant::now() < deadline && !self.has_tls() => {
                    self.move_away();
                }
                Err(log) => panic!("the server did not become ready:\n{log}"),
            }
        }
    }
}

/// A running `signet serve`. Everything of [`Application`] works on it too.
pub(crate) struct Server {
    application: Arc<Application>,
    child: Child,
}

impl std::ops::Deref for Server {
    type Target = Application;

    fn deref(&self) -> &Application {
        &self.application
    }
}

impl Server {
    fn wait_until_ready(&mut self, deadline: Instant) -> Result<(), String> {
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return Err(self.log());
            }
            let is_serving = self.log().contains("serving ");
            if is_serving && requests::is_ready(self.address(), self.has_tls()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a second node on the same deployment, at an address of its own.
    pub(crate) fn second_node(&self) -> Node {
        let address = fresh_address();
        let log = fs::File::create(self.folder().join("second.log")).unwrap();
        let mut command = self.command(&["serve"]);
        command.env("SIGNET_SERVER__LISTEN", address.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut node = Node { child: command.stderr(log).spawn().unwrap(), address };
        let deadline = Instant::now() + PATIENCE;
        while !requests::is_ready(address, false) {
            let told = || fs::read_to_string(self.folder().join("second.log")).unwrap();
            assert!(node.child.try_wait().unwrap().is_none() && Instant::now() < deadline, "{}", told());
            std::thread::sleep(Duration::from_millis(10));
        }
        node
    }

    /// Kills the server with SIGKILL: nothing is closed in order.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills the server with SIGKILL and starts it again on the same deployment.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Starts the server again after [`kill`](Self::kill).
    pub(crate) fn restart(&mut self) {
        self.child = self.application.start();
        self.wait_until_ready(Instant::now() + PATIENCE).unwrap_or_else(|log| panic!("no restart:\n{log}"));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process ids of the server's HSM workers.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| parent_of(*id) == Some(self.pid())).collect()
    }

    /// Stops the HSM workers, as a slow HSM would, until the value is dropped.
    pub(crate) fn pause_hsm(&self) -> PausedHsm {
        let paused = PausedHsm(self.workers());
        assert!(!paused.0.is_empty(), "there is no worker");
        signal("STOP", &paused.0);
        // The signal is sent before it has reached every thread, and one that it has not reached yet would still sign.
        let until = Instant::now() + Duration::from_secs(10);
        while !paused.0.iter().all(|id| has_stopped(*id)) {
            assert!(Instant::now() < until, "a worker does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        paused
    }

    /// Posts form fields, with the client's credentials in the `Authorization` header.
    pub(crate) async fn post(&self, path: &str, client: &TestClient, fields: &[(&str, &str)]) -> Answer {
        requests::post(&format!("{}{path}", self.issuer()), Some(client), fields).await
    }

    /// Posts form fields without an `Authorization` header.
    pub(crate) async fn post_plain(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        requests::post(&format!("{}{path}", self.issuer()), None, fields).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        requests::get(&format!("{}{path}", self.issuer())).await
    }

    pub(crate) async fn token(&self, client: &TestClient, fields: &[(&str, &str)]) -> Answer {
        self.post("/oauth2/token", client, fields).await
    }

    /// Asks for a token by name, password and code.
    pub(crate) async fn sign_in(&self, client: &TestClient, user: &TestUser, code: &str) -> Answer {
        let fields = [("grant_type", "password"), ("username", &user.name), ("password", PASSWORD), ("otp", code)];
        self.token(client, &fields).await
    }

    pub(crate) async fn refresh(&self, client: &TestClient, token: &str) -> Answer {
        self.token(client, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    pub(crate) async fn introspect(&self, client: &TestClient, token: &str) -> Answer {
        self.post("/oauth2/introspect", client, &[("token", token)]).await
    }

    pub(crate) async fn is_active(&self, client: &TestClient, token: &str) -> bool {
        self.introspect(client, token).await.ok().json()["active"].as_bool().unwrap()
    }

    pub(crate) async fn revoke(&self, client: &TestClient, token: &str) -> Answer {
        self.post("/oauth2/revoke", client, &[("token", token)]).await
    }

    /// Sends bytes as they are and gives all that comes back until the server closes.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        requests::raw(self.address(), request)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, by `kill`. Its workers end when their socket closes.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Another node of a deployment.
pub(crate) struct Node {
    child: Child,
    address: SocketAddr,
}

impl Node {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Workers that do not run. They must run again before the server ends, or they would never see that it did.
#[must_use]
pub(crate) struct PausedHsm(Vec<u32>);

impl Drop for PausedHsm {
    fn drop(&mut self) {
        // A worker that hung for longer than the deadline was killed by its server: there may be nobody to wake.
        let processes = self.0.iter().map(u32::to_string);
        let _ = Command::new("kill").arg("-CONT").args(processes).stderr(Stdio::null()).status();
    }
}

fn signal(name: &str, processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    assert!(Command::new("kill").arg(format!("-{name}")).args(processes).status().unwrap().success());
}

/// A server that a suite's tests share. It runs as long as any of them holds it: a static value would never be dropped,
/// and its process would outlive the tests.
pub(crate) struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    pub(crate) fn hold(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = shared.upgrade() {
            return held;
        }
        let made = Arc::new(make());
        *shared = Arc::downgrade(&made);
        made
    }
}

/// The parent's id, by the fourth field of `/proc/ID/stat`.
/// Whether each thread of a process was stopped by a signal.
fn has_stopped(process_id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process_id}/task")).into_iter().flatten().flatten();
    threads.map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap_or_default()).all(|stat| {
        // The name before the state may hold parentheses of its own.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
