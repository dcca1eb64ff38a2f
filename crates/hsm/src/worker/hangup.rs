//! Ends the process when its server has gone, also while every other thread is inside the module: the kernel ends a
//! worker that its server started, but nobody may end one that runs as another user.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

/// How long the worker gets to end in order: a little longer than it gives threads inside the module.
const END_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long it gets on top of that while the PIN is presented: a worker that ended in the middle of it would leave nobody
/// knowing whether the token counted a try, and the next one would wait for a person.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked whether the login is over.
const POLL: Duration = Duration::from_millis(20);

static LOGINS: AtomicUsize = AtomicUsize::new(0);

/// While it lives, the PIN is being presented; when it is dropped, it is known what became of that.
#[must_use]
pub(super) struct LoginUnderWay(());

impl LoginUnderWay {
    /// Before the marker of the PIN is left.
    pub(super) fn begin() -> Self {
        LOGINS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for LoginUnderWay {
    fn drop(&mut self) {
        LOGINS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Watches the conversation from a thread of its own.
/// Errors: Where the system gives no thread.
pub(super) fn watch(stream: UnixStream) -> std::io::Result<()> {
    thread::Builder::new().name("hangup".into()).spawn(move || until_gone(&stream)).map(drop)
}

fn until_gone(stream: &UnixStream) {
    loop {
        let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
        match poll(&mut polled, None) {
            Ok(_) if !polled.iter().all(|polled| polled.revents().is_empty()) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    thread::sleep(END_TIMEOUT);
    let until = Instant::now() + LOGIN_TIMEOUT;
    while LOGINS.load(Ordering::SeqCst) > 0 && Instant::now() < until {
        thread::sleep(POLL);
    }
    eprintln!("the server has gone and the module holds a thread; the worker ends without it");
    std::process::abort();
}
