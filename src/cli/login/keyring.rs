//! The system's keyring: the Secret Service of freedesktop.org over D-Bus, which GNOME's and KDE's keyrings offer.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use secret_service::{EncryptionType, Error, Item, SecretService};
use zeroize::Zeroizing;

/// How long a person may take to unlock it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest secret that is taken from it, in bytes.
const LONGEST: usize = 256 * 1024;

/// Which item of the keyring: one for each file that would hold the secrets otherwise.
pub(super) struct Entry<'e> {
    /// What the keyring's own windows call it.
    pub(super) label: &'e str,
    /// The file.
    pub(super) file: &'e str,
}

impl Entry<'_> {
    fn attributes(&self) -> HashMap<&str, &str> {
        HashMap::from([("application", "signet"), ("file", self.file)])
    }

    /// Keeps the secret, in the place of an earlier one.
    pub(super) async fn put(&self, secret: &[u8]) -> anyhow::Result<()> {
        patiently(async {
            let service = service().await?;
            let collection = service.get_default_collection().await?;
            if collection.is_locked().await? {
                collection.unlock().await?;
            }
            collection.create_item(self.label, self.attributes(), secret, true, "application/json").await?;
            Ok(())
        })
        .await
    }

    /// The secret; `None` where there is none.
    pub(super) async fn secret(&self) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
        let secret = patiently(async {
            let service = service().await?;
            let found = service.search_items(self.attributes()).await?;
            let Some(item) = unlocked(found.unlocked, found.locked).await? else { return Ok(None) };
            item.get_secret().await.map(|secret| Some(Zeroizing::new(secret)))
        });
        let secret = secret.await?;
        anyhow::ensure!(
            secret.as_ref().is_none_or(|secret| secret.len() <= LONGEST),
            "the keyring's item is too large"
        );
        Ok(secret)
    }

    /// Deletes the secret, where there is one.
    pub(super) async fn delete(&self) -> anyhow::Result<()> {
        patiently(async {
            let service = service().await?;
            let found = service.search_items(self.attributes()).await?;
            match unlocked(found.unlocked, found.locked).await? {
                Some(item) => item.delete().await,
                None => Ok(()),
            }
        })
        .await
    }
}

/// The service, over a channel that is encrypted on the bus, too.
async fn service() -> Result<SecretService<'static>, Error> {
    SecretService::connect(EncryptionType::Dh).await.map_err(|error| match error {
        // A bus that is configured and not there, too.
        Error::Zbus(_) | Error::ZbusFdo(_) => Error::Unavailable,
        other => other,
    })
}

async fn unlocked<'i>(unlocked: Vec<Item<'i>>, locked: Vec<Item<'i>>) -> Result<Option<Item<'i>>, Error> {
    if let Some(item) = unlocked.into_iter().next() {
        return Ok(Some(item));
    }
    let Some(item) = locked.into_iter().next() else { return Ok(None) };
    item.unlock().await?;
    Ok(Some(item))
}

/// A locked keyring asks the person, who may not be there.
async fn patiently<T>(work: impl Future<Output = Result<T, Error>>) -> anyhow::Result<T> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    let done = done.with_context(|| format!("the system's keyring was not unlocked within {PATIENCE:?}"))?;
    done.map_err(|error| match error {
        Error::Unavailable => anyhow::anyhow!(
            "there is no keyring: no Secret Service answers on this session's D-Bus. Sign in without --keyring to keep \
             the tokens in a file"
        ),
        Error::Prompt => anyhow::anyhow!("the system's keyring stays locked: its question was dismissed"),
        Error::NoResult => anyhow::anyhow!("the system's keyring has no default collection to keep anything in"),
        other => anyhow::anyhow!("the system's keyring does not do its part: {other}"),
    })
}
