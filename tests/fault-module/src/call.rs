//! One call on its way: what of its arguments a fault can touch.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_MECHANISM_TYPE, CK_OBJECT_CLASS, CK_OBJECT_HANDLE, CK_SESSION_HANDLE,
    CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG, CKA_CLASS, CKF_USER_PIN_LOCKED, CKR_OK,
};

use crate::forward::real;

/// A call.
pub(crate) struct Call {
    pub(crate) function: &'static str,
    pub(crate) context: Context,
    /// The key to go on with, where the function takes one.
    pub(crate) key: CK_OBJECT_HANDLE,
}

/// The arguments that matter.
#[derive(Clone, Copy)]
pub(crate) enum Context {
    Plain,
    Session(CK_SESSION_HANDLE),
    Slots { present: CK_BBOOL, count: *mut CK_ULONG },
    Token { info: *mut CK_TOKEN_INFO },
    Mechanisms { list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG },
    Opening { slot: CK_SLOT_ID, opened: *mut CK_SESSION_HANDLE },
    Key { session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE },
    Output { session: CK_SESSION_HANDLE, output: *mut CK_BYTE, length: *mut CK_ULONG },
    Found { session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG },
}

impl Call {
    pub(crate) fn new(function: &'static str, context: Context) -> Self {
        let key = if let Context::Key { key, .. } = context { key } else { 0 };
        Self { function, context, key }
    }

    /// The session that the call is made in.
    pub(crate) fn session(&self) -> Option<CK_SESSION_HANDLE> {
        match self.context {
            Context::Session(session)
            | Context::Key { session, .. }
            | Context::Output { session, .. }
            | Context::Found { session, .. } => Some(session),
            _ => None,
        }
    }

    /// A call that only asks how long the output would be: no fault meets it.
    pub(crate) fn is_probe(&self) -> bool {
        matches!(self.context, Context::Output { output, .. } if output.is_null())
    }

    /// The session that was opened, with its slot.
    pub(crate) fn opened(&self) -> Option<(CK_SESSION_HANDLE, CK_SLOT_ID)> {
        let Context::Opening { slot, opened } = self.context else { return None };
        // SAFETY: asked after the real module wrote the handle there.
        (!opened.is_null()).then(|| (unsafe { *opened }, slot))
    }

    /// Says that there is no slot with a token.
    pub(crate) fn hide_slots(&self) -> bool {
        let Context::Slots { present, count } = self.context else { return false };
        if present == 0 || count.is_null() {
            return false;
        }
        // SAFETY: the caller gives a place for the count.
        unsafe { *count = 0 };
        true
    }

    /// Says that the PIN is locked.
    pub(crate) fn show_locked_pin(&self) {
        if let Context::Token { info } = self.context
            && !info.is_null()
        {
            // SAFETY: the real module has just filled the caller's structure.
            unsafe { (*info).flags |= CKF_USER_PIN_LOCKED };
        }
    }

    /// Leaves mechanisms out of the list.
    pub(crate) fn hide_mechanisms(&self, hidden: &[u64]) {
        let Context::Mechanisms { list, count } = self.context else { return };
        if list.is_null() || count.is_null() {
            return;
        }
        // SAFETY: the real module has just filled so many entries of the caller's list.
        let listed = unsafe { std::slice::from_raw_parts_mut(list, length(*count)) };
        let shown: Vec<_> = listed.iter().copied().filter(|mechanism| !hidden.contains(mechanism)).collect();
        listed[..shown.len()].copy_from_slice(&shown);
        // SAFETY: as above.
        unsafe { *count = shown.len() as CK_ULONG };
    }

    /// What the real module has just answered as bytes.
    pub(crate) fn output(&mut self) -> Option<&mut [u8]> {
        let Context::Output { output, length: size, .. } = self.context else { return None };
        if output.is_null() || size.is_null() {
            return None;
        }
        // SAFETY: the real module has just written so many bytes into the caller's buffer.
        Some(unsafe { std::slice::from_raw_parts_mut(output, length(*size)) })
    }

    /// Says how long the output would be.
    pub(crate) fn want(&self, bytes: CK_ULONG) {
        if let Context::Output { length, .. } = self.context
            && !length.is_null()
        {
            // SAFETY: the caller gives a place for the length.
            unsafe { *length = bytes };
        }
    }

    /// Halves the output.
    pub(crate) fn truncate(&mut self) -> bool {
        let Context::Output { length, .. } = self.context else { return false };
        if self.output().is_none() {
            return false;
        }
        // SAFETY: as in `output`; a shorter length is within what was written.
        unsafe { *length /= 2 };
        true
    }

    /// The handles that were just found.
    pub(crate) fn found(&mut self) -> Option<&mut [CK_OBJECT_HANDLE]> {
        let Context::Found { objects, count, .. } = self.context else { return None };
        if objects.is_null() || count.is_null() {
            return None;
        }
        // SAFETY: the real module has just written so many handles into the caller's array.
        Some(unsafe { std::slice::from_raw_parts_mut(objects, length(*count)) })
    }

    /// Gives the first handle a second time, where there is room.
    pub(crate) fn duplicate(&mut self) -> bool {
        let Context::Found { objects, most, count, .. } = self.context else { return false };
        let Some(&mut [first, ..]) = self.found() else { return false };
        // SAFETY: the caller's array has room for `most` handles, of which `count` are taken.
        unsafe {
            if *count >= most {
                return false;
            }
            *objects.add(length(*count)) = first;
            *count += 1;
        }
        true
    }
}

/// The class of an object, asked in this session.
pub(crate) fn class(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<CK_OBJECT_CLASS> {
    let mut class: CK_OBJECT_CLASS = 0;
    let mut template = CK_ATTRIBUTE {
        type_: CKA_CLASS,
        pValue: std::ptr::from_mut(&mut class).cast(),
        ulValueLen: size_of::<CK_OBJECT_CLASS>() as CK_ULONG,
    };
    let function = real().C_GetAttributeValue?;
    // SAFETY: one attribute whose value fits the place that it points to.
    let code = unsafe { function(session, object, &raw mut template, 1) };
    (code == CKR_OK).then_some(class)
}

fn length(count: CK_ULONG) -> usize {
    usize::try_from(count).unwrap_or_default()
}
