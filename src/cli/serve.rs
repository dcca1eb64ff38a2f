//! `signet serve`

use std::net::SocketAddr;
use std::path::Path;

use super::Output;
use crate::config::Config;
use crate::server;

#[derive(Debug, clap::Args)]
pub(super) struct Serve {}

impl Serve {
    pub(super) async fn run(self, path: &Path, output: &Output) -> anyhow::Result<()> {
        let config = Config::load_with_environment(path)?;
        server::start_log(config.log);
        let ready = |address: SocketAddr, issuer: &str| output.note(&format!("serving {issuer} on {address}"));
        server::run(config, path, &ready).await
    }
}
