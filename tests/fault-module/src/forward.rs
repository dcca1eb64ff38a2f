//! The function list: each function passes through the engine to the real module's.

use std::ffi::c_void;
use std::sync::OnceLock;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_INFO, CK_MECHANISM, CK_MECHANISM_INFO,
    CK_MECHANISM_TYPE, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID,
    CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG, CK_USER_TYPE, CKR_FUNCTION_NOT_SUPPORTED,
};

use crate::call::{Call, Context};
use crate::engine;

static REAL: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();
static OURS: OnceLock<Ours> = OnceLock::new();

struct Ours(CK_FUNCTION_LIST);

// SAFETY: the list is written once, before anybody sees it, and only read afterwards, as PKCS#11 demands.
unsafe impl Sync for Ours {}
// SAFETY: as above; it holds function pointers and a version.
unsafe impl Send for Ours {}

/// The list to hand out, in front of this real one.
pub(crate) fn in_front_of(real: CK_FUNCTION_LIST) -> *mut CK_FUNCTION_LIST {
    REAL.get_or_init(|| real);
    let ours = OURS.get_or_init(|| Ours(list(real.version)));
    // The callers only read it: the specification has no use for a changed list.
    std::ptr::from_ref(&ours.0).cast_mut()
}

/// The real module's functions.
pub(crate) fn real() -> &'static CK_FUNCTION_LIST {
    REAL.get().unwrap_or_else(|| engine::give_up("a function was called before C_GetFunctionList"))
}

/// Functions that answer with bytes of a length that the caller does not choose.
pub(crate) fn has_output(function: &str) -> bool {
    ["C_Sign", "C_SignFinal", "C_Encrypt", "C_EncryptFinal", "C_Decrypt", "C_DecryptFinal", "C_WrapKey", "C_Digest"]
        .contains(&function)
}

/// Functions that begin an operation with a key.
pub(crate) fn takes_key(function: &str) -> bool {
    ["C_SignInit", "C_EncryptInit", "C_DecryptInit", "C_VerifyInit"].contains(&function)
}

macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*) $([$key:ident])? => $context:expr;)*) => {
        /// The functions of PKCS#11 2.40, by name.
        pub const FUNCTIONS: &[&str] = &["C_GetFunctionList", $(stringify!($name)),*];

        $(
            #[expect(non_snake_case, reason = "the specification's name")]
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                engine::inject(Call::new(stringify!($name), $context), |_call| {
                    $(let $key = _call.key;)?
                    let Some(function) = real().$name else { return CKR_FUNCTION_NOT_SUPPORTED };
                    // SAFETY: the arguments are the caller's own, who answers for them; a key that was put in the
                    // place of another is a number that the real module checks.
                    unsafe { function($($argument),*) }
                })
            }
        )*

        fn list(version: cryptoki_sys::CK_VERSION) -> CK_FUNCTION_LIST {
            CK_FUNCTION_LIST {
                version,
                C_GetFunctionList: Some(crate::C_GetFunctionList),
                $($name: Some($name),)*
            }
        }
    };
}

