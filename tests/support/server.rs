//! A running server, and what clients ask of it.

use std::net::SocketAddr;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::application::{Application, PASSWORD, TestClient, TestUser};
use super::process::{PATIENCE, Paused, Serving, children, signal, wait_for};
use super::requests::{self, Answer};

impl Application {
    /// Starts `signet serve` and waits until it is ready.
    #[track_caller]
    pub(crate) fn serve(self: &Arc<Self>) -> Server {
        let server = self.start_serving();
        server.wait_until_ready();
        server
    }

    /// Starts `signet serve` and waits until it listens, ready or not.
    #[track_caller]
    pub(crate) fn start_serving(self: &Arc<Self>) -> Server {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.start() {
                Ok(server) => return server,
                // Somebody else's server: try another address.
                Err(log) if log.contains("can't listen") && Instant::now() < deadline && !self.has_tls() => {
                    self.move_away();
                }
                Err(log) => panic!("the server did not start:\n{log}"),
            }
        }
    }

    /// Starts a command that becomes a server of this deployment at its address, and waits until it listens.
    #[track_caller]
    pub(crate) fn serve_by(self: &Arc<Self>, command: Command) -> Server {
        let serving = Serving::start(command, &self.file("server.log"));
        self.served(serving.unwrap_or_else(|log| panic!("the server did not start:\n{log}")))
    }

    fn start(self: &Arc<Self>) -> Result<Server, String> {
        let mut command = self.command(&["serve"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(self.served(Serving::start(command, &self.file("server.log"))?))
    }

    fn served(self: &Arc<Self>, serving: Serving) -> Server {
        *self.served_by.lock().unwrap() = Some(serving.id());
        Server { application: Arc::clone(self), serving }
    }
}

/// A running `signet serve`, which is killed when it is dropped. Everything of [`Application`] works on it too.
pub(crate) struct Server {
    application: Arc<Application>,
    serving: Serving,
}

impl std::ops::Deref for Server {
    type Target = Application;

    fn deref(&self) -> &Application {
        &self.application
    }
}

impl Server {
    #[track_caller]
    fn wait_until_ready(&self) {
        wait_for("a server that is ready", || requests::is_ready(self.listens_on(), self.has_tls()).then_some(()));
    }

    /// The deployment that it serves.
    pub(crate) fn application(&self) -> &Arc<Application> {
        &self.application
    }

    /// Where it listens.
    pub(crate) fn listens_on(&self) -> SocketAddr {
        self.serving.address
    }

    /// The URL of a path on this server: by the issuer's name, if that leads to it.
    pub(crate) fn url(&self, path: &str) -> String {
        let base = if self.is_behind_balancer() { format!("http://{}", self.address()) } else { self.issuer() };
        format!("{base}{path}")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.serving.id()
    }

    /// Its standard input, where that was asked for.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.serving.input()
    }

    /// Kills the server with SIGKILL: nothing is closed in order.
    pub(crate) fn kill(&mut self) {
        self.serving.kill();
    }

    /// Kills the server with SIGKILL and starts it again on the same deployment.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Starts the server again after [`kill`](Self::kill).
    pub(crate) fn restart(&mut self) {
        *self = self.application.start().unwrap_or_else(|log| panic!("no restart:\n{log}"));
        self.wait_until_ready();
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        signal(self.id(), "TERM");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.serving.ended()
    }

    /// Asks it to stop, and waits until it has ended well.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.serving.stop();
    }

    /// The process ids of the server's HSM workers.
    pub(crate) fn workers(&self) -> Vec<u32> {
        children(self.id())
    }

    /// Waits for a worker that is none of `known`.
    #[track_caller]
    pub(crate) fn new_worker(&self, known: &[u32]) -> u32 {
        wait_for("a new worker", || self.workers().into_iter().find(|id| !known.contains(id)))
    }

    /// Stops the HSM workers, as a slow HSM would, until the value is dropped.
    pub(crate) fn pause_hsm(&self) -> Paused {
        let workers = self.workers();
        assert!(!workers.is_empty(), "there is no worker");
        Paused::new(workers)
    }

    /// Posts form fields, with the client's credentials in the `Authorization` header.
    pub(crate) async fn post(&self, path: &str, client: &TestClient, fields: &[(&str, &str)]) -> Answer {
        requests::post(&self.url(path), Some(client), fields).await
    }

    /// Posts form fields without an `Authorization` header.
    pub(crate) async fn post_plain(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        requests::post(&self.url(path), None, fields).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        requests::get(&self.url(path)).await
    }

    pub(crate) async fn token(&self, client: &TestClient, fields: &[(&str, &str)]) -> Answer {
        self.post("/oauth2/token", client, fields).await
    }

    /// Asks for a token by name, [`PASSWORD`] and code.
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
        requests::raw(self.listens_on(), request)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.serving.kill();
            eprintln!("the server's log:\n{}", self.log());
        }
    }
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
