//! `signet serve`

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing_subscriber::filter::LevelFilter;

use super::output::Output;
use super::reload::Reload;
use super::wiring::{self, Deployment, Need};
use crate::config::{Config, LogConfig, LogFormat, LogLevel, TlsConfig};
use crate::http::{AcceptedHosts, HttpState, Limits, Listening, router};
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::keys::{HsmError, HsmFailure, HsmKey, HsmName, KeyPurpose};
use signet_hsm::{HsmEvent, HsmGroup};
use signet_service::Signet;
use signet_service::directory::{RingKey, Snapshot};
use signet_service::rotate::Rotator;
use signet_store::{AuditLog as _, Keys as _};

#[derive(Debug, clap::Args)]
pub(super) struct Serve {}

/// How long a starting server waits for its HSM tokens before it serves without them.
const HSM_PATIENCE: Duration = Duration::from_secs(5);
/// How often keys that did not sign lately are tried.
const EXERCISE_EVERY: Duration = Duration::from_secs(2);
/// How often the HSM's signatures are compared with the records.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether a suspended HSM token is due to be tried.
const TRY_SUSPENDED_EVERY: Duration = Duration::from_millis(50);
/// How often it is looked whether an HSM token lacks seals.
const RESEAL_EVERY: Duration = Duration::from_secs(1);
/// How often what has expired is deleted.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// How long the answer may take that a request has passed its deadline, on a busy machine.
const LAST_ANSWER: Duration = Duration::from_secs(3);
/// How long requests that are under way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(10);

impl Serve {
    pub(super) async fn run(self, path: &Path, output: &Output) -> anyhow::Result<()> {
        let config = wiring::load_config(path)?;
        start_log(config.log);
        let ready = |address: SocketAddr, issuer: &str| output.note(&format!("serving {issuer} on {address}"));
        serve(config, Some(path), &ready).await
    }
}

/// Serves until a signal asks to stop. `ready` is called once requests are answered; the HSM tokens of `file`, where
/// `config` was read from, are read again on SIGHUP. Without it that signal ends the server, as a terminal's end does.
pub(super) async fn serve(
    config: Config,
    file: Option<&Path>,
    ready: &(dyn Fn(SocketAddr, &str) + Send + Sync),
) -> anyhow::Result<()> {
    give_up_dumps()?;
    let mut stop = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Until it can be followed it must not end the server.
    let hangup = file.map(|file| Ok::<_, std::io::Error>((std::path::absolute(file)?, signal(SignalKind::hangup())?)));
    let hangup = hangup.transpose()?;
    let tls = load_tls(config.server.tls.as_ref()).await?;
    let listening = Listening::bind(config.server.listen)?;
    let (events, hsm_events) = mpsc::unbounded_channel();
    let deployment = Deployment::assemble(config, Need::Hsm, events).await?;
    if let Err(error) = start_hsm(&deployment).await {
        deployment.hsm.shutdown().await;
        deployment.store.close().await;
        return Err(error);
    }
    if let Some(marks) = &deployment.marks {
        marks.announce(wiring::server_slack(&deployment.config))?;
    }
    let signet = &deployment.signet;
    let anchor = &deployment.config.audit.anchor;
    if !anchor.exists() && deployment.store.last_checkpoint().await?.is_some() {
        tracing::error!(anchor = %anchor.display(), "the anchor is gone: whether this is an old copy of the store can't be told");
    }
    tell(signet, Event::ServerStarted, Outcome::Done, None).await?;
    let mut background = start_background(&deployment, hsm_events);
    let rotation = signet.new_request_id();
    background.spawn(rotate(Rotator::new(signet.clone(), rotation.clone())));
    if let Some((path, hangup)) = hangup {
        let (running, marks) = (deployment.config.clone(), deployment.marks.clone());
        let reload = Reload { path, running, marks, store: deployment.store.clone(), hsm: deployment.hsm.clone() };
        background.spawn(reload.on_each(hangup));
    }
    let limits = limits(&deployment.config);
    let address = listening.address();
    let hosts = Arc::new(AcceptedHosts::new(deployment.config.server.public_url.url(), address));
    let handle = Handle::new();
    let routes = router(HttpState { signet: signet.clone(), limits, hosts });
    let mut serving = tokio::spawn(listening.serve(routes, tls, limits, handle.clone()));
    ready(address, &signet.settings().issuer);
    let early = tokio::select! {
        _ = stop.0.recv() => { tracing::info!("asked to stop (SIGTERM)"); None }
        _ = stop.1.recv() => { tracing::info!("asked to stop (SIGINT)"); None }
        served = &mut serving => Some(served),
        // None of these ends by itself: one that does has panicked, and what it did is not done any more.
        Some(_) = background.join_next() => { tracing::error!("a background task ended; the server stops"); None }
    };
    handle.graceful_shutdown(Some(limits.drain));
    let served = match early {
        Some(served) => served,
        None => serving.await,
    };
    let served = served.context("the server failed")?;
    background.shutdown().await;
    reconcile(&deployment).await;
    if let Err(error) = signet.end_rotation(&rotation).await {
        tracing::warn!(%error, "the lease of the key rotation was not given back; it runs out by itself");
    }
    signet.tell_repetitions(true).await?;
    tell(signet, Event::ServerStopped, Outcome::Done, None).await?;
    deployment.close().await?;
    Ok(served?)
}

