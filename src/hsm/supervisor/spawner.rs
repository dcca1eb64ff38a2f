//! Starts and reaps worker processes, from one thread that lives as long as the group.
//!
//! A worker asks the kernel to be killed when its parent dies, and for the kernel the parent is the thread that started
//! it: a runtime's threads come and go, this one does not.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::keys::HsmName;

/// A module that talks without end fills no log: lines over this length are cut, and so is what follows this many.
const LONGEST_LINE: u64 = 1024;
const MOST_LINES: usize = 1000;

/// How often a worker that is about to end is looked at: a process can't be waited for with a limit.
const POLL: Duration = Duration::from_millis(2);

/// Settings of Signet itself stay with the server: the worker is told what it needs.
const OWN_ENVIRONMENT: &str = "SIGNET_";

/// Asks the thread for worker processes.
pub(super) struct Spawner {
    orders: Sender<Order>,
}

/// A running worker: its number at the spawner, its process id, and the socket to talk over.
pub(super) struct Spawned {
    pub(super) number: u64,
    pub(super) process_id: u32,
    pub(super) stream: UnixStream,
}

enum Order {
    Start { name: HsmName, environment: Vec<(String, String)>, answer: oneshot::Sender<io::Result<Spawned>> },
    Stop { number: u64, patience: Duration, answer: oneshot::Sender<String> },
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread.
    pub(super) fn start(program: PathBuf) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        thread::Builder::new().name("hsm-spawner".into()).spawn(move || serve(&program, &received))?;
        Ok(Self { orders })
    }

    /// Starts a worker process.
    pub(super) async fn spawn(&self, name: HsmName, environment: Vec<(String, String)>) -> io::Result<Spawned> {
        let (answer, answered) = oneshot::channel();
        // Where the thread is gone, the answer is dropped with the order.
        let _ = self.orders.send(Order::Start { name, environment, answer });
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the spawner has ended")))
    }

    /// Waits for a worker to end by itself, kills it where it does not, and says how it ended.
    pub(super) async fn stop(&self, number: u64, patience: Duration) -> String {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::Stop { number, patience, answer });
        answered.await.unwrap_or_else(|_| "the spawner has ended".to_owned())
    }
}

fn serve(program: &PathBuf, orders: &Receiver<Order>) {
    let mut children: HashMap<u64, Child> = HashMap::new();
    let mut number = 0;
    while let Ok(order) = orders.recv() {
        match order {
            Order::Start { name, environment, answer } => {
                number += 1;
                let spawned = spawn(program, &name, environment).map(|(child, stream)| {
                    let process_id = child.id();
                    children.insert(number, child);
                    Spawned { number, process_id, stream }
                });
                // An asker who has gone leaves the worker with a closed socket: it ends by itself.
                let _ = answer.send(spawned);
            }
            Order::Stop { number, patience, answer } => {
                let ended =
                    children.remove(&number).map_or_else(|| "it was gone".to_owned(), |child| stop(child, patience));
                let _ = answer.send(ended);
            }
        }
    }
    for child in children.into_values() {
        stop(child, Duration::ZERO);
    }
}

fn spawn(program: &PathBuf, name: &HsmName, environment: Vec<(String, String)>) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let inherited = std::env::vars_os().filter(|(key, _)| !key.to_string_lossy().starts_with(OWN_ENVIRONMENT));
    let mut child = Command::new(program)
        .arg("hsm-worker")
        .env_clear()
        .envs(inherited)
        .envs(environment)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(stderr) = child.stderr.take() {
        let (name, process_id) = (name.clone(), child.id());
        thread::Builder::new().name("hsm-stderr".into()).spawn(move || log_lines(&name, process_id, stderr))?;
    }
    Ok((child, ours))
}

fn stop(mut child: Child, patience: Duration) -> String {
    let until = Instant::now() + patience;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        thread::sleep(POLL);
    }
    if !matches!(child.try_wait(), Ok(Some(_))) {
        // Where it ended this moment, there is nothing to kill.
        let _ = child.kill();
    }
    child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// What the worker and its module say goes to the log, bounded; the rest is read and dropped, so that nobody blocks.
fn log_lines(name: &HsmName, process_id: u32, stderr: impl Read) {
    let mut stderr = BufReader::new(stderr);
    let mut lines = 0;
    loop {
        let mut line = Vec::new();
        match (&mut stderr).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        lines += 1;
        if lines <= MOST_LINES {
            let text = String::from_utf8_lossy(&line);
            tracing::warn!(hsm = %name, process_id, line = text.trim_end(), "the HSM worker says");
        }
    }
}
