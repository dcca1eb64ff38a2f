//! Keeps one worker process alive: starts it, talks to it, starts it again. Not after a refused PIN (promise 9) until an
//! operator has allowed a login, and never where only a person can mend what is wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use super::SHUTDOWN_GRACE;
use super::connect;
use super::connection::{Connection, Health, worker_stuck_after};
use super::login::WorkerLogin;
use super::spawner::{Spawned, Spawner};
use super::token::HsmToken;
use super::workers::{Stage, Worker};
use crate::PinSource;
use crate::wire::{self, Answer, FrameBuffer, Greeting, LOGIN_ID, LoginReply, Operation, Request, Response, START_ID};
use signet_core::keys::{HsmFailure, TokenReport};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How long a start may take; a person who types a PIN gets longer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const PROMPT_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a login may take that was permitted: its lease is longer.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a worker that takes no requests any more is listened to.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// How a conversation ended.
struct Ended {
    failure: HsmFailure,
    was_up: bool,
    has_served: bool,
}

/// Looks after one worker until the group stops.
pub(super) async fn supervise(
    token: Arc<HsmToken>,
    index: usize,
    spawner: Arc<Spawner>,
    mut stopping: watch::Receiver<bool>,
) {
    if index > 0 && !first_is_up(&token, &mut stopping).await {
        return;
    }
    let mut pause = FIRST_PAUSE;
    let mut was_up = false;
    while !*stopping.borrow() {
        let login = WorkerLogin::default();
        let Ended { failure, was_up: came_up, has_served } =
            run_once(&token, index, &login, &spawner, &mut stopping).await;
        if *stopping.borrow() || stopping.has_changed().is_err() {
            token.workers.set(index, Stage::Down(HsmFailure::Unavailable("the server stops".into())));
            return;
        }
        was_up |= came_up;
        if needs_a_person(&failure, was_up) {
            tracing::error!(hsm = %token.name(), %failure, "the HSM worker is not started again");
            let is_refused = matches!(failure, HsmFailure::PinRefused(_));
            token.enter(index, Stage::Failed(failure));
            if !is_refused || !login.until_allowed(&token, &mut stopping).await {
                return;
            }
            tracing::warn!(hsm = %token.name(), "a login is allowed again: the HSM worker is started");
            continue;
        }
        tracing::warn!(hsm = %token.name(), %failure, "the HSM worker ended and is started again");
        token.enter(index, Stage::Down(failure));
        pause = if has_served { FIRST_PAUSE } else { pause };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stopping) => return,
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Only the first worker ever presents a PIN that has not been accepted yet: a wrong one is tried once.
async fn first_is_up(token: &HsmToken, stopping: &mut watch::Receiver<bool>) -> bool {
    let Some(mut first) = token.workers.watch(0) else { return false };
    tokio::select! {
        up = first.wait_for(|stage| matches!(stage, Stage::Up(..))) => up.is_ok(),
        () = stopped(stopping) => false,
    }
}

/// Ends when the group is stopped or dropped.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the group was dropped.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A configuration that worked before works again when its device is back.
fn needs_a_person(failure: &HsmFailure, was_up: bool) -> bool {
    match failure {
        HsmFailure::PinRefused(_) => true,
        HsmFailure::Configuration(_) | HsmFailure::MechanismMissing(_) => !was_up,
        _ => false,
    }
}

async fn run_once(
    token: &HsmToken,
    index: usize,
    login: &WorkerLogin,
    spawner: &Spawner,
    stopping: &mut watch::Receiver<bool>,
) -> Ended {
    let config = &token.config;
    let spawned = match connect::open(config, spawner).await {
        Ok(spawned) => spawned,
        Err(error) => {
            let failure = HsmFailure::Unavailable(format!("the worker can't be started: {error}"));
            return Ended { failure, was_up: false, has_served: false };
        }
    };
    let Spawned { number, process_id, stream } = spawned;
    let size = |number: u32| usize::try_from(number.max(1)).unwrap_or(usize::MAX);
    let connection = Connection::new(size(config.queue), size(config.sessions));
    let (last_word, patience) = tokio::select! {
        last_word = converse(token, index, login, &connection, stream, (number, process_id)) => (last_word, Duration::ZERO),
        () = stopped(stopping) => (None, SHUTDOWN_GRACE),
        () = token.workers.restart_ordered(index, number) => (None, Duration::ZERO),
    };
    let was_up = token.workers.is_up(index);
    let gone = last_word.clone().unwrap_or_else(|| HsmFailure::Unavailable(format!("its worker {process_id} is gone")));
    // A refused PIN keeps the worker from coming back. What was in its hands may have been done before.
    connection.close(&gone.clone().into_unavailable());
    if was_up && !*stopping.borrow() && stopping.has_changed().is_ok() {
        // The process may take its time to end; nobody is sent to it meanwhile.
        token.enter(index, Stage::Down(gone));
    }
    let ended = connect::close(config, spawner, number, patience).await;
    login.gone(token, &ended).await;
    let failure =
        last_word.unwrap_or_else(|| HsmFailure::Unavailable(format!("its worker {process_id} ended: {ended}")));
    Ended { failure, was_up, has_served: connection.has_served() }
}

/// Talks until one side ends it; gives the worker's last word, or why it was given up.
async fn converse(
    token: &HsmToken,
    index: usize,
    login: &WorkerLogin,
    connection: &Arc<Connection>,
    stream: std::os::unix::net::UnixStream,
    (number, process_id): (u64, u32),
) -> Option<HsmFailure> {
    let unusable = |error: std::io::Error| Some(HsmFailure::Unavailable(error.to_string()));
    let mut stream = match UnixStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return unusable(error),
    };
    let mut frames = FrameBuffer::default();
    let report = match greet(token, index, login, &mut stream, &mut frames).await {
        Ok(report) => report,
        Err(failure) => return failure,
    };
    tracing::info!(hsm = %token.name(), process_id, library = %report.library, "the HSM worker is up");
    tell_confinement(token, &report);
    token.enter(index, Stage::Up(Arc::clone(connection), Box::new(Worker { number, process_id, report })));
    let (read, write) = stream.into_split();
    let written = async {
        connection.write(write).await;
        // The worker has gone, and may have left a last word to read.
        tokio::time::sleep(LAST_WORD_TIMEOUT).await;
    };
    let (words, mut said) = mpsc::unbounded_channel();
    let last_word = tokio::select! {
        last_word = connection.read(read, frames, words) => last_word,
        failure = watch_over(token, connection) => Some(failure),
        () = written => None,
        () = see_to_logins(token, index, login, connection, &mut said) => None,
    };
    // How its last login ended may have been said together with its last word.
    while let Ok(word) = said.try_recv() {
        if let Answer::LoginEnded(outcome) = word {
            login.ended(token, outcome).await;
        }
    }
    last_word
}

