//! `signet hsm-worker`: the process that holds one HSM token's module, PIN and sessions.
//!
//! It talks to its server over the socket that it inherits as standard input. One thread per session does the work;
//! one more manages keys. It has no asynchronous runtime: every call into a module blocks.

mod confine;
mod counter_record;
mod describe;
mod error;
mod export_secret;
mod find_key;
mod hangup;
mod harden;
mod key_session;
mod login_talk;
mod manage;
mod mechanism;
mod pin;
mod pin_attempt_log;
mod policy;
mod raw;
mod request_queue;
mod response_writer;
mod seccomp;
mod session_place;
mod session_thread;
mod signature_counter;
mod signing_guard;
mod single_part;
mod standalone;
mod token;
mod token_bucket;
mod transport;
mod vault;

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use cryptoki::session::Session;

use self::confine::InForce;
use self::login_talk::{LoginTalk, StartingTalk};
use self::manage::Manager;
use self::request_queue::RequestQueue;
use self::response_writer::ResponseWriter;
use self::session_thread::{SessionThread, Shared};
use self::signature_counter::SignatureCounter;
use self::signing_guard::SigningGuard;
use self::single_part::SinglePartSession;
pub use self::standalone::{WorkerConfig, inherited_socket_path, refuse_foreign};
use self::token::Token;
use super::wire::{Answer, FrameBuffer, Greeting, START_ID};
use super::{HsmConfig, PinSource};
use signet_core::keys::HsmFailure;

/// Waiting management requests; they are rare.
const MANAGEMENT_QUEUE: usize = 16;

/// How long threads inside the module get to come back before the process ends without them.
const THREADS_GRACE: Duration = Duration::from_secs(1);

/// Runs the worker until its server hangs up: by its own configuration, or by what the server that started it says.
pub fn run(own: Option<WorkerConfig>) -> ExitCode {
    match serve(own) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signet hsm-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(own: Option<WorkerConfig>) -> io::Result<()> {
    harden::process()?;
    let mut stream = inherited_stream()?;
    match &own {
        Some(own) => own.judge_peer(&stream)?,
        // A worker of systemd's is no child of its server.
        None => harden::end_with_parent()?,
    }
    let mut frames = FrameBuffer::default();
    let Greeting { config, judges_logins } = read_greeting(&mut stream, &mut frames)?;
    let responses = Arc::new(ResponseWriter::new(stream.try_clone()?));
    let judged = match &own {
        Some(own) => own.judge(config),
        None => Ok(config),
    };
    let started = judged.and_then(|config| {
        let in_force = confined(&config)?;
        // From here on threads start: what was given up is given up by all.
        hangup::watch(stream.try_clone().map_err(no_thread)?).map_err(no_thread)?;
        let talk = StartingTalk::new(&stream, &mut frames, &responses);
        // Whoever has taken the server of another user over could have a refused PIN presented until the token locks.
        let judges_itself = own.is_some() || !judges_logins;
        start(config, in_force, judges_itself, judges_logins.then_some(&talk as &dyn LoginTalk))
    });
    match started {
        Ok(started) => work(started, judges_logins, stream, frames, responses),
        Err(failure) => {
            eprintln!("the worker does not start: {failure}");
            responses.send(START_ID, Err(failure));
            Ok(())
        }
    }
}

fn no_thread(error: io::Error) -> HsmFailure {
    HsmFailure::Unavailable(format!("the worker can't start: {error}"))
}

/// Gives up what is not needed, but for the places where the worker itself writes: its count, and the PIN's marker.
fn confined(config: &HsmConfig) -> Result<InForce, HsmFailure> {
    let folder = |path: &Path| path.parent().map(Path::to_owned);
    let beside_pin = match &config.pin {
        PinSource::File(path) => folder(path),
        PinSource::Credential(_) | PinSource::Prompt => None,
    };
    let own: Vec<PathBuf> = beside_pin.into_iter().chain(config.state_directory.clone()).collect();
    confine::apply(&config.confinement, &own)
}

/// The socket is taken off standard input and output, so that a module that reads or prints there does not take part in
/// the conversation.
fn inherited_stream() -> io::Result<UnixStream> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr().map_err(|_| io::Error::other("this command is started by `signet serve`, not by hand"))?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(std::fs::OpenOptions::new().write(true).open("/dev/null")?)?;
    Ok(stream)
}

