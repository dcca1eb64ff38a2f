//! What is right, by the fault. Written from the hazards' table, not from the product's.

use signet_core::keys::HsmFailure;

use super::withheld;

/// How a request that met a fault must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expected {
    /// It succeeds, after one retry at most, and the worker stays.
    Mended,
    /// It fails, with what becomes 503, and the worker stays.
    Fails,
    /// It fails, with what becomes 503, and another worker takes over.
    Restarts,
    /// A wrong signature is withheld, and the worker stays until somebody complains of it.
    Withheld,
    /// It fails at its deadline, and another worker takes over.
    Hangs,
}

impl Expected {
    pub(super) fn check(self, outcome: &Result<(), HsmFailure>, name: &str) {
        let is_right = match (self, outcome) {
            (Self::Mended, Ok(())) => true,
            (Self::Fails, Err(failure)) => matches!(failure, HsmFailure::Module { .. }) && *failure != withheld(),
            (Self::Restarts, Err(failure)) => matches!(failure, HsmFailure::Unavailable(_)),
            (Self::Withheld, Err(failure)) => *failure == withheld(),
            (Self::Hangs, Err(failure)) => matches!(failure, HsmFailure::Deadline(_)),
            _ => false,
        };
        assert!(is_right, "{name}: expected {self:?}, was {outcome:?}");
    }

    pub(super) const fn worker_stays(self) -> bool {
        matches!(self, Self::Mended | Self::Fails | Self::Withheld)
    }
}

/// The session, what goes on in it, or a handle is stale.
pub(super) const STALE: &[&str] = &[
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_SESSION_CLOSED",
    "CKR_OBJECT_HANDLE_INVALID",
    "CKR_KEY_HANDLE_INVALID",
    "CKR_USER_NOT_LOGGED_IN",
    "CKR_OPERATION_ACTIVE",
    "CKR_OPERATION_NOT_INITIALIZED",
    "CKR_FUNCTION_CANCELED",
];

/// The module fails for a moment, or for good: nobody knows. Looking for a key is tried again after it.
pub(super) const PASSING: &[&str] = &["CKR_FUNCTION_FAILED"];

/// The module or its device is in no state to go on.
pub(super) const BROKEN: &[&str] = &[
    "CKR_DEVICE_ERROR",
    "CKR_DEVICE_REMOVED",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_TOKEN_NOT_RECOGNIZED",
    "CKR_HOST_MEMORY",
    "CKR_DEVICE_MEMORY",
    "CKR_GENERAL_ERROR",
    "CKR_CRYPTOKI_NOT_INITIALIZED",
    "CKR_SLOT_ID_INVALID",
    "CKR_SESSION_COUNT",
    "CKR_MUTEX_BAD",
    "CKR_MUTEX_NOT_LOCKED",
    "CKR_CANT_LOCK",
    "CKR_NEED_TO_CREATE_THREADS",
];

/// The request is refused; another one may do better. Among them are codes of a PIN from functions that are shown none.
pub(super) const REFUSED: &[&str] = &[
    "CKR_ARGUMENTS_BAD",
    "CKR_DATA_INVALID",
    "CKR_DATA_LEN_RANGE",
    "CKR_MECHANISM_INVALID",
    "CKR_MECHANISM_PARAM_INVALID",
    "CKR_KEY_TYPE_INCONSISTENT",
    "CKR_KEY_FUNCTION_NOT_PERMITTED",
    "CKR_KEY_SIZE_RANGE",
    "CKR_FUNCTION_NOT_SUPPORTED",
    "CKR_FUNCTION_REJECTED",
    "CKR_TOKEN_WRITE_PROTECTED",
    "CKR_CANCEL",
    "CKR_BUFFER_TOO_SMALL",
    "CKR_PIN_EXPIRED",
    "CKR_PIN_INCORRECT",
    "CKR_PIN_LOCKED",
    "0x80000001",
    "0x7777",
];

/// Every code with what is right where it meets an operation.
pub(super) fn by_code() -> Vec<(&'static str, Expected)> {
    let all = |codes: &'static [&'static str], expected| codes.iter().map(move |code| (*code, expected));
    all(STALE, Expected::Mended)
        .chain(all(PASSING, Expected::Mended))
        .chain(all(BROKEN, Expected::Restarts))
        .chain(all(REFUSED, Expected::Fails))
        .collect()
}

/// A few codes of each class, where many functions are gone through.
pub(super) fn by_code_in_short() -> Vec<(&'static str, Expected)> {
    let few = [
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_OBJECT_HANDLE_INVALID",
        "CKR_USER_NOT_LOGGED_IN",
        "CKR_OPERATION_ACTIVE",
        "CKR_DEVICE_ERROR",
        "CKR_TOKEN_NOT_PRESENT",
        "CKR_HOST_MEMORY",
        "CKR_MECHANISM_INVALID",
        "CKR_PIN_LOCKED",
        "0x80000001",
    ];
    by_code().into_iter().filter(|(code, _)| few.contains(code)).collect()
}

pub(super) const PHASES: [&str; 2] = ["before", "after"];
