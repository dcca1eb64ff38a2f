//! SIGHUP: a running server reads its configuration again, takes HSM tokens in and out by it, and reads its certificates again.
//! Everything else that is configured holds until the next start, and what of it differs is said.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{Notify, mpsc};

use super::host::ReloadRequest;
use super::in_hand::InHandFile;
use super::runtime::Runtime;
use super::workers::{hsm_configs, in_hand_at_most};
use crate::causes::with_causes;
use crate::config::Config;
use crate::config::changes::differing;
use signet_core::keys::{HsmName, SigningPolicy};
use signet_hsm::HsmGroup;
use signet_service::custody::balance::InHand;
use signet_store::{HsmMember, Membership as _, Nodes as _};
use signet_store_sql::SqlStore;

/// What a reload works on.
pub(super) struct Reload {
    path: PathBuf,
    /// What the server runs by: of the file only `[[hsm]]` is taken over.
    running: Config,
    /// The file as it was at the start; none where it could not be read.
    text: Option<String>,
    /// Whoever reads a certificate again, one for each listener.
    certificates: Vec<Arc<Notify>>,
    in_hand: Option<Arc<InHandFile>>,
    store: Arc<SqlStore>,
    hsm: Arc<HsmGroup>,
}

impl Reload {
    /// A reload of the HSM tokens of this runtime, from the file that its configuration was read from.
    pub(super) fn new(path: PathBuf, runtime: &Runtime, certificates: Vec<Arc<Notify>>) -> Self {
        Self {
            text: signet_text_file::read_to_string(&path).ok(),
            certificates,
            path,
            running: runtime.config.clone(),
            in_hand: runtime.in_hand(),
            store: runtime.store.clone(),
            hsm: runtime.hsm.clone(),
        }
    }

    /// Reloads on each signal, and the HSM tokens on each request. What can't be done is logged, and everything stays as it is.
    pub(super) async fn on_each(mut self, mut signal: Signal, mut requests: mpsc::Receiver<ReloadRequest>) {
        loop {
            tokio::select! {
                Some(()) = signal.recv() => {
                    tracing::info!(file = %self.path.display(), "reading [[hsm]] again (SIGHUP)");
                    self.certificates.iter().for_each(|certificate| certificate.notify_one());
                    let _ = self.take_hsms().await;
                    self.tell_what_waits().await;
                }
                Some(asked) = requests.recv() => {
                    tracing::info!(file = %self.path.display(), "reading [[hsm]] again, as an operator asks");
                    let done = self.take_hsms().await;
                    // Who asked may have gone.
                    let _ = asked.send(done);
                }
                else => return,
            }
        }
    }

    /// Takes the HSM tokens of the file, and logs how that went.
    async fn take_hsms(&mut self) -> Result<(), String> {
        match self.reload().await {
            Ok(done) => {
                tracing::info!("{done}");
                Ok(())
            }
            Err(error) => {
                let told = with_causes(&error);
                tracing::error!("the HSM tokens stay as they are: {told}");
                Err(told)
            }
        }
    }

    /// Says what else differs in the file from what the server runs by. No value is told.
    async fn tell_what_waits(&self) {
        let (Some(running), Ok(now)) = (&self.text, signet_text_file::read_to_string(&self.path)) else { return };
        let differing = differing(running, &now, "hsm");
        if !differing.is_empty() {
            let keys = differing.join(", ");
            tracing::warn!("not taken over before the server's next start: {keys}");
        }
    }

    async fn reload(&mut self) -> anyhow::Result<String> {
        let said = read(&self.path).await?;
        let mut config = Config { hsm: said.hsm, hsm_rates: said.hsm_rates, ..self.running.clone() };
        // Until the next start the new workers sign what the server issues, and count where it counts.
        if let Some(running) = self.running.hsm.first() {
            for hsm in &mut config.hsm {
                let most_per_second = hsm.policy.most_per_second;
                hsm.policy = SigningPolicy { most_per_second, ..running.policy.clone() };
                hsm.state_directory.clone_from(&running.state_directory);
            }
        }
        let members = self.store.hsm_members().await?;
        refuse_missing_members(&config, &members)?;
        let bound: Vec<_> = members.into_iter().map(|member| (member.name, member.token)).collect();
        // While tokens come and go both old and new ones sign.
        let (before, after) = (in_hand_at_most(&self.running), in_hand_at_most(&config));
        self.announce(InHand { tokens: before.tokens.max(after.tokens), ..after })?;
        let done = self.hsm.reconfigure(hsm_configs(&config, &bound, false)).await?;
        self.announce(after)?;
        if let Err(error) = self.store.keep_rates(&config.hsm_rates).await {
            // They are told to whoever lists the nodes; the tokens are as the file says by now.
            tracing::warn!(%error, "what this node may ask of its HSM tokens was not written down");
        }
        self.running = config;
        let names = |names: &[HsmName]| names.iter().map(HsmName::as_str).collect::<Vec<_>>().join(", ");
        let parts = [("added", &done.added), ("changed", &done.changed), ("removed", &done.removed)];
        let said: Vec<String> = parts
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(word, list)| format!("{word} {}", names(list)))
            .collect();
        Ok(if said.is_empty() {
            "HSM tokens: nothing changed".to_owned()
        } else {
            format!("HSM tokens: {}", said.join("; "))
        })
    }

    fn announce(&self, in_hand: InHand) -> std::io::Result<()> {
        self.in_hand.as_ref().map_or(Ok(()), |file| file.announce(in_hand))
    }
}

/// Reading is short, and still no work for an async thread.
async fn read(path: &Path) -> anyhow::Result<Config> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Config::load_with_environment(&path)).await?.map_err(Into::into)
}

/// A token that still signs is not taken out by a missing section, which may be a slip of the pen.
fn refuse_missing_members(config: &Config, members: &[HsmMember]) -> anyhow::Result<()> {
    let is_configured = |name: &HsmName| config.hsm.iter().any(|hsm| hsm.name == *name);
    let missing = members.iter().find(|member| member.retired_at.is_none() && !is_configured(&member.name));
    match missing {
        Some(member) => anyhow::bail!(
            "the configuration has no [[hsm]] \"{name}\" any more, but it is part of the deployment: run `signet hsm retire \
             {name}` before its section is removed",
            name = member.name
        ),
        None => Ok(()),
    }
}
