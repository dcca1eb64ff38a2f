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
