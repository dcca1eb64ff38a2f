//! Where passwords are hashed: off the async threads, so many at once, each in memory that is kept for the next.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::error::Unavailable;
use signet_core::mfa::password::Workspace;

/// How far hashing stands behind whatever else this process does, as `nice` counts: a hash keeps a processor for some 20 ms,
/// a token needs it for a fraction of one. Where processors are free it costs nothing; where they are not, a hash still gets
/// a third of what a token gets.
const NICE: i32 = 5;

/// The places for hashes. Each takes 19 MiB and some 20 ms of a core.
pub(crate) struct Hashing {
    permits: Arc<Semaphore>,
    /// Never more than there are permits.
    places: Arc<Mutex<Vec<Place>>>,
}

/// A thread that hashes, one password after another; it ends with this.
struct Place {
    work: std::sync::mpsc::Sender<Work>,
}

type Work = Box<dyn FnOnce(&mut Workspace) + Send>;

impl Place {
    /// Errors: where the system gives no thread.
    fn start() -> std::io::Result<Self> {
        let (work, queue) = std::sync::mpsc::channel::<Work>();
        std::thread::Builder::new().name("hashing".to_owned()).spawn(move || {
            // Where the system does not allow it, a hash is as urgent as a token.
            let _ = rustix::process::setpriority_process(None, NICE);
            let mut workspace = Workspace::default();
            while let Ok(work) = queue.recv() {
                work(&mut workspace);
            }
        })?;
        Ok(Self { work })
    }
}

impl Hashing {
    pub(crate) fn new(concurrency: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(concurrency)), places: Arc::default() }
    }

    /// Waits for a place and does the work there. The work holds its place, and whatever it captures, until it is done:
    /// a caller that hangs up does not make room for another one.
    /// Errors: [`Unavailable`] where the work could not be ended.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Workspace) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Unavailable)?;
        let places = self.places.clone();
        let done = tokio::task::spawn_blocking(move || {
            let taken = places.lock().pop();
            let place = taken.map_or_else(Place::start, Ok).map_err(|_| Unavailable)?;
            let (reply, answer) = std::sync::mpsc::channel();
            // A thread that is gone, because a hash panicked, answers neither.
            let sent = place.work.send(Box::new(move |workspace| drop(reply.send(work(workspace)))));
            let done = sent.map_err(|_| Unavailable).and_then(|()| answer.recv().map_err(|_| Unavailable))?;
            places.lock().push(place);
            drop(permit);
            Ok(done)
        });
        done.await.map_err(|_| Unavailable)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_stands_behind_what_else_this_process_does_and_nothing_else_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (before, hashing) = (nice(), Hashing::new(1));
        let inside = hashing.run(move |_| nice()).await.unwrap();
        assert_eq!((inside, nice()), (before.max(NICE), before));
    }

    #[tokio::test]
    async fn a_hash_that_panics_costs_its_thread_and_no_place() {
        let hashing = Hashing::new(1);
        assert!(hashing.run::<()>(|_| panic!("a hash that fails")).await.is_err());
        assert_eq!(hashing.run(|_| 7).await.ok(), Some(7));
    }
}
