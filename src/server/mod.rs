//! Hosting: puts the adapters together, serves, works in the background and stops in order.
//!
//! It decides how a configuration becomes a running deployment, and what ends one. The only module that makes a store
//! or starts HSM workers. It prints nothing and reads no arguments: commands do, and they hear of progress by callbacks.

mod admin;
mod answer;
mod audit_key_file;
mod background;
mod certificates;
mod host;
mod hsm_events;
mod in_hand;
mod log;
mod node;
mod node_file;
mod process;
mod reload;
mod remote_admin;
mod restore;
mod runtime;
mod start;
mod store_copy;
mod validation_server;
mod whole_file;
mod wiring;
mod worker;
mod workers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::http::{AcceptedHosts, HttpState, router};
use admin::AdminListener;
use certificates::Certificates;
use host::Reloading;
use node::NodeRight;
use reload::Reload;
use remote_admin::RemoteListener;
use signet_core::audit::{Event, Outcome};
use signet_hsm::HsmEvent;
use signet_service::key_ring::rotation::Rotator;

pub(crate) use crate::http::{Listening, ServeError, api};
pub(crate) use answer::{Answered, Export, answer};
pub(crate) use host::NodeHost;
pub(crate) use log::{is_json, start_log};
pub(crate) use node::try_lock;
pub(crate) use restore::{Restored, restore, restore_in_place};
pub(crate) use runtime::{Need, Notice, Runtime};
pub(crate) use signet_hsm::{HsmGroup, PinSource};
pub(crate) use store_copy::{Destination, StoreCopy};
pub(crate) use whole_file::WholeFile;
pub(crate) use wiring::{OtherRole, migrate_store, open_store};
pub(crate) use worker::{StandaloneWorker, run_worker};
pub(crate) use workers::{start_hsm_alone, start_hsm_with};

/// What of the configuration names the certificate of the service itself.
const SERVER_TLS: &str = "server.tls";

/// The signals that a server follows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The file whose HSM tokens are read again on SIGHUP. Without it that signal ends the server, as a terminal's end
    /// does.
    hangup: Option<(PathBuf, Signal)>,
}

impl Signals {
    fn listen(file: Option<&Path>) -> std::io::Result<Self> {
        // Until it can be followed SIGHUP must not end the server.
        let hangup =
            file.map(|file| Ok::<_, std::io::Error>((std::path::absolute(file)?, signal(SignalKind::hangup())?)));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: hangup.transpose()?,
        })
    }
}

/// Is called once requests are answered, with the address that is listened on and the issuer.
pub(crate) type Ready<'r> = &'r (dyn Fn(SocketAddr, &str) + Send + Sync);

/// Takes the configured address and serves there until a signal asks to stop. The HSM tokens of `file`, where `config` was
/// read from, are read again on SIGHUP.
pub(crate) async fn run(config: Config, file: &Path, ready: Ready<'_>) -> anyhow::Result<()> {
    let listening = Listening::bind(config.server.listen, "server.listen")?;
    run_on(listening, config, Some(file), ready).await
}

