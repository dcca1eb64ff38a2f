//! What a token says of itself.

use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::slot::{Slot, TokenInfo as ModuleTokenInfo};

use super::raw;
use signet_core::keys::TokenInfo;

/// `CK_TOKEN_INFO`, as far as Signet reads it.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) token: TokenInfo,
    pub(super) is_initialized: bool,
    pub(super) pin: PinFlags,
}

/// What the token says of its user's PIN.
#[derive(Debug, Clone, Copy)]
pub(super) struct PinFlags {
    /// A wrong one was shown since the last login (`CKF_USER_PIN_COUNT_LOW`).
    pub(super) is_count_low: bool,
    /// One try is left (`CKF_USER_PIN_FINAL_TRY`).
    pub(super) is_final_try: bool,
    /// None is left (`CKF_USER_PIN_LOCKED`).
    pub(super) is_locked: bool,
}

impl PinFlags {
    /// Whether a wrong try was counted, as far as the token says.
    pub(super) fn counts_tries(self) -> bool {
        self.is_count_low || self.is_final_try || self.is_locked
    }
}

impl Description {
    /// Asks the module about a slot's token. Where its clock can't be read (opencryptoki's is blank), all the rest is;
    /// `None` where the module answers with an error.
    pub(super) fn of(module: &Pkcs11, path: &Path, slot: Slot) -> Option<Self> {
        match module.get_token_info(slot) {
            Ok(info) => Some(Self::from(&info)),
            Err(Error::Pkcs11(..)) => None,
            Err(_) => raw::describe_token(path, slot),
        }
    }
}

impl From<&ModuleTokenInfo> for Description {
    fn from(info: &ModuleTokenInfo) -> Self {
        Self {
            token: TokenInfo {
                label: info.label().trim_end().to_owned(),
                manufacturer: info.manufacturer_id().trim_end().to_owned(),
                model: info.model().trim_end().to_owned(),
                serial: info.serial_number().trim_end().to_owned(),
                firmware: info.firmware_version().to_string(),
            },
            is_initialized: info.token_initialized(),
            pin: PinFlags {
                is_count_low: info.user_pin_count_low(),
                is_final_try: info.user_pin_final_try(),
                is_locked: info.user_pin_locked(),
            },
        }
    }
}
