//! `signet serve`

use std::net::SocketAddr;
use std::path::Path;

use super::{Ended, Output};
use crate::causes::with_causes;
use crate::config::{Config, LogConfig, LogFormat, LogLevel};
use crate::server;

#[derive(Debug, clap::Args)]
pub(super) struct Serve {}

impl Serve {
    pub(super) async fn run(self, path: &Path, output: &Output) -> anyhow::Result<()> {
        let config = match Config::load_with_environment(path) {
            Ok(config) => config,
            Err(error) if server::is_json(path) => {
                server::start_log(LogConfig { level: LogLevel::Info, format: LogFormat::Json });
                return Err(told(&error.into()));
            }
            Err(error) => return Err(error.into()),
        };
        server::start_log(config.log);
        let is_json = config.log.format == LogFormat::Json;
        let ready = |address: SocketAddr, issuer: &str| match is_json {
            true => tracing::info!(issuer, %address, "serving"),
            false => output.note(&format!("serving {issuer} on {address}")),
        };
        let served = server::run(config, path, &ready).await;
        if is_json { served.map_err(|error| told(&error)) } else { served }
    }
}

/// Tells of what ended the server as of everything else: in JSON.
fn told(error: &anyhow::Error) -> anyhow::Error {
    tracing::error!("{}", with_causes(error));
    Ended::Refused.into()
}
