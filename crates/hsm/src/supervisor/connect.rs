//! Where a worker comes from: this server starts it, or reaches it at a socket where it runs as another user.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::spawner::{Spawned, Spawner};
use crate::HsmConfig;

/// Numbers of workers that were not started here: none of the spawner's is as high.
static SOCKET_NUMBERS: AtomicU64 = AtomicU64::new(1 << 63);

/// A worker to talk to.
/// Errors: What keeps it from that, with what to look at.
pub(super) async fn open(config: &HsmConfig, spawner: &Spawner) -> io::Result<Spawned> {
    let Some(socket) = &config.worker_socket else {
        return spawner.spawn(config.name.clone(), config.environment.clone()).await;
    };
    let unreachable = |error: io::Error| {
        let path = socket.display();
        io::Error::other(format!(
            "its worker is not reached at {path}: {error}; see that the socket's unit runs (systemctl status 'signet-hsm-worker@*') and that this user may use {path}"
        ))
    };
    reach(socket).await.map_err(unreachable)
}

async fn reach(socket: &Path) -> io::Result<Spawned> {
    let stream = tokio::net::UnixStream::connect(socket).await?;
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    let (theirs, ours) = (peer.uid.as_raw(), rustix::process::geteuid().as_raw());
    // Of a socket that listens, these are the credentials of whoever made it: the system's manager.
    if theirs != 0 && theirs != ours {
        return Err(io::Error::other(format!("it was made by user {theirs}, who is neither root nor this user")));
    }
    let process_id = u32::try_from(peer.pid.as_raw_pid()).unwrap_or_default();
    // Kept as tokio likes it: not blocking.
    Ok(Spawned { number: SOCKET_NUMBERS.fetch_add(1, Ordering::Relaxed), process_id, stream: stream.into_std()? })
}

/// Sees a worker off whose conversation has ended. One of another user can't be killed: it ends by itself, since nobody
/// talks to it any more.
pub(super) async fn close(config: &HsmConfig, spawner: &Spawner, number: u64, patience: Duration) -> String {
    match config.worker_socket {
        Some(_) => "the conversation ended".to_owned(),
        None => spawner.stop(number, patience).await,
    }
}