/// Serves on a listener that was made before. Without a file SIGHUP ends the server.
pub(crate) async fn run_on(
    listening: Listening,
    config: Config,
    file: Option<&Path>,
    ready: Ready<'_>,
) -> anyhow::Result<()> {
    process::give_up_dumps()?;
    let mut signals = Signals::listen(file)?;
    let tls = process::load_tls(config.server.tls.as_ref(), SERVER_TLS).await?;
    let remote = RemoteListener::bind(config.admin.listen.as_ref()).await?;
    let (certificates, read_again) = certificates(&config, tls.as_ref(), remote.as_ref()).await?;
    let (events, hsm_events) = mpsc::unbounded_channel();
    let (runtime, right, commands) = open(config, events).await?;
    let signet = &runtime.signet;
    let mut background = background::start(&runtime, hsm_events);
    let rotation = signet.issuer().ids.next();
    background.spawn(background::rotate(Rotator::new(signet.key_ring.rotation.clone(), rotation.clone())));
    background.spawn(Arc::clone(&right).keep());
    let mut reloading = None;
    if let Some((file, hangup)) = signals.hangup.take() {
        let (requests, asked) = mpsc::channel(1);
        background.spawn(Reload::new(file.clone(), &runtime, read_again).on_each(hangup, asked));
        reloading = Some(Reloading { file, requests });
    }
    for certificates in certificates {
        background.spawn(certificates.follow(signet.clone()));
    }
    let limits = process::limits(&runtime.config);
    let address = listening.address();
    let hosts = Arc::new(AcceptedHosts::new(runtime.config.server.public_url.url(), address));
    let handle = Handle::new();
    let routes = router(HttpState { signet: signet.clone(), limits, hosts });
    let config = &runtime.config;
    let forwarding = process::forwarding(config, config.server.proxy_protocol);
    let mut serving = tokio::spawn(listening.serve(routes, tls, limits, forwarding, handle.clone()));
    let api = runtime.api_state(Arc::new(NodeHost::new(&runtime, reloading)));
    let remote = remote.map(|remote| remote.serve(api.clone(), limits, config));
    let commands = commands.serve(api);
    start::tell_four_eyes(signet).await;
    ready(address, &signet.issuer().settings.issuer);
    let early = tokio::select! {
        () = asked_to_stop(&mut signals, &mut background) => None,
        served = &mut serving => Some(served),
    };
    handle.graceful_shutdown(Some(limits.drain));
    let served = match early {
        Some(served) => served,
        None => serving.await,
    };
    if let Some(remote) = remote {
        remote.stop(limits.drain).await;
    }
    commands.stop(limits.drain).await;
    let served = served.context("the server failed")?;
    background.shutdown().await;
    stop(runtime, &rotation, &right).await?;
    Ok(served?)
}

/// Follows the certificate of each listener; whoever is returned beside wakes them.
async fn certificates(
    config: &Config,
    tls: Option<&RustlsConfig>,
    remote: Option<&RemoteListener>,
) -> anyhow::Result<(Vec<Certificates>, Vec<Arc<Notify>>)> {
    let (mut certificates, mut asked) = (Vec::new(), Vec::new());
    if let (Some(files), Some(served)) = (&config.server.tls, tls) {
        let wake = Arc::<Notify>::default();
        certificates.push(Certificates::new(files.clone(), SERVER_TLS, served.clone(), wake.clone()).await?);
        asked.push(wake);
    }
    if let Some(remote) = remote {
        let wake = Arc::<Notify>::default();
        certificates.push(remote.certificates(wake.clone()).await?);
        asked.push(wake);
    }
    Ok((certificates, asked))
}

/// Opens the deployment, waits for its HSM tokens and records the start.
async fn open(
    config: Config,
    events: mpsc::UnboundedSender<HsmEvent>,
) -> anyhow::Result<(Runtime, Arc<NodeRight>, AdminListener)> {
    let runtime = Runtime::assemble(config, Need::Server, events).await?;
    let begun = async {
        let right = NodeRight::claim(&runtime).await?;
        runtime.store.check_anchored()?;
        runtime.take_over(workers::in_hand_at_most(&runtime.config))?;
        let commands = AdminListener::bind(&runtime.config.admin)?;
        start::start_hsm(&runtime).await.map(|()| (right, commands))
    };
    let (right, commands) = match begun.await {
        Ok(begun) => begun,
        Err(error) => {
            runtime.hsm.shutdown().await;
            runtime.store.close().await;
            return Err(error);
        }
    };
    hsm_events::record(&runtime.signet, Event::ServerStarted, Outcome::Done, None).await?;
    Ok((runtime, right, commands))
}

async fn asked_to_stop(signals: &mut Signals, background: &mut JoinSet<()>) {
    tokio::select! {
        _ = signals.terminate.recv() => tracing::info!("asked to stop (SIGTERM)"),
        _ = signals.interrupt.recv() => tracing::info!("asked to stop (SIGINT)"),
        // None of these ends by itself: one that does has panicked, and what it did is not done any more.
        Some(_) = background.join_next() => tracing::error!("a background task ended; the server stops"),
    }
}

/// Leaves nothing for the next start to explain, and records the end.
async fn stop(runtime: Runtime, rotation: &str, right: &NodeRight) -> anyhow::Result<()> {
    let signet = &runtime.signet;
    background::reconcile(&runtime).await;
    if let Err(error) = signet.key_ring.rotation.end_rotation(rotation).await {
        tracing::warn!(%error, "the lease of the key rotation was not given back; it runs out by itself");
    }
    signet.audit.append_repetitions(true).await?;
    hsm_events::record(signet, Event::ServerStopped, Outcome::Done, None).await?;
    right.end().await;
    runtime.close().await
}
