//! The process that holds the PIN gives nothing away: no core dump, no debugger, no life after its server.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

/// Forbids core dumps and tracing, and asks to be killed when the server dies.
///
/// # Errors
///
/// What the kernel refuses.
pub(super) fn process() -> io::Result<()> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Leaves the terminal's foreground group, once no PIN can be asked for any more: a Ctrl-C is for the server, which
/// needs this worker for its last checkpoint and ends it by closing the pipe.
pub(super) fn leave_the_foreground() {
    // Where the kernel refuses, a Ctrl-C ends both at once, which loses nothing but that checkpoint.
    let _ = rustix::process::setpgid(None, None);
}
