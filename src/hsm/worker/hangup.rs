//! Ends the process when its server has gone, also while every other thread is inside the module: the kernel ends a
//! worker that its server started, but nobody may end one that runs as another user.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// How long the worker gets to end in order: a little longer than it gives threads inside the module.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Watches the conversation from a thread of its own.
///
/// # Errors
///
/// Where the system gives no thread.
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
    thread::sleep(PATIENCE);
    eprintln!("the server has gone and the module holds a thread; the worker ends without it");
    std::process::abort();
}
