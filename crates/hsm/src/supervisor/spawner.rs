//! Starts and reaps worker processes, from one thread that lives as long as the group. It never waits for one process: a
//! worker that sits in its driver does not even end by SIGKILL, and the others must be started meanwhile.
//!
//! A worker asks the kernel to be killed when its parent dies, and for the kernel the parent is the thread that started
//! it: a runtime's threads come and go, this one does not.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::environment::inherited;
use signet_core::keys::HsmName;

/// A module that talks without end fills no log: lines over this length are cut, and so is what follows this many.
const MAX_LINE: u64 = 1024;
const MAX_LINES: usize = 1000;

/// How often a worker that is about to end is looked at: a process can't be waited for with a limit.
const POLL: Duration = Duration::from_millis(2);

/// How long a killed worker is waited for; one that stays longer is looked at now and then until it ends.
const REAP_TIMEOUT: Duration = Duration::from_secs(1);
const RARE_POLL: Duration = Duration::from_millis(250);

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
    Start { name: HsmName, environment: BTreeMap<String, String>, answer: oneshot::Sender<io::Result<Spawned>> },
    Stop { number: u64, patience: Duration, answer: oneshot::Sender<String> },
}

impl Spawner {
    /// Starts the thread.
    /// Errors: Where the system gives no thread.
    pub(super) fn start(program: PathBuf) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        thread::Builder::new().name("hsm-spawner".into()).spawn(move || serve(&program, &received))?;
        Ok(Self { orders })
    }

    /// Starts a worker process.
    pub(super) async fn spawn(&self, name: HsmName, environment: BTreeMap<String, String>) -> io::Result<Spawned> {
        let (answer, answered) = oneshot::channel();
        // Where the thread is gone, the answer is dropped with the order.
        let _ = self.orders.send(Order::Start { name, environment, answer });
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the spawner has ended")))
    }

    /// Waits for a worker to end by itself, kills it where it does not, and says how it ended. Takes a second longer
    /// than `patience` at most, also where the worker does not end at all.
    pub(super) async fn stop(&self, number: u64, patience: Duration) -> String {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::Stop { number, patience, answer });
        answered.await.unwrap_or_else(|_| "the spawner has ended".to_owned())
    }
}

fn serve(program: &PathBuf, orders: &Receiver<Order>) {
    let mut children: HashMap<u64, Child> = HashMap::new();
    let mut endings: Vec<Ending> = Vec::new();
    let mut number = 0;
    loop {
        let order = match next_pause(&endings) {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(pause) => orders.recv_timeout(pause),
        };
        match order {
            Ok(Order::Start { name, environment, answer }) => {
                number += 1;
                let spawned = spawn(program, &name, environment).map(|(child, stream)| {
                    let process_id = child.id();
                    children.insert(number, child);
                    Spawned { number, process_id, stream }
                });
                // A caller who has gone leaves the worker with a closed socket: it ends by itself.
                let _ = answer.send(spawned);
            }
            Ok(Order::Stop { number, patience, answer }) => match children.remove(&number) {
                Some(child) => endings.push(Ending::new(child, patience, answer)),
                None => drop(answer.send("it was gone".to_owned())),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        endings.retain_mut(|ending| !ending.is_over());
    }
    let killed = children.into_values().map(|child| Ending::new(child, Duration::ZERO, oneshot::channel().0));
    endings.extend(killed);
    let until = Instant::now() + REAP_TIMEOUT;
    while !endings.is_empty() && Instant::now() < until {
        endings.retain_mut(|ending| !ending.is_over());
        thread::sleep(POLL);
    }
}

/// When to look at the ending workers again; `None` where there are none.
fn next_pause(endings: &[Ending]) -> Option<Duration> {
    let pause = |ending: &Ending| if ending.answer.is_some() { POLL } else { RARE_POLL };
    endings.iter().map(pause).min()
}

/// A worker that is to end.
struct Ending {
    child: Child,
    kill_at: Instant,
    is_killed: bool,
    /// Gone once the caller was told.
    answer: Option<oneshot::Sender<String>>,
}

impl Ending {
    fn new(child: Child, patience: Duration, answer: oneshot::Sender<String>) -> Self {
        Self { child, kill_at: Instant::now() + patience, is_killed: false, answer: Some(answer) }
    }

    /// Whether the process has ended; kills it when its time has come. The caller is told in time, ended or not.
    fn is_over(&mut self) -> bool {
        // Where waiting fails there is no such process any more.
        let ended =
            self.child.try_wait().map_or_else(|error| Some(error.to_string()), |ended| Some(ended?.to_string()));
        if let Some(how) = ended {
            self.tell(&how);
            return true;
        }
        let now = Instant::now();
        if !self.is_killed && now >= self.kill_at {
            // Where it ended this moment, there is nothing to kill.
            let _ = self.child.kill();
            self.is_killed = true;
        }
        if now >= self.kill_at + REAP_TIMEOUT {
            self.tell("it was killed and does not end");
        }
        false
    }

    fn tell(&mut self, how: &str) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(how.to_owned());
        }
    }
}

fn spawn(program: &PathBuf, name: &HsmName, environment: BTreeMap<String, String>) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut child = Command::new(program)
        .arg0("signet")
        .arg("hsm-worker")
        .env_clear()
        .envs(inherited())
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

/// What the worker and its module say goes to the log, bounded; the rest is read and dropped, so that nobody blocks.
fn log_lines(name: &HsmName, process_id: u32, stderr: impl Read) {
    let mut stderr = BufReader::new(stderr);
    let mut lines = 0;
    loop {
        let mut line = Vec::new();
        match (&mut stderr).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        lines += 1;
        if lines <= MAX_LINES {
            let text = String::from_utf8_lossy(&line);
            tracing::warn!(hsm = %name, process_id, line = text.trim_end(), "the HSM worker says");
        }
    }
}