/// Waits for the HSM tokens. What only a person can mend ends the start; what heals by itself does not.
async fn start_hsm(deployment: &Deployment) -> anyhow::Result<()> {
    let snapshot = deployment.signet.directory().fresh().await?;
    let keys = deployment.store.keys().await?;
    let ring: Vec<&HsmKey> = keys.iter().filter(|key| key.purpose == KeyPurpose::TokenSigning).collect();
    anyhow::ensure!(!ring.is_empty(), "this deployment has no keys yet: run `signet init` first");
    let algorithm = deployment.signet.settings().algorithm;
    // A ring of revoked keys gets another one as soon as an HSM token answers.
    anyhow::ensure!(
        ring.iter().any(|key| key.public.as_ref().is_some_and(|jwk| jwk.algorithm == algorithm)),
        "no active {algorithm} key: run `signet init`, or `signet key generate --algorithm {algorithm}`"
    );
    let outcomes = deployment.hsm.ready_each(HSM_PATIENCE).await;
    let answers = |hsm: &HsmName| outcomes.iter().any(|(name, outcome)| name == hsm && outcome.is_ok());
    let some_answer = outcomes.iter().any(|(_, outcome)| outcome.is_ok());
    for (hsm, outcome) in &outcomes {
        match outcome {
            Err(error) if !some_answer && !heals_by_itself(error) => return Err(error.clone().into()),
            Err(error) => tracing::error!(%hsm, %error, "serving without this HSM token"),
            Ok(()) => {}
        }
    }
    // A key that signs no more, or not yet, keeps nobody from being served.
    let active: Vec<_> = keys.into_iter().filter(|key| key.state.is_active()).collect();
    for (hsm, _) in outcomes.iter().filter(|(_, outcome)| outcome.is_ok()) {
        match deployment.signet.key_admin().check(hsm, &active).await {
            Ok(faults) => {
                if let Some((key_id, error)) = faults.into_iter().next() {
                    return Err(anyhow::Error::from(error).context(format!("the key {key_id} can't be used")));
                }
            }
            Err(error) => tracing::error!(%hsm, %error, "the keys could not be checked"),
        }
    }
    warn_of_unknown_keys(deployment, &snapshot);
    for key in snapshot.active(algorithm).filter(|key| answers(&key.key.hsm)) {
        match deployment.signet.test_key(key).await {
            Err(error) if !heals_by_itself(&error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Says so where `tokens.algorithm` was changed sooner than verifiers can know the new algorithm's keys.
fn warn_of_unknown_keys(deployment: &Deployment, snapshot: &Snapshot) {
    let settings = deployment.signet.settings();
    let now = deployment.signet.clock_now();
    let is_known = |key: &Arc<RingKey>| now.since(key.key.created_at) >= settings.keys.least_published();
    let mut signing = snapshot.active(settings.algorithm).peekable();
    if signing.peek().is_some() && !signing.any(is_known) && snapshot.published().any(is_known) {
        let algorithm = settings.algorithm;
        let wait = settings.keys.least_published();
        tracing::warn!(%algorithm, "the key that signs was published less than {wait:?} ago: verifiers that keep the JWKS may refuse its tokens for as long");
    }
}

fn heals_by_itself(error: &HsmError) -> bool {
    matches!(error.failure, HsmFailure::Unavailable { .. } | HsmFailure::Overloaded | HsmFailure::Deadline(_))
}

fn start_background(deployment: &Deployment, mut hsm_events: mpsc::UnboundedReceiver<HsmEvent>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let signet = &deployment.signet;
    every(&mut tasks, EXERCISE_EVERY, signet, |signet| async move {
        signet.exercise_keys().await;
        if let Err(error) = signet.tell_repetitions(false).await {
            tracing::warn!(%error, "the audit log could not be told of repeated refusals");
        }
    });
    every(&mut tasks, TRY_SUSPENDED_EVERY, signet, |signet| async move { signet.try_suspended_tokens() });
    every(&mut tasks, RESEAL_EVERY, signet, |signet| async move { signet.reseal_where_needed().await });
    every(&mut tasks, deployment.config.audit.checkpoint_interval, signet, |signet| async move {
        if let Err(error) = signet.checkpoint().await {
            tracing::warn!(%error, "no checkpoint was signed; the next one covers what this one would have");
        }
    });
    if let Some(marks) = deployment.marks.clone() {
        let hsm = Arc::clone(&deployment.hsm);
        every(&mut tasks, RECONCILE_EVERY, signet, move |signet| {
            let (marks, settled_after) = (marks.clone(), settled_after(&hsm));
            async move {
                if let Err(error) = signet.reconcile(marks.as_ref(), settled_after).await {
                    tracing::warn!(%error, "signatures and records could not be compared; the next comparison covers it");
                }
            }
        });
    }
    every(&mut tasks, PRUNE_EVERY, signet, |signet| async move {
        if let Err(error) = signet.store().prune(signet.clock_now()).await {
            tracing::warn!(%error, "what has expired could not be deleted");
        }
    });
    let signet = signet.clone();
    tasks.spawn(async move {
        while let Some(event) = hsm_events.recv().await {
            tell_hsm_event(&signet, event).await;
        }
    });
    tasks
}

/// Has something done again and again, for as long as the server serves. What takes longer than its time is not caught up
/// with.
fn every<F: Future<Output = ()> + Send>(
    tasks: &mut JoinSet<()>,
    interval: Duration,
    signet: &Arc<Signet>,
    task: impl Fn(Arc<Signet>) -> F + Send + 'static,
) {
    let signet = signet.clone();
    tasks.spawn(async move {
        let mut times = tokio::time::interval(interval);
        times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            task(signet.clone()).await;
        }
    });
}

/// How long after it was given up a signature can still be made: its worker took it in time, and finished late.
fn settled_after(hsm: &HsmGroup) -> Duration {
    hsm.longest_deadline() * 2 + Duration::from_secs(1)
}

/// Compares once more at the end, so that the next start finds nothing to explain.
async fn reconcile(deployment: &Deployment) {
    if let Some(marks) = &deployment.marks
        && let Err(error) = deployment.signet.reconcile(marks.as_ref(), settled_after(&deployment.hsm)).await
    {
        tracing::warn!(%error, "signatures and records could not be compared at the end");
    }
}

/// Looks after the key ring, or waits to take it over from another process.
async fn rotate(mut rotator: Rotator) {
    let mut every = tokio::time::interval(rotator.interval());
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(error) = rotator.work().await {
            tracing::warn!(%error, "the key ring could not be looked after");
        }
    }
}

async fn tell_hsm_event(signet: &Signet, event: HsmEvent) {
    let told = match event {
        HsmEvent::Up { hsm, .. } => {
            tracing::info!(%hsm, "the HSM token answers");
            tell(signet, Event::HsmUp, Outcome::Done, Some(hsm.to_string())).await
        }
        HsmEvent::Down { hsm, failure } => {
            tracing::error!(%hsm, error = %failure, "the HSM token does not answer");
            tell(signet, Event::HsmDown, Outcome::Failed, Some(format!("{hsm}: {failure}"))).await
        }
        HsmEvent::Suspended { hsm, failure } => {
            tracing::error!(%hsm, error = %failure, "the HSM token is suspended until a test signature verifies");
            tell(signet, Event::HsmDown, Outcome::Failed, Some(format!("{hsm}: suspended: {failure}"))).await
        }
        HsmEvent::Resumed { hsm } => {
            tracing::info!(%hsm, "a test signature of the HSM token verified: it serves again");
            tell(signet, Event::HsmUp, Outcome::Done, Some(format!("{hsm}: a test signature verified"))).await
        }
        // Told by the use case that saw it.
        HsmEvent::WrongSignature { .. } => Ok(()),
    };
    if let Err(error) = told {
        tracing::error!(%error, "the audit log could not be told of the HSM token's state");
    }
}

async fn tell(signet: &Signet, event: Event, outcome: Outcome, detail: Option<String>) -> anyhow::Result<()> {
    let mut draft = Draft::new(event, outcome, signet.settings().tenant.as_str(), &RequestContext::default());
    draft.detail = detail;
    signet.store().append(vec![draft]).await?;
    Ok(())
}

fn limits(config: &Config) -> Limits {
    let limits = config.server.limits;
    Limits {
        body_bytes: limits.max_body_bytes,
        header_bytes: limits.max_header_bytes,
        connections: limits.max_connections,
        slow_peer: limits.header_timeout,
        // A connection is read from also while its request is answered: it must not look idle then, nor before the answer to
        // a request that passed its deadline is written.
        idle: limits.idle_timeout.max(limits.request_timeout + LAST_ANSWER),
        request_deadline: limits.request_timeout,
        drain: DRAIN,
    }
}

async fn load_tls(tls: Option<&TlsConfig>) -> anyhow::Result<Option<RustlsConfig>> {
    let Some(tls) = tls else { return Ok(None) };
    let key = tls.key.display();
    let mode = std::fs::metadata(&tls.key).with_context(|| format!("the TLS key {key} can't be read (server.tls)"))?;
    anyhow::ensure!(
        mode.permissions().mode() & 0o007 == 0,
        "the TLS key {key} can be read by everybody on this machine: chmod 0600 {key}"
    );
    // A second installation, by a test in the same process, changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = RustlsConfig::from_pem_file(&tls.certificate, &tls.key).await.with_context(|| {
        format!(
            "the TLS certificate {} or its key {} can't be used (server.tls)",
            tls.certificate.display(),
            tls.key.display()
        )
    })?;
    Ok(Some(config))
}

/// No core dump and no debugger: memory may hold a password for a moment.
fn give_up_dumps() -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context("core dumps can't be switched off")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("the process can't be made undumpable")
}

/// Starts the log on standard error.
pub(super) fn start_log(config: LogConfig) {
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // A log that can't be written, on a full disk, must not end the request that writes it: its own complaint would go
    // to standard error as well, and panic.
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).log_internal_errors(false);
    // A log that was started already stays.
    let _ = match config.format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
