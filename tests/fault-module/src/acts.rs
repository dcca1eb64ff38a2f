//! What the rules can do to a call.

use std::cell::Cell;
use std::time::{Duration, Instant};

use cryptoki_sys::{CK_RV, CK_SLOT_ID, CKR_BUFFER_TOO_SMALL, CKR_OK};

use crate::call::{Call, class};
use crate::engine::{Engine, give_up, real_logout};
use crate::forward::real;
use crate::log::Kind;
use crate::rules::{Injection, Latch, What};

/// What the garbage on standard output says.
const GARBAGE: &[u8] = b"\0\xff\xfe a module that talks \x1b[31m\n";

/// Does what comes before the real call; a code ends the call.
pub(crate) fn before(engine: &Engine, call: &mut Call, injection: &Injection) -> Option<CK_RV> {
    engine.log.add(Kind::Fault, call.function, &injection.text);
    match injection.what {
        What::Return(code) => return Some(code),
        What::TooSmall(bytes) => {
            call.want(bytes);
            return Some(CKR_BUFFER_TOO_SMALL);
        }
        What::OtherKey => {
            let state = engine.lock();
            let known = state.handles.get(call.function).map_or(&[][..], Vec::as_slice);
            match known.iter().rev().find(|handle| **handle != call.key) {
                Some(other) => call.key = *other,
                None => give_up("other-key: no other key was used before"),
            }
        }
        other => anywhere(engine, call, other),
    }
    None
}

/// Does what comes after the real call; gives the code to answer.
pub(crate) fn after(engine: &Engine, call: &mut Call, injection: &Injection, code: CK_RV) -> CK_RV {
    let touches_output =
        matches!(injection.what, What::Flip | What::Truncate | What::Zero | What::Duplicate | What::OtherKey);
    if touches_output && code != CKR_OK {
        // There is no output to spoil. A test that waits for this fault sees that it did not come.
        return code;
    }
    let is_done = match injection.what {
        What::Return(other) => {
            engine.log.add(Kind::Fault, call.function, &injection.text);
            return other;
        }
        What::Flip => call.output().is_some_and(|bytes| flip(bytes, injection)),
        What::Truncate => call.truncate(),
        What::Zero => call.output().is_some_and(|bytes| {
            bytes.fill(0);
            true
        }),
        What::Duplicate => call.duplicate(),
        What::OtherKey => find_another(engine, call),
        other => {
            engine.log.add(Kind::Fault, call.function, &injection.text);
            anywhere(engine, call, other);
            return code;
        }
    };
    let kind = if is_done { Kind::Fault } else { Kind::Error };
    engine.log.add(kind, call.function, &injection.text);
    code
}

fn anywhere(engine: &Engine, call: &Call, what: What) {
    match what {
        What::Delay(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        What::Hang => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        What::Segv => segv(),
        What::Abort => std::process::abort(),
        What::Exit => {
            // SAFETY: ends the process at once, without running anything.
            unsafe { libc::_exit(0) }
        }
        What::Garbage => {
            // SAFETY: writes from a constant; where standard output is closed nothing happens.
            unsafe { libc::write(1, GARBAGE.as_ptr().cast(), GARBAGE.len()) };
        }
        What::Logout => call.session().into_iter().for_each(real_logout),
        What::Latch(Latch::LoggedOut) => {
            // Together: a login that comes between the two would be forgotten.
            let mut state = engine.lock();
            call.session().into_iter().for_each(real_logout);
            state.is_logged_out = true;
        }
        What::Latch(latch) => engine.lock().orders.latch(latch),
        What::Return(_)
        | What::TooSmall(_)
        | What::Flip
        | What::Truncate
        | What::Zero
        | What::OtherKey
        | What::Duplicate => {}
    }
}

/// Rust's own handler would answer a raised signal by carrying on.
fn segv() -> ! {
    // SAFETY: restores the default action and raises the signal in this thread: the process ends.
    unsafe {
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        libc::raise(libc::SIGSEGV);
    }
    std::process::abort()
}

/// Another bit each time.
fn flip(bytes: &mut [u8], injection: &Injection) -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    static FLIPS: AtomicU64 = AtomicU64::new(0);
    let draw = crate::orders::mix(FLIPS.fetch_add(1, Ordering::Relaxed) ^ (injection.line as u64) << 32);
    let bits = bytes.len() as u64 * 8;
    if bits == 0 {
        return false;
    }
    let bit = usize::try_from(draw % bits).unwrap_or_default();
    bytes[bit / 8] ^= 1 << (bit % 8);
    true
}

/// Puts an object of the same class that was found earlier in the place of the one that was found now.
fn find_another(engine: &Engine, call: &mut Call) -> bool {
    let Some(session) = call.session() else { return false };
    let known = engine.lock().handles.get(call.function).cloned().unwrap_or_default();
    let Some([first, ..]) = call.found() else { return false };
    let meant = class(session, *first);
    let other = known.into_iter().rev().find(|other| other != first && class(session, *other) == meant);
    if let Some(other) = other {
        *first = other;
    }
    other.is_some()
}

/// A thread that woke later than this was kept waiting for a processor, which is not the imitated HSM's doing.
const MAX_OVERSLEPT: Duration = Duration::from_micros(500);

/// Sleeps until an operation that began then has taken so long. The timer is set to be exact, and what it overslept all
/// the same is taken off the thread's next operation: an imitated HSM keeps to the number a second that it stands for.
pub(crate) fn pace(begun: Instant, milliseconds: u64) {
    thread_local! {
        static EXACT: () = {
            // SAFETY: sets the calling thread's timer slack; no memory is involved.
            unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64, 0_u64, 0_u64, 0_u64) };
        };
        static OVERSLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }
    EXACT.with(|()| {});
    let time = Duration::from_millis(milliseconds);
    std::thread::sleep(time.saturating_sub(OVERSLEPT.get()).saturating_sub(begun.elapsed()));
    OVERSLEPT.set((OVERSLEPT.get() + begun.elapsed()).saturating_sub(time).min(MAX_OVERSLEPT));
}

/// The real `C_CloseAllSessions`: a removed token has lost its sessions.
pub(crate) fn close_all_sessions(slot: CK_SLOT_ID) {
    if let Some(function) = real().C_CloseAllSessions {
        // SAFETY: any number may be given as a slot; the real module checks it.
        unsafe { function(slot) };
    }
}
