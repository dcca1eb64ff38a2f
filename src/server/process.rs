//! How the process serves: its limits, its TLS certificate, and no core dumps.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;

use crate::config::{Config, TlsConfig};
use crate::http::{Forwarding, Limits};

/// How long the answer may take that a request has passed its deadline, on a busy machine.
const LAST_ANSWER: Duration = Duration::from_secs(3);
/// How long requests that are under way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(10);

pub(super) fn limits(config: &Config) -> Limits {
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

/// For whom connections may come to a listener whose balancer speaks the PROXY protocol or not.
pub(super) fn forwarding(config: &Config, proxy_protocol: bool) -> Forwarding {
    Forwarding { proxies: config.server.proxies.clone(), proxy_protocol }
}

/// Reads a certificate with its key; `section` names them in the configuration.
pub(super) async fn load_tls(tls: Option<&TlsConfig>, section: &str) -> anyhow::Result<Option<RustlsConfig>> {
    let Some(tls) = tls else { return Ok(None) };
    let key = tls.key.display();
    let mode = std::fs::metadata(&tls.key).with_context(|| format!("the TLS key {key} can't be read ({section})"))?;
    anyhow::ensure!(
        mode.permissions().mode() & 0o077 == 0,
        "the TLS key {key} can be read by others than its owner on this machine: chmod 0600 {key}"
    );
    // A second installation, by a test in the same process, changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = RustlsConfig::from_pem_file(&tls.certificate, &tls.key).await.with_context(|| {
        format!(
            "the TLS certificate {} or its key {} can't be used ({section})",
            tls.certificate.display(),
            tls.key.display()
        )
    })?;
    Ok(Some(config))
}

/// No core dump and no debugger: memory may hold a password for a moment.
pub(super) fn give_up_dumps() -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context("core dumps can't be switched off")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("the process can't be closed to debuggers")
}
