//! `signet hsm-worker`: the process that holds one HSM token's module, PIN and sessions.
//!
//! It talks to its server over the socket that it inherits as standard input. One thread per session does the work;
//! one more manages keys. It has no asynchronous runtime: every call into a module blocks.

mod desk;
mod direct;
mod error;
mod find_key;
mod harden;
mod intake;
mod manage;
mod marker;
mod mechanism;
mod outbox;
mod pin;
mod session_place;
mod token;
mod vault;

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use cryptoki::session::Session;

use self::desk::{Desk, Shared};
use self::direct::DirectSession;
use self::intake::Intake;
use self::manage::Manager;
use self::outbox::Outbox;
use self::token::Token;
use super::wire::{Answer, FrameBuffer, Hello, START_ID};
use crate::keys::HsmFailure;

/// Waiting management requests; they are rare.
const MANAGEMENT_QUEUE: usize = 16;

/// How long threads inside the module get to come back before the process ends without them.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Runs the worker until its server hangs up.
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signet hsm-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    harden::process()?;
    let mut stream = inherited_stream()?;
    let mut frames = FrameBuffer::default();
    let hello = read_hello(&mut stream, &mut frames)?;
    let outbox = Arc::new(Outbox::new(stream.try_clone()?));
    match start(hello) {
        Ok(started) => work(started, stream, frames, outbox),
        Err(failure) => {
            eprintln!("the worker does not start: {failure}");
            outbox.send(START_ID, Err(failure));
            Ok(())
        }
    }
}

/// The socket is taken off standard input, so that a module that reads from there does not take part in the
/// conversation.
fn inherited_stream() -> io::Result<UnixStream> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr().map_err(|_| io::Error::other("this command is started by `signet serve`, not by hand"))?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(stream)
}

fn read_hello(stream: &mut UnixStream, frames: &mut FrameBuffer) -> io::Result<Hello> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(hello) = frames.next().map_err(io::Error::other)? {
            return Ok(hello);
        }
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        frames.extend(chunk.get(..length).unwrap_or_default());
    }
}

struct Started {
    token: Token,
    anchor: Session,
    sessions: Vec<DirectSession>,
    management: DirectSession,
    queue: usize,
}

/// Logs in, then opens the sessions one after another: the first failure stops.
fn start(hello: Hello) -> Result<Started, HsmFailure> {
    let count = hello.sessions.max(1);
    let queue = usize::try_from(hello.queue.max(1)).unwrap_or(usize::MAX);
    let (token, anchor) = Token::open(hello)?;
    let sessions = (0..count)
        .map(|_| token.session())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| opening_failed(fault, count))?;
    let management = token.management_session().map_err(|fault| opening_failed(fault, count))?;
    Ok(Started { token, anchor, sessions, management, queue })
}

fn opening_failed(fault: error::Fault, count: u32) -> HsmFailure {
    match fault {
        error::Fault::Module(code @ cryptoki::error::RvError::SessionCount, _) => HsmFailure::Configuration {
            detail: format!(
                "the token does not allow {} sessions ({}); lower `sessions` of its [[hsm]]",
                u64::from(count) + 2,
                error::code_name(code)
            ),
        },
        other => other.into_unavailable(),
    }
}

fn work(started: Started, stream: UnixStream, frames: FrameBuffer, outbox: Arc<Outbox>) -> io::Result<()> {
    let Started { token, anchor, sessions, management, queue } = started;
    harden::leave_the_foreground();
    outbox.send(START_ID, Ok(Answer::Ready(token.report())));
    let (management_jobs, jobs) = mpsc::sync_channel(MANAGEMENT_QUEUE);
    let intake = Intake::new(stream, frames, management_jobs, Arc::clone(&outbox), queue);
    let shared = Arc::new(Shared { token, intake, outbox, epoch: AtomicU64::new(0) });
    let (finished, done) = mpsc::channel::<()>();
    for (number, session) in sessions.into_iter().enumerate() {
        let desk = Desk::new(Arc::clone(&shared), session);
        let finished = finished.clone();
        thread::Builder::new().name(format!("session-{number}")).spawn(move || {
            desk.work();
            drop(finished);
        })?;
    }
    let manager = Manager::new(Arc::clone(&shared), management);
    thread::Builder::new().name("management".into()).spawn(move || {
        manager.work(&jobs);
        drop(finished);
    })?;
    shared.intake.wait_until_ended();
    end(&done, shared, anchor);
    Ok(())
}

/// Leaving while a thread is inside the module crashes some of them: they come back first, or nothing is unwound.
fn end(done: &mpsc::Receiver<()>, shared: Arc<Shared>, anchor: Session) {
    if matches!(done.recv_timeout(LAST_CALLS), Err(mpsc::RecvTimeoutError::Timeout)) {
        eprintln!("the module holds a thread; the worker ends without it");
        std::process::abort();
    }
    drop(anchor);
    if let Ok(shared) = Arc::try_unwrap(shared).map_err(drop) {
        shared.token.finalize();
    }
}
