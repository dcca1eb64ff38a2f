//! The two calls that cryptoki has no safe way for: the text that some modules want in `C_Initialize`, and the
//! description of a token whose clock is not written as the specification has it.
//!
//! Nothing else in Signet is `unsafe`.

#![expect(
    unsafe_code,
    reason = "a vendor's library is called through its C interface; each block says why it is sound"
)]

use std::ffi::{CString, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{self, NonNull};

use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use cryptoki::slot::Slot;
use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_TOKEN_INFO, CKF_TOKEN_INITIALIZED, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY,
    CKF_USER_PIN_LOCKED, CKR_OK, Pkcs11 as RawModule,
};

use super::describe::{Description, PinFlags};
use signet_core::keys::TokenInfo;

/// The arguments of `C_Initialize`: locks of the operating system, and `text` where the specification has `pReserved`
/// (NSS reads its configuration there). A NUL in the text ends it.
pub(super) fn initialize_args(text: Option<&str>) -> CInitializeArgs {
    let flags = CInitializeFlags::OS_LOCKING_OK;
    let Some(text) = text else { return CInitializeArgs::new(flags) };
    let bytes: Vec<u8> = text.bytes().take_while(|byte| *byte != 0).collect();
    // A module may keep the pointer: the text is never freed. A process initializes some ten times at most.
    let Some(reserved) = CString::new(bytes).ok().and_then(|text| NonNull::new(text.into_raw().cast::<c_void>()))
    else {
        return CInitializeArgs::new(flags);
    };
    // SAFETY: the pointer is to a NUL-terminated text that lives as long as the process. What a module makes of it is
    // the module's own interface, which whoever writes `init_args` names.
    unsafe { CInitializeArgs::new_with_reserved(flags, reserved) }
}

/// What `C_GetTokenInfo` says of a slot of this module, which must be loaded and initialized; `None` where it says
/// nothing. The clock is not looked at.
pub(super) fn describe_token(module: &Path, slot: Slot) -> Option<Description> {
    // SAFETY: the library is loaded in this process already, so that this runs none of its constructors and gives the
    // same instance; it is the PKCS#11 module that the configuration names.
    let library = unsafe { RawModule::new(module) }.ok()?;
    let function_list = *library.C_GetFunctionList.as_ref().ok()?;
    let mut functions: *mut CK_FUNCTION_LIST = ptr::null_mut();
    // SAFETY: the function has the signature that PKCS#11 gives it, and is given the address of a pointer to fill.
    let code = unsafe { function_list(&raw mut functions) };
    if code != CKR_OK {
        return None;
    }
    // SAFETY: after CKR_OK the pointer is null, which `as_ref` looks for, or the module's list, which lives as long as
    // the module is loaded: `library` outlives the reference.
    let get_token_info = unsafe { functions.as_ref() }?.C_GetTokenInfo?;
    let mut info = MaybeUninit::<CK_TOKEN_INFO>::zeroed();
    // SAFETY: the function has the signature that PKCS#11 gives it; `info` is as large as a CK_TOKEN_INFO.
    let code = unsafe { get_token_info(slot.id(), info.as_mut_ptr()) };
    if code != CKR_OK {
        return None;
    }
    // SAFETY: it was zeroed, and all of its members are integers: any bytes make a value.
    let info = unsafe { info.assume_init() };
    Some(Description {
        token: TokenInfo {
            label: text(&info.label),
            manufacturer: text(&info.manufacturerID),
            model: text(&info.model),
            serial: text(&info.serialNumber),
            firmware: format!("{}.{}", info.firmwareVersion.major, info.firmwareVersion.minor),
        },
        is_initialized: info.flags & CKF_TOKEN_INITIALIZED != 0,
        pin: PinFlags {
            is_count_low: info.flags & CKF_USER_PIN_COUNT_LOW != 0,
            is_final_try: info.flags & CKF_USER_PIN_FINAL_TRY != 0,
            is_locked: info.flags & CKF_USER_PIN_LOCKED != 0,
        },
    })
}

/// A field that is padded with blanks, and by some modules ended by NUL.
fn text(field: &[u8]) -> String {
    let until_nul = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(until_nul).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_ends_at_its_padding() {
        assert_eq!(text(b"signet          "), "signet");
        assert_eq!(text(b"signet\0\xff garbage"), "signet");
        assert_eq!(text(b""), "");
    }
}
