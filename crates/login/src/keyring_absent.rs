//! The system's keyring in a build without the feature `keyring`: it says so.

use zeroize::Zeroizing;

use crate::error::{LoginError, Result};

/// Which item of the keyring.
pub(crate) struct Entry<'e> {
    pub(crate) label: &'e str,
    pub(crate) file: &'e str,
}

#[expect(clippy::unused_async, reason = "as it is where there is a keyring")]
impl Entry<'_> {
    pub(crate) async fn put(&self, _secret: &[u8]) -> Result<()> {
        Err(self.absent())
    }

    pub(crate) async fn secret(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        Err(self.absent())
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        Err(self.absent())
    }

    fn absent(&self) -> LoginError {
        LoginError::Keeping(format!(
            "{} is in the system's keyring ({}), and this `signet` is built without it (feature `keyring`)",
            self.label, self.file
        ))
    }
}
