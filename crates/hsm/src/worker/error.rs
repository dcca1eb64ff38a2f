//! What a module's answer means, and what to do about it.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

use signet_core::keys::HsmFailure;

/// Why an operation stopped.
#[derive(Debug)]
pub(super) enum Fault {
    /// Judged already: the answer to the request.
    Failure(HsmFailure),
    /// A return code of the module.
    Module(RvError, Function),
}

/// What an operation brought, or why it stopped.
pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

/// What follows from a fault. docs/reference/hsm-faults.md has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing: the request was at fault.
    Answer,
    /// The session can't be trusted: another one, and the request fails.
    Discard,
    /// Nobody knows what the code means: as [`Discard`](Self::Discard), and [`Restart`](Self::Restart) where another
    /// session answers the same again.
    Suspect,
    /// The session, what goes on in it, or its handles are stale: another one, find the key again, try once more.
    Retry,
    /// Somebody logged the token out: log in once, then try once more.
    Login,
    /// The module or its device is in no state to go on: the process ends and is started again.
    Restart,
}

impl Fault {
    /// What to do.
    pub(super) fn remedy(&self) -> Remedy {
        use RvError as R;
        let Self::Module(code, _) = self else { return Remedy::Answer };
        match code {
            R::SessionHandleInvalid | R::SessionClosed | R::ObjectHandleInvalid | R::KeyHandleInvalid => Remedy::Retry,
            R::UnwrappingKeyHandleInvalid | R::WrappingKeyHandleInvalid => Remedy::Retry,
            R::OperationActive | R::OperationNotInitialized => Remedy::Retry,
            R::FunctionFailed | R::FunctionCanceled => Remedy::Retry,
            R::UserNotLoggedIn => Remedy::Login,
            R::DeviceError | R::DeviceRemoved | R::TokenNotPresent | R::TokenNotRecognized => Remedy::Restart,
            R::HostMemory | R::DeviceMemory | R::GeneralError => Remedy::Restart,
            R::CryptokiNotInitialized | R::SlotIdInvalid | R::SessionCount => Remedy::Restart,
            R::MutexBad | R::MutexNotLocked | R::CantLock | R::NeedToCreateThreads => Remedy::Restart,
            R::VendorDefined(_) | R::UnknownErrorCode(_) => Remedy::Suspect,
            _ => Remedy::Discard,
        }
    }

    /// What the caller is told.
    pub(super) fn into_failure(self) -> HsmFailure {
        let restarts = self.remedy() == Remedy::Restart;
        match self {
            Self::Failure(failure) => failure,
            Self::Module(code, function) if restarts => HsmFailure::Unavailable(format!(
                "{} answered {}; the worker starts again",
                function_name(function),
                code_name(code)
            )),
            Self::Module(code, function) => {
                HsmFailure::Module { function: function_name(function), code: code_name(code) }
            }
        }
    }

    /// The failure of a worker that can't go on.
    pub(super) fn into_unavailable(self) -> HsmFailure {
        match self.into_failure() {
            HsmFailure::Module { function, code } => {
                HsmFailure::Unavailable(format!("{function} answered {code}; the worker starts again"))
            }
            judged => judged,
        }
    }

    /// Whether the module does not know the session any more.
    pub(super) fn is_of_a_lost_session(&self) -> bool {
        matches!(self, Self::Module(RvError::SessionHandleInvalid | RvError::SessionClosed, _))
    }

    /// Whether the module said that there is no room for another key.
    pub(super) fn is_of_a_full_token(&self) -> bool {
        matches!(self, Self::Module(RvError::DeviceMemory, _))
    }

    /// This fault as a mere answer to the request: nothing else follows from it.
    pub(super) fn answered(self) -> Self {
        match self {
            Self::Module(code, function) => {
                HsmFailure::Module { function: function_name(function), code: code_name(code) }.into()
            }
            judged @ Self::Failure(_) => judged,
        }
    }

    /// Whether a key was not found.
    pub(super) const fn is_of_a_missing_key(&self) -> bool {
        matches!(self, Self::Failure(HsmFailure::KeyMissing(_)))
    }