/// Answers a worker that logs in again after its token was logged out, for as long as it says anything.
async fn see_to_logins(
    token: &HsmToken,
    index: usize,
    login: &WorkerLogin,
    connection: &Connection,
    said: &mut mpsc::UnboundedReceiver<Answer>,
) {
    while let Some(word) = said.recv().await {
        match word {
            Answer::LoginAsked(question) => connection.reply_to_login(login.answer(token, index, question).await),
            Answer::LoginEnded(outcome) => login.ended(token, outcome).await,
            // A worker that says anything else here says nothing that counts.
            _ => {}
        }
    }
    std::future::pending().await
}

fn tell_confinement(token: &HsmToken, report: &TokenReport) {
    tracing::info!(hsm = %token.name(), confined = report.confined.join(", "), "the HSM worker has given up what it does not need");
    if !report.not_confined.is_empty() {
        let missing = report.not_confined.join(", ");
        tracing::warn!(hsm = %token.name(), missing, "this kernel does not offer all that the HSM worker is to give up");
    }
}

/// Sends the configuration and waits for the worker's word that it serves; answers it meanwhile where it asks whether it may
/// log in. Time runs anew with each answer: a worker may have to wait for other nodes' logins.
async fn greet(
    token: &HsmToken,
    index: usize,
    login: &WorkerLogin,
    stream: &mut UnixStream,
    frames: &mut FrameBuffer,
) -> Result<TokenReport, Option<HsmFailure>> {
    let greeting = Greeting { config: &token.config, judges_logins: token.permits.is_some() };
    say(stream, &greeting).await?;
    let mut patience = if token.config.pin == PinSource::Prompt { PROMPT_TIMEOUT } else { START_TIMEOUT };
    let mut deadline = tokio::time::Instant::now() + patience;
    let mut chunk = [0; 4096];
    loop {
        match frames.next::<Response>() {
            Ok(Some(Response { id: START_ID, result: Ok(Answer::Ready(report)) })) => return Ok(report),
            Ok(Some(Response { id: LOGIN_ID, result: Ok(Answer::LoginAsked(question)) })) => {
                let reply = login.answer(token, index, question).await;
                patience = if reply == LoginReply::Present { LOGIN_TIMEOUT } else { START_TIMEOUT };
                deadline = tokio::time::Instant::now() + patience;
                let request = Request { id: LOGIN_ID, patience_ms: 0, operation: Operation::Login(reply) };
                say(stream, &request).await?;
                continue;
            }
            Ok(Some(Response { id: LOGIN_ID, result: Ok(Answer::LoginEnded(outcome)) })) => {
                login.ended(token, outcome).await;
                deadline = tokio::time::Instant::now() + START_TIMEOUT;
                continue;
            }
            Ok(Some(Response { result: Err(failure), .. })) => return Err(Some(failure)),
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => {
                let detail = "the worker does not speak this server's language".to_owned();
                return Err(Some(HsmFailure::Unavailable(detail)));
            }
        }
        match tokio::time::timeout_at(deadline, stream.read(&mut chunk)).await {
            Err(_) => {
                let detail = format!("no start within {}s", patience.as_secs());
                return Err(Some(HsmFailure::Unavailable(detail)));
            }
            Ok(Ok(0) | Err(_)) => return Err(None),
            Ok(Ok(length)) => frames.extend(chunk.get(..length).unwrap_or_default()),
        }
    }
}

async fn say<T: serde::Serialize>(stream: &mut UnixStream, frame: &T) -> Result<(), Option<HsmFailure>> {
    let mut bytes = Vec::new();
    wire::append(&mut bytes, frame).map_err(|error| Some(HsmFailure::Configuration(error.to_string())))?;
    stream.write_all(&bytes).await.map_err(|_| None)
}

/// Ends when the worker hangs; tells expired callers meanwhile.
async fn watch_over(token: &HsmToken, connection: &Connection) -> HsmFailure {
    let deadline = token.config.deadline;
    let mut ticks = tokio::time::interval((deadline / 20).clamp(Duration::from_millis(5), Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if connection.take_answered_quickly() {
            token.killed_as_stuck.store(0, Ordering::Relaxed);
        }
        if connection.load() == 0 {
            continue;
        }
        let killed = token.killed_as_stuck.load(Ordering::Relaxed);
        match connection.sweep(Instant::now(), worker_stuck_after(deadline, killed)) {
            Health::Ok => continue,
            Health::RequestStuck => {}
            Health::WorkerStuck => token.killed_as_stuck.store(killed.saturating_add(1), Ordering::Relaxed),
        }
        return HsmFailure::Unavailable("its worker hangs and was killed".into());
    }
}
