//! Where a running server takes operators' commands: the Unix socket, with the admin API behind it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::{Gid, Group};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::AdminConfig;
use crate::http::api::{ApiState, Operator, router};

/// Who may open it: the server's own account and root, and a group where one is named.
const OWNER_ALONE: u32 = 0o600;
const WITH_GROUP: u32 = 0o660;

/// The socket of a server that starts: whoever comes waits until it serves. Its file goes with it.
pub(super) struct AdminListener {
    listener: UnixListener,
    file: SocketFile,
}

/// The name of the socket, for as long as somebody answers there.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // By its path nobody comes any more.
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, "the admin socket was gone already");
        }
    }
}

/// The socket of a server that runs.
pub(super) struct AdminSocket {
    file: SocketFile,
    ends: Arc<Notify>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl AdminListener {
    /// Takes the socket's path. What a server that was killed left there is removed: this one holds the node's lock.
    /// Errors: the path can't be taken, or the group is none.
    pub(super) fn bind(config: &AdminConfig) -> anyhow::Result<Self> {
        let listener = listen(config)
            .with_context(|| format!("the admin socket {} can't be made (`admin.socket`)", config.socket.display()))?;
        Ok(Self { listener, file: SocketFile(config.socket.clone()) })
    }

    /// Answers there from now on.
    pub(super) fn serve(self, state: ApiState) -> AdminSocket {
        let ends = Arc::<Notify>::default();
        let asked = ends.clone();
        let service = router(state).into_make_service_with_connect_info::<Operator>();
        let serving = axum::serve(self.listener, service).with_graceful_shutdown(async move { asked.notified().await });
        let serving = tokio::spawn(serving.into_future());
        AdminSocket { file: self.file, ends, serving }
    }
}

impl AdminSocket {
    /// Takes no more commands, and waits so long for those that are under way.
    pub(super) async fn stop(mut self, patience: Duration) {
        drop(self.file);
        self.ends.notify_one();
        if tokio::time::timeout(patience, &mut self.serving).await.is_err() {
            self.serving.abort();
            tracing::warn!("a command was still under way when the server stopped");
        }
    }
}

fn listen(config: &AdminConfig) -> anyhow::Result<UnixListener> {
    let path = &config.socket;
    remove_stale(path)?;
    // Nobody else opens it before it has its mode.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    let mode = match &config.group {
        Some(name) => {
            std::os::unix::fs::chown(path, None, Some(group(name)?.as_raw()))
                .with_context(|| format!("it can't be given to the group {name}"))?;
            WITH_GROUP
        }
        None => OWNER_ALONE,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn group(name: &str) -> anyhow::Result<Gid> {
    let group = Group::from_name(name).with_context(|| format!("the group {name} can't be looked up"))?;
    let group = group.with_context(|| format!("there is no group {name} on this machine (`admin.group`)"))?;
    Ok(group.gid)
}

/// Removes a socket that nobody listens on; anything else stays, and is told.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {
            anyhow::ensure!(std::os::unix::net::UnixStream::connect(path).is_err(), "another server listens there");
            Ok(std::fs::remove_file(path)?)
        }
        Ok(_) => anyhow::bail!("something that is no socket is there already"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}
