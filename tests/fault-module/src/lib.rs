//! A PKCS#11 module that passes every call on to a real one and fails on order. Signet's tests and benches load it in
//! the place of a vendor's module; it is no part of Signet.
//!
//! | variable | meaning |
//! |---|---|
//! | `SIGNET_FAULT_MODULE` | the real module |
//! | `SIGNET_FAULT_RULES` | the rules file ([`rules`]); it may change, appear and go at any time |
//! | `SIGNET_FAULT_LOG` | the log ([`log`]) |
//!
//! README.md beside it tells how rules are written.

mod acts;
mod call;
pub mod codes;
mod engine;
mod forward;
pub mod log;
mod orders;
pub mod rules;

use std::path::{Path, PathBuf};

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_ARGUMENTS_BAD, CKR_OK};

pub use forward::FUNCTIONS;

/// Names the real module.
pub const MODULE_VARIABLE: &str = "SIGNET_FAULT_MODULE";
/// Names the rules file.
pub const RULES_VARIABLE: &str = "SIGNET_FAULT_RULES";
/// Names the log.
pub const LOG_VARIABLE: &str = "SIGNET_FAULT_LOG";

/// Where the states that last stand, one word a line: beside the rules file.
pub fn latch_file(rules: &Path) -> PathBuf {
    orders::latch_file(rules)
}

/// PKCS#11's way in.
///
/// # Safety
///
/// `list` must be null or a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // A mistake in the rules is told before anything else.
    drop(engine::engine().lock());
    let ours = forward::in_front_of(real_list());
    // SAFETY: the caller gives a place for the pointer.
    unsafe { *list = ours };
    CKR_OK
}

/// Loads the real module, which stays until the process ends.
fn real_list() -> CK_FUNCTION_LIST {
    let path = std::env::var_os(MODULE_VARIABLE)
        .unwrap_or_else(|| engine::give_up(&format!("${MODULE_VARIABLE} names no module")));
    // SAFETY: the module's initialisers are the vendor's, as for whoever loads it directly.
    let loaded = unsafe { cryptoki_sys::Pkcs11::new(&path) };
    let module = loaded.unwrap_or_else(|error| engine::give_up(&format!("{}: {error}", Path::new(&path).display())));
    let module = std::mem::ManuallyDrop::new(module);
    let mut list = std::ptr::null_mut();
    // SAFETY: the place for the pointer is ours.
    let code = unsafe { module.C_GetFunctionList(&raw mut list) };
    if code != CKR_OK || list.is_null() {
        engine::give_up(&format!("the real module's C_GetFunctionList answered {}", codes::name(code)));
    }
    // SAFETY: the module answered CKR_OK and a list, which lives as long as the module, and that is never unloaded.
    unsafe { *list }
}