forward! {
    C_Initialize(arguments: *mut c_void) => Context::Plain;
    C_Finalize(reserved: *mut c_void) => Context::Plain;
    C_GetInfo(info: *mut CK_INFO) => Context::Plain;
    C_GetSlotList(present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) => Context::Slots { present, count };
    C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) => Context::Plain;
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) => Context::Token { info };
    C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG)
        => Context::Mechanisms { list, count };
    C_GetMechanismInfo(slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) => Context::Plain;
    C_InitToken(slot: CK_SLOT_ID, pin: *mut CK_BYTE, length: CK_ULONG, label: *mut CK_BYTE) => Context::Plain;
    C_InitPIN(session: CK_SESSION_HANDLE, pin: *mut CK_BYTE, length: CK_ULONG) => Context::Session(session);
    C_SetPIN(session: CK_SESSION_HANDLE, old: *mut CK_BYTE, old_length: CK_ULONG, new: *mut CK_BYTE, length: CK_ULONG)
        => Context::Session(session);
    C_OpenSession(
        slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY, opened: *mut CK_SESSION_HANDLE
    ) => Context::Opening { slot, opened };
    C_CloseSession(session: CK_SESSION_HANDLE) => Context::Session(session);
    C_CloseAllSessions(slot: CK_SLOT_ID) => Context::Plain;
    C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) => Context::Session(session);
    C_GetOperationState(session: CK_SESSION_HANDLE, state: *mut CK_BYTE, length: *mut CK_ULONG)
        => Context::Session(session);
    C_SetOperationState(
        session: CK_SESSION_HANDLE, state: *mut CK_BYTE, length: CK_ULONG, encrypting: CK_OBJECT_HANDLE,
        signing: CK_OBJECT_HANDLE
    ) => Context::Session(session);
    C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_BYTE, length: CK_ULONG)
        => Context::Session(session);
    C_Logout(session: CK_SESSION_HANDLE) => Context::Session(session);
    C_CreateObject(
        session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE
    ) => Context::Session(session);
    C_CopyObject(
        session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        copy: *mut CK_OBJECT_HANDLE
    ) => Context::Session(session);
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) => Context::Session(session);
    C_GetObjectSize(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, size: *mut CK_ULONG)
        => Context::Session(session);
    C_GetAttributeValue(
        session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
    ) => Context::Session(session);
    C_SetAttributeValue(
        session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
    ) => Context::Session(session);
    C_FindObjectsInit(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG)
        => Context::Session(session);
    C_FindObjects(session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG)
        => Context::Found { session, objects, most, count };
    C_FindObjectsFinal(session: CK_SESSION_HANDLE) => Context::Session(session);
    C_EncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
        [key] => Context::Key { session, key };
    C_Encrypt(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Output { session, output, length };
    C_EncryptUpdate(
        session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Session(session);
    C_EncryptFinal(session: CK_SESSION_HANDLE, output: *mut CK_BYTE, length: *mut CK_ULONG)
        => Context::Output { session, output, length };
    C_DecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
        [key] => Context::Key { session, key };
    C_Decrypt(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Output { session, output, length };
    C_DecryptUpdate(
        session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Session(session);
    C_DecryptFinal(session: CK_SESSION_HANDLE, output: *mut CK_BYTE, length: *mut CK_ULONG)
        => Context::Output { session, output, length };
    C_DigestInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM) => Context::Session(session);
    C_Digest(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Output { session, output, length };
    C_DigestUpdate(session: CK_SESSION_HANDLE, part: *mut CK_BYTE, length: CK_ULONG) => Context::Session(session);
    C_DigestKey(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) => Context::Session(session);
    C_DigestFinal(session: CK_SESSION_HANDLE, output: *mut CK_BYTE, length: *mut CK_ULONG) => Context::Session(session);
    C_SignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
        [key] => Context::Key { session, key };
    C_Sign(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Output { session, output, length };
    C_SignUpdate(session: CK_SESSION_HANDLE, part: *mut CK_BYTE, length: CK_ULONG) => Context::Session(session);
    C_SignFinal(session: CK_SESSION_HANDLE, output: *mut CK_BYTE, length: *mut CK_ULONG)
        => Context::Output { session, output, length };
    C_SignRecoverInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
        => Context::Session(session);
    C_SignRecover(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Session(session);
    C_VerifyInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
        [key] => Context::Key { session, key };
    C_Verify(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_length: CK_ULONG, signature: *mut CK_BYTE,
        length: CK_ULONG
    ) => Context::Session(session);
    C_VerifyUpdate(session: CK_SESSION_HANDLE, part: *mut CK_BYTE, length: CK_ULONG) => Context::Session(session);
    C_VerifyFinal(session: CK_SESSION_HANDLE, signature: *mut CK_BYTE, length: CK_ULONG) => Context::Session(session);
    C_VerifyRecoverInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
        => Context::Session(session);
    C_VerifyRecover(
        session: CK_SESSION_HANDLE, signature: *mut CK_BYTE, signature_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Session(session);
    C_DigestEncryptUpdate(
        session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Session(session);
    C_DecryptDigestUpdate(
        session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Session(session);
    C_SignEncryptUpdate(
        session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Session(session);
    C_DecryptVerifyUpdate(
        session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_length: CK_ULONG, output: *mut CK_BYTE,
        length: *mut CK_ULONG
    ) => Context::Session(session);
    C_GenerateKey(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE
    ) => Context::Session(session);
    C_GenerateKeyPair(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public_template: *mut CK_ATTRIBUTE,
        public_count: CK_ULONG, private_template: *mut CK_ATTRIBUTE, private_count: CK_ULONG,
        public: *mut CK_OBJECT_HANDLE, private: *mut CK_OBJECT_HANDLE
    ) => Context::Session(session);
    C_WrapKey(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE,
        output: *mut CK_BYTE, length: *mut CK_ULONG
    ) => Context::Output { session, output, length };
    C_UnwrapKey(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, unwrapping: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE,
        length: CK_ULONG, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE
    ) => Context::Session(session);
    C_DeriveKey(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, base: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG, key: *mut CK_OBJECT_HANDLE
    ) => Context::Session(session);
    C_SeedRandom(session: CK_SESSION_HANDLE, seed: *mut CK_BYTE, length: CK_ULONG) => Context::Session(session);
    C_GenerateRandom(session: CK_SESSION_HANDLE, output: *mut CK_BYTE, length: CK_ULONG) => Context::Session(session);
    C_GetFunctionStatus(session: CK_SESSION_HANDLE) => Context::Session(session);
    C_CancelFunction(session: CK_SESSION_HANDLE) => Context::Session(session);
    C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: *mut c_void) => Context::Plain;
}
