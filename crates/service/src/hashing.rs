//! Where passwords are hashed: off the async threads, so many at once, each in memory that is kept for the next.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::Unavailable;
use signet_core::mfa::password::Workspace;

/// The places for hashes. Each takes 19 MiB and some 20 ms of a core.
pub(crate) struct Hashing {
    permits: Arc<Semaphore>,
    /// Never more than there are permits.
    workspaces: Arc<Mutex<Vec<Workspace>>>,
}

impl Hashing {
    pub(crate) fn new(concurrency: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(concurrency)), workspaces: Arc::default() }
    }

    /// Waits for a place and does the work there. The work holds its place, and whatever it captures, until it is done:
    /// a caller that hangs up does not make room for another one.
    /// Errors: [`Unavailable`] where the work could not be ended.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Workspace) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Unavailable)?;
        let workspaces = self.workspaces.clone();
        let done = tokio::task::spawn_blocking(move || {
            let taken = workspaces.lock().pop();
            let mut workspace = taken.unwrap_or_default();
            let done = work(&mut workspace);
            workspaces.lock().push(workspace);
            drop(permit);
            done
        });
        done.await.map_err(|_| Unavailable)
    }
}
