//! A session that signs by two calls: `C_SignInit`, and `C_Sign` into a buffer that is long enough.
//!
//! cryptoki asks `C_Sign` for the length first, which is one more round trip to a network HSM (docs/decisions/0012). It
//! shows nobody its function list, so that this one asks the module for the list as well.

#![expect(unsafe_code, reason = "cryptoki offers no C_Sign into a buffer of the caller's")]

use std::ops::Deref;
use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Error, Rv, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki_sys::{CK_BYTE, CK_FUNCTION_LIST, CK_INTERFACE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKR_OK};

/// Longer than any signature that Signet asks for: RSA with 4096 bits makes 512 bytes.
const USUAL_BYTES: usize = 512;

/// The longest output that a module gets a second buffer for.
const MAX_BYTES: usize = 16 * 1024;

type Sign = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

/// The module's `C_Sign`, where it is certain that cryptoki calls the same one.
#[derive(Clone, Copy)]
pub(super) struct SignFunction(Option<Sign>);

impl SignFunction {
    /// Asks the module that cryptoki has loaded. A module that makes another instance of itself for each who asks
    /// (p11-kit's client does) knows no session of cryptoki's there: it is signed with as cryptoki does it.
    pub(super) fn of(module: &Path) -> Self {
        // SAFETY: the module is loaded already, so that no initialiser runs; the handle is kept for ever.
        let Ok(library) = (unsafe { cryptoki_sys::Pkcs11::new(module) }) else { return Self(None) };
        let library = std::mem::ManuallyDrop::new(library);
        let first = function_list(&library);
        let second = function_list(&library);
        if first.is_null() || !ptr::eq(first, second) {
            return Self(None);
        }
        // SAFETY: the module answered this list, which it keeps for as long as it is loaded. Every version of the list
        // begins like this one.
        Self(unsafe { (*first).C_Sign })
    }

    /// The session with this way to sign.
    pub(super) fn session(self, session: Session) -> SinglePartSession {
        SinglePartSession { session, sign: self }
    }
}

/// The list that cryptoki works with: the default interface's, and only without one `C_GetFunctionList`'s.
fn function_list(library: &cryptoki_sys::Pkcs11) -> *mut CK_FUNCTION_LIST {
    let mut interface: *mut CK_INTERFACE = ptr::null_mut();
    if library.C_GetInterface.is_ok() {
        // SAFETY: no name and no version ask for the default interface, whose place is ours.
        let code = unsafe { library.C_GetInterface(ptr::null_mut(), ptr::null_mut(), &raw mut interface, 0) };
        if code != CKR_OK {
            return ptr::null_mut();
        }
        if !interface.is_null() {
            // SAFETY: the module answered CKR_OK and an interface, whose first member is a list of functions.
            let list = unsafe { (*interface).pFunctionList }.cast::<CK_FUNCTION_LIST>();
            // SAFETY: every list begins with its version.
            if !list.is_null() && unsafe { (*list).version.major } >= 3 {
                return list;
            }
        }
    }
    let mut list = ptr::null_mut();
    if library.C_GetFunctionList.is_err() {
        return ptr::null_mut();
    }
    // SAFETY: the place for the list is ours.
    let code = unsafe { library.C_GetFunctionList(&raw mut list) };
    if code == CKR_OK { list } else { ptr::null_mut() }
}

/// A session whose [`sign`](Self::sign) takes two calls; for the rest it is cryptoki's.
pub(super) struct SinglePartSession {
    session: Session,
    sign: SignFunction,
}

impl Deref for SinglePartSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl SinglePartSession {
    /// Signs, or makes a MAC, in one part.
    /// Errors: What the module answered; `CKR_BUFFER_TOO_SMALL` only where it wants more than 16 KiB, or is not content
    /// with what it wanted.
    pub(super) fn sign(&self, mechanism: &Mechanism, key: ObjectHandle, data: &[u8]) -> Result<Vec<u8>, Error> {
        let SignFunction(Some(sign)) = self.sign else { return self.session.sign(mechanism, key, data) };
        self.session.sign_init(mechanism, key)?;
        let mut output = vec![0; USUAL_BYTES];
        let wanted = match self.call(sign, data, &mut output) {
            // The operation goes on, and the module has said how long the output is (PKCS#11 2.40, 5.2).
            Err((Error::Pkcs11(RvError::BufferTooSmall, _), wanted)) if (1..=MAX_BYTES).contains(&wanted) => wanted,
            Err((error, _)) => return Err(error),
            Ok(()) => return Ok(output),
        };
        output.resize(wanted, 0);
        self.call(sign, data, &mut output).map_err(|(error, _)| error)?;
        Ok(output)
    }

    /// One `C_Sign` into this buffer, which is then as long as the output; or what was answered, with the length that
    /// the module left.
    fn call(&self, sign: Sign, data: &[u8], output: &mut Vec<u8>) -> Result<(), (Error, usize)> {
        let data_length = CK_ULONG::try_from(data.len()).map_err(|error| (error.into(), 0))?;
        let mut length = CK_ULONG::try_from(output.len()).map_err(|error| (error.into(), 0))?;
        // SAFETY: the session is open and used by this thread alone; the module reads `data_length` bytes of `data`, for
        // which PKCS#11 has no const, and writes at most `length` bytes to `output`, of which there are that many.
        let code = unsafe {
            sign(self.session.handle(), data.as_ptr().cast_mut(), data_length, output.as_mut_ptr(), &raw mut length)
        };
        let length = usize::try_from(length).unwrap_or_default();
        match Rv::from(code) {
            Rv::Error(code) => Err((Error::Pkcs11(code, Function::Sign), length)),
            // A module that claims to have written more than there was room for is not believed.
            Rv::Ok if length > output.len() => Err((Error::Pkcs11(RvError::GeneralError, Function::Sign), length)),
            Rv::Ok => {
                output.truncate(length);
                Ok(())
            }
        }
    }
}
