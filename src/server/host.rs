//! What the admin API finds on this node: a server's configuration, or that of a command which is the node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::audit_key_file::AuditKeyFile;
use super::runtime::Runtime;
use crate::causes::with_causes;
use crate::config::Config;
use crate::http::api::Host;
use signet_core::keys::HsmName;
use signet_hsm::HsmGroup;

/// How long an HSM token that was just taken in has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who wants the configuration to be read again, and hears how that went.
pub(super) type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// The process that answers.
pub(crate) struct NodeHost {
    /// The HSM tokens of the configuration that it began with.
    hsms: Vec<HsmName>,
    hsm: Arc<HsmGroup>,
    audit_keys: AuditKeyFile,
    reload: Option<Reloading>,
}

/// Of a server that reads its file again.
pub(super) struct Reloading {
    pub(super) file: PathBuf,
    pub(super) requests: mpsc::Sender<ReloadRequest>,
}

impl NodeHost {
    /// A command that is the node: what it read is how things are.
    pub(crate) fn of_a_command(runtime: &Runtime) -> Self {
        Self::new(runtime, None)
    }

    pub(super) fn new(runtime: &Runtime, reload: Option<Reloading>) -> Self {
        let hsms = runtime.config.hsm.iter().map(|hsm| hsm.name.clone()).collect();
        Self { hsms, hsm: runtime.hsm.clone(), audit_keys: runtime.audit_keys(), reload }
    }
}

#[async_trait]
impl Host for NodeHost {
    async fn configured_hsms(&self) -> Result<Vec<HsmName>, String> {
        let Some(Reloading { file, .. }) = &self.reload else { return Ok(self.hsms.clone()) };
        let file = file.clone();
        let read = tokio::task::spawn_blocking(move || Config::load_with_environment(&file)).await;
        let config = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(config.hsm.into_iter().map(|hsm| hsm.name).collect())
    }

    async fn take_in(&self, hsm: &HsmName) -> Result<(), String> {
        let Some(Reloading { requests, .. }) = &self.reload else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        let ends = || "the server is about to end".to_owned();
        requests.send(answer).await.map_err(|_| ends())?;
        answered.await.map_err(|_| ends())??;
        // One that does not answer says why when it is asked.
        let _ = self.hsm.ready_one(hsm, PATIENCE).await;
        Ok(())
    }

    async fn keep_audit_keys(&self, made: &[String]) -> Result<String, String> {
        let kept = self.audit_keys.add(made).await;
        kept.map(|path| path.display().to_string()).map_err(|error| with_causes(&error))
    }
}
