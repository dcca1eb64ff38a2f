//! The system's keyring in a build without the feature `keyring`: it says so.

use zeroize::Zeroizing;

/// Which item of the keyring.
pub(super) struct Entry<'e> {
    pub(super) label: &'e str,
    pub(super) file: &'e str,
}

#[expect(clippy::unused_async, reason = "as it is where there is a keyring")]
impl Entry<'_> {
    pub(super) async fn put(&self, _secret: &[u8]) -> anyhow::Result<()> {
        Err(self.absent())
    }

    pub(super) async fn secret(&self) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
        Err(self.absent())
    }

    pub(super) async fn delete(&self) -> anyhow::Result<()> {
        Err(self.absent())
    }

    fn absent(&self) -> anyhow::Error {
        anyhow::anyhow!(
            "{} is in the system's keyring ({}), and this `signet` is built without it (feature `keyring`)",
            self.label,
            self.file
        )
    }
}
