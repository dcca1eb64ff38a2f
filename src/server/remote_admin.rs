//! The admin API on a listener of its own, over TLS, where `[admin]` says so: for operators of other machines, by tokens alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::certificates::Certificates;
use super::process::{forwarding, load_tls};
use crate::config::{AdminListen, Config};
use crate::http::api::{ApiState, remote_router};
use crate::http::{Limits, Listening};

/// What of the configuration its certificate is named by.
const SECTION: &str = "admin.tls";

/// The listener of a server that starts.
pub(super) struct RemoteListener {
    listening: Listening,
    tls: RustlsConfig,
    config: AdminListen,
}

/// The listener of a server that runs.
pub(super) struct RemoteAdmin {
    handle: Handle<SocketAddr>,
    serving: JoinHandle<()>,
}

impl RemoteListener {
    /// Takes the address, where one is configured.
    /// Errors: it can't be had, or the certificate can't be used.
    pub(super) async fn bind(config: Option<&AdminListen>) -> anyhow::Result<Option<Self>> {
        let Some(config) = config.cloned() else { return Ok(None) };
        let tls = load_tls(Some(&config.tls), SECTION).await?.context("no certificate is configured")?;
        let listening = Listening::bind(config.address, "admin.listen")?;
        Ok(Some(Self { listening, tls, config }))
    }

    /// What reads its certificate again. `asked` is woken by SIGHUP.
    pub(super) async fn certificates(&self, asked: Arc<Notify>) -> anyhow::Result<Certificates> {
        Certificates::new(self.config.tls.clone(), SECTION, self.tls.clone(), asked).await
    }

    /// Answers there from now on.
    pub(super) fn serve(self, state: ApiState, limits: Limits, config: &Config) -> RemoteAdmin {
        let handle = Handle::new();
        let address = self.listening.address();
        let forwarding = forwarding(config, self.config.proxy_protocol);
        let routes = remote_router(state, limits, self.config.allow_from);
        let serving = self.listening.serve(routes, Some(self.tls), limits, forwarding, handle.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the listener of the admin API failed: it answers nobody any more");
            }
        });
        tracing::info!(%address, "the admin API listens (admin.listen)");
        RemoteAdmin { handle, serving }
    }
}

impl RemoteAdmin {
    /// Takes no more requests, and waits so long for those that are under way.
    pub(super) async fn stop(mut self, patience: Duration) {
        self.handle.graceful_shutdown(Some(patience));
        if tokio::time::timeout(patience + Duration::from_secs(1), &mut self.serving).await.is_err() {
            self.serving.abort();
        }
    }
}