    /// Whether the module said that much: no more than `CKR_GENERAL_ERROR`.
    pub(super) fn is_general_error(&self) -> bool {
        matches!(self, Self::Module(RvError::GeneralError | RvError::FunctionFailed, _))
    }

    /// Whether a module may mean that it wants a key described in another way.
    pub(super) fn may_be_of_the_template(&self) -> bool {
        use RvError as R;
        let Self::Module(code, _) = self else { return false };
        matches!(
            code,
            R::AttributeTypeInvalid
                | R::AttributeValueInvalid
                | R::AttributeReadOnly
                | R::TemplateInconsistent
                | R::TemplateIncomplete
                | R::ArgumentsBad
                | R::FunctionFailed
                | R::GeneralError
        )
    }
}

impl From<HsmFailure> for Fault {
    fn from(failure: HsmFailure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(code, function) => Self::Module(code, function),
            other => Self::Failure(HsmFailure::Module { function: "the module".into(), code: other.to_string() }),
        }
    }
}

/// Whether the code says that the PIN was not accepted: it is never sent again.
pub(super) fn refuses_pin(code: RvError) -> bool {
    use RvError as R;
    matches!(
        code,
        R::PinIncorrect | R::PinInvalid | R::PinLenRange | R::PinExpired | R::PinLocked | R::UserPinNotInitialized
    )
}

/// Whether the code is known to come before a module looks at the PIN, so that no try was counted.
pub(super) fn counts_no_try(code: RvError) -> bool {
    use RvError as R;
    matches!(
        code,
        R::UserAlreadyLoggedIn
            | R::UserAnotherAlreadyLoggedIn
            | R::CryptokiNotInitialized
            | R::SessionHandleInvalid
            | R::SessionClosed
            | R::SlotIdInvalid
            | R::DeviceRemoved
            | R::TokenNotPresent
            | R::TokenNotRecognized
            | R::HostMemory
    )
}

/// The specification's name of a return code, e.g. `CKR_PIN_INCORRECT`.
pub(super) fn code_name(code: RvError) -> String {
    match code {
        RvError::VendorDefined(number) => return format!("CKR_VENDOR_DEFINED ({number:#x})"),
        RvError::UnknownErrorCode(number) => return format!("the unknown code {number:#x}"),
        _ => {}
    }
    let mut name = String::from("CKR");
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// The specification's name of a function, e.g. `C_SignInit`.
pub(super) fn function_name(function: Function) -> String {
    format!("C_{function:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_specifications() {
        assert_eq!(code_name(RvError::PinIncorrect), "CKR_PIN_INCORRECT");
        assert_eq!(code_name(RvError::SessionHandleInvalid), "CKR_SESSION_HANDLE_INVALID");
        assert_eq!(function_name(Function::SignInit), "C_SignInit");
    }

    #[test]
    fn a_lost_device_ends_the_worker_and_a_lost_session_does_not() {
        let remedy = |code| Fault::Module(code, Function::Sign).remedy();
        assert_eq!(remedy(RvError::DeviceError), Remedy::Restart);
        assert_eq!(remedy(RvError::HostMemory), Remedy::Restart);
        assert_eq!(remedy(RvError::SessionClosed), Remedy::Retry);
        assert_eq!(remedy(RvError::ObjectHandleInvalid), Remedy::Retry);
        assert_eq!(remedy(RvError::UserNotLoggedIn), Remedy::Login);
        assert_eq!(remedy(RvError::DataLenRange), Remedy::Discard);
    }

    #[test]
    fn every_answer_about_a_pin_stops() {
        for code in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired, RvError::PinLenRange] {
            assert!(refuses_pin(code));
        }
        assert!(!refuses_pin(RvError::GeneralError) && !refuses_pin(RvError::UserAlreadyLoggedIn));
    }

    #[test]
    fn only_a_few_answers_to_a_login_are_known_to_be_harmless() {
        assert!(counts_no_try(RvError::DeviceRemoved) && counts_no_try(RvError::SessionHandleInvalid));
        for code in [RvError::GeneralError, RvError::FunctionFailed, RvError::DeviceError, RvError::PinIncorrect] {
            assert!(!counts_no_try(code));
        }
    }
}
