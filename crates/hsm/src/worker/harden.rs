//! The process that holds the PIN gives nothing away: no core dump, no debugger, nothing inherited, no life after its
//! server.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

/// Forbids core dumps and tracing, and closes what was inherited beyond the three standard streams.
/// Errors: What the kernel refuses.
pub(super) fn process() -> io::Result<()> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    close_inherited();
    Ok(())
}

/// Asks to be killed when the server, the parent of this process, dies.
/// Errors: What the kernel refuses.
pub(super) fn end_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// A descriptor that somebody forgot to mark would give the module a door to the server's files.
#[expect(unsafe_code, reason = "there is no safe way to close what this process never opened")]
fn close_inherited() {
    // SAFETY: the process has one thread and has opened nothing yet, so that no value owns a descriptor beyond the
    // standard streams, which stay. A kernel before 5.9 has no such call and closes nothing.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Leaves the terminal's foreground group, once no PIN can be asked for any more: a Ctrl-C is for the server, which
/// needs this worker for its last checkpoint and ends it by closing the pipe.
pub(super) fn leave_the_foreground() {
    // Where the kernel refuses, a Ctrl-C ends both at once, which loses nothing but that checkpoint.
    let _ = rustix::process::setpgid(None, None);
}