fn read_greeting(stream: &mut UnixStream, frames: &mut FrameBuffer) -> io::Result<Greeting> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(greeting) = frames.next().map_err(io::Error::other)? {
            return Ok(greeting);
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
    sessions: Vec<SinglePartSession>,
    management: SinglePartSession,
    queue: usize,
    guard: SigningGuard,
}

/// Logs in, then opens the sessions one after another: the first failure stops.
fn start(
    config: HsmConfig,
    in_force: InForce,
    judges_itself: bool,
    talk: Option<&dyn LoginTalk>,
) -> Result<Started, HsmFailure> {
    let count = config.sessions.max(1);
    let queue = usize::try_from(config.queue.max(1)).unwrap_or(usize::MAX);
    // A signer that can't count does not present its PIN either.
    let guard = SigningGuard::open(&config)?;
    let (token, anchor) = Token::open(config, in_force, judges_itself, talk)?;
    let sessions = (0..count)
        .map(|_| token.session())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| opening_failed(fault, count))?;
    let management = token.management_session().map_err(|fault| opening_failed(fault, count))?;
    Ok(Started { token, anchor, sessions, management, queue, guard })
}

fn opening_failed(fault: error::Fault, count: u32) -> HsmFailure {
    match fault {
        error::Fault::Module(code @ cryptoki::error::RvError::SessionCount, _) => HsmFailure::Configuration(format!(
            "the token does not allow {} sessions ({}); lower `sessions` of its [[hsm]]",
            u64::from(count) + 2,
            error::code_name(code)
        )),
        other => other.into_unavailable(),
    }
}

fn work(
    started: Started,
    judges_logins: bool,
    stream: UnixStream,
    frames: FrameBuffer,
    responses: Arc<ResponseWriter>,
) -> io::Result<()> {
    let Started { token, anchor, sessions, management, queue, guard } = started;
    harden::leave_the_foreground();
    SignatureCounter::keep(&guard.counter)?;
    responses.send(START_ID, Ok(Answer::Ready(token.report())));
    let (management_jobs, jobs) = mpsc::sync_channel(MANAGEMENT_QUEUE);
    let queue = RequestQueue::new(stream, frames, management_jobs, Arc::clone(&responses), queue);
    let shared = Arc::new(Shared { token, guard, queue, judges_logins, responses, epoch: AtomicU64::new(0) });
    let (finished, done) = mpsc::channel::<()>();
    for (number, session) in sessions.into_iter().enumerate() {
        let thread = SessionThread::new(Arc::clone(&shared), session);
        let finished = finished.clone();
        thread::Builder::new().name(format!("session-{number}")).spawn(move || {
            thread.work();
            drop(finished);
        })?;
    }
    let manager = Manager::new(Arc::clone(&shared), management);
    thread::Builder::new().name("management".into()).spawn(move || {
        manager.work(&jobs);
        drop(finished);
    })?;
    shared.queue.wait_until_ended();
    end(&done, shared, anchor);
    Ok(())
}

/// Leaving while a thread is inside the module crashes some of them: they come back first, or nothing is unwound.
fn end(done: &mpsc::Receiver<()>, shared: Arc<Shared>, anchor: Session) {
    if matches!(done.recv_timeout(THREADS_GRACE), Err(mpsc::RecvTimeoutError::Timeout)) {
        eprintln!("the module holds a thread; the worker ends without it");
        std::process::abort();
    }
    drop(anchor);
    if let Ok(shared) = Arc::try_unwrap(shared).map_err(drop) {
        shared.token.finalize();
    }
}
