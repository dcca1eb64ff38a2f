//! What goes wrong at an HSM token, and what follows from it for a request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A failure of an HSM token, with the operation that failed and what to do with the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("HSM {operation}: {failure}")]
pub struct HsmError {
    /// What was tried, e.g. `sign`.
    pub operation: String,
    /// What went wrong.
    pub failure: HsmFailure,
    /// Whether the token was asked at all: one that was not has done nothing, whatever the failure is.
    pub was_asked: bool,
}

/// What an HSM token answered, or its failure.
pub type HsmResult<T> = Result<T, HsmError>;

impl HsmError {
    /// A failure of an operation.
    pub fn new(operation: impl Into<String>, failure: HsmFailure) -> Self {
        Self { operation: operation.into(), failure, was_asked: true }
    }

    /// A failure of an operation that no worker was given.
    pub fn not_asked(operation: impl Into<String>, failure: HsmFailure) -> Self {
        Self { operation: operation.into(), failure, was_asked: false }
    }

    /// Whether what was asked for may have been done all the same.
    pub const fn is_unknown_outcome(&self) -> bool {
        self.was_asked && matches!(self.failure, HsmFailure::Unavailable(_) | HsmFailure::Deadline(_))
    }
}

/// What went wrong at an HSM token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum HsmFailure {
    /// The worker is gone, starting, or its device is removed, as the text says for the log. It comes back by itself.
    #[error("not available: {0}")]
    Unavailable(String),
    /// The queue is full.
    #[error("its queue is full")]
    Overloaded,
    /// The deadline passed.
    #[error("no answer within {}ms", .0.as_millis())]
    Deadline(Duration),
    /// The PIN was refused, is locked, or was presented and nobody knows with what effect: nothing is tried again until
    /// a person acts (promise 9). With the module's own word, e.g. `CKR_PIN_INCORRECT`, and what to do.
    #[error("the PIN was not accepted: {0}. Nothing is tried again before that")]
    PinRefused(String),
    /// No key with this name, or one that is not the key that was meant.
    #[error("the key {0} is not in the token")]
    KeyMissing(String),
    /// The key fails custody.
    #[error("the key {key_id} is refused: {reasons}")]
    CustodyRefused {
        /// The key.
        key_id: String,
        /// Why, in words.
        reasons: String,
    },
    /// The HSM does not offer what is needed: this mechanism, e.g. `CKM_ECDSA`.
    #[error("the HSM does not offer {0}")]
    MechanismMissing(String),
    /// A sealed blob does not open: tampered with, of another row, or of another key.
    #[error("the sealed value does not open for this row")]
    DoesNotOpen,
    /// The configuration can't work: a missing module, a label that is not found or found twice, an unsafe PIN file. With
    /// what is wrong and what to do.
    #[error("{0}")]
    Configuration(String),
    /// The worker does not do this with this key, whoever asks: a foreign signing input, a token that outlives the
    /// longest lifetime, a key put to another's use. An alarm, since nothing of Signet asks for such a thing. With what is
    /// wrong with it.
    #[error("refused by the HSM worker: {0}")]
    Refused(String),
    /// Anything else the module answered.
    #[error("{function} answered {code}")]
    Module {
        /// The PKCS#11 function, e.g. `C_Sign`.
        function: String,
        /// Its return code, e.g. `CKR_DEVICE_ERROR`.
        code: String,
    },
}

impl HsmFailure {
    /// What a request is told that the worker's end leaves unanswered: it may have been done.
    #[must_use]
    pub fn into_unavailable(self) -> Self {
        match self {
            Self::Unavailable(_) => self,
            judged => Self::Unavailable(judged.to_string()),
        }
    }
}
