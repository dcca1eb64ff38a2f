//! A worker that runs as its own user serves by its own configuration. What the server says is compared with it, and
//! believed in nothing: whoever has taken the server over must not choose module, PIN, token or policy.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::HsmConfig;
use signet_core::keys::HsmFailure;

/// The configuration of a worker that runs as its own user.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The file that says it.
    pub file: PathBuf,
    /// Its section of the HSM token, with the worker's own state directory.
    pub hsm: HsmConfig,
}

impl WorkerConfig {
    /// What this worker serves by: its own configuration, where the server has the same one.
    /// Errors: [`HsmFailure::Configuration`] with what differs in what the server said.
    pub(super) fn judge(&self, said: HsmConfig) -> Result<HsmConfig, HsmFailure> {
        // A serial number that the server expects, and care with the PIN, can only make the worker stricter.
        let HsmConfig { expected_serial, is_careful, .. } = said.clone();
        let own = HsmConfig { expected_serial, is_careful, ..self.hsm.clone() };
        let said = HsmConfig { state_directory: own.state_directory.clone(), ..said };
        let differing = own.differences(&said);
        if differing.is_empty() {
            return Ok(own);
        }
        Err(HsmFailure::Configuration(format!(
            "the server says another {} than the worker's own configuration {}; the worker goes by its own. Give both the same file, and start the server again",
            differing.join(", another "),
            self.file.display()
        )))
    }

    /// Whether whoever talks is root or the user that the socket was made for.
    /// Errors: Anybody else.
    pub(super) fn judge_peer(&self, stream: &UnixStream) -> io::Result<()> {
        let peer = rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw();
        let socket = self.hsm.worker_socket.as_deref();
        let owner = socket.and_then(|path| path.symlink_metadata().ok()).map(|metadata| metadata.uid());
        if peer == 0 || Some(peer) == owner {
            return Ok(());
        }
        Err(io::Error::other(format!("user {peer} may not talk to this worker: the socket is not theirs")))
    }
}

/// The path of the socket that systemd handed over as standard input.
/// Errors: Where standard input is no such socket.
pub fn inherited_socket_path() -> io::Result<PathBuf> {
    let stream = UnixStream::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?);
    let address = stream.local_addr().map_err(|_| {
        io::Error::other("standard input is no socket: systemd starts this, by signet-hsm-worker@.socket")
    })?;
    address.as_pathname().map(Path::to_owned).ok_or_else(|| io::Error::other("the socket has no path"))
}

/// Refuses a configuration that somebody else could have written.
/// Errors: What is wrong with the file.
pub fn refuse_foreign(file: &Path) -> io::Result<()> {
    let metadata = file.metadata().map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    let (owner, ours) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if (owner == 0 || owner == ours) && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} must belong to root or this user and be writable to nobody else: a worker goes by what the server can't change",
        file.display()
    )))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::PinSource;
    use crate::config::tests::config;
    use crate::wire::{self, FrameBuffer};

    type Lift = (&'static str, fn(&mut HsmConfig));

    /// As the worker receives it.
    fn sent(config: &HsmConfig) -> HsmConfig {
        let (mut bytes, mut frames) = (Vec::new(), FrameBuffer::default());
        wire::append(&mut bytes, config).unwrap();
        frames.extend(&bytes);
        frames.next().unwrap().unwrap()
    }

    #[test]
    fn the_server_is_believed_in_nothing() {
        let own = WorkerConfig { file: "/etc/signet/signet.toml".into(), hsm: config() };
        // What only the server goes by may differ.
        let honest = HsmConfig { state_directory: Some("/var/lib/signet".into()), workers: 9, ..config() };
        let judged = own.judge(sent(&honest)).unwrap();
        assert_eq!(judged.state_directory, Some("/var/lib/worker".into()));
        let lifted: [Lift; 6] = [
            ("module", |config| config.module = "/tmp/evil.so".into()),
            ("token_label", |config| config.token_label = "other".into()),
            ("PIN's place", |config| config.pin = PinSource::File("/tmp/pin".into())),
            ("longest_token", |config| config.policy.longest_token = Duration::from_secs(u64::MAX)),
            ("issuer", |config| config.policy.issuers.push("https://evil.example".into())),
            ("sandbox", |config| config.confinement.network = true),
        ];
        for (what, lift) in lifted {
            let mut said = honest.clone();
            lift(&mut said);
            let failure = own.judge(sent(&said)).unwrap_err().to_string();
            assert!(failure.contains(what) && failure.contains("/etc/signet/signet.toml"), "{failure}");
        }
        let bound = HsmConfig { expected_serial: Some("17".into()), ..honest };
        assert_eq!(own.judge(sent(&bound)).unwrap().expected_serial.as_deref(), Some("17"));
    }
}
