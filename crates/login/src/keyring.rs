//! The system's keyring: the Secret Service of freedesktop.org over D-Bus, which GNOME's and KDE's keyrings offer.

use std::collections::HashMap;
use std::time::Duration;

use secret_service::{EncryptionType, Error, Item, SecretService};
use zeroize::Zeroizing;

use crate::error::{LoginError, Result};

/// How long a person may take to unlock it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest secret that is taken from it, in bytes.
const LONGEST: usize = 256 * 1024;

/// Which item of the keyring: one for each file that would hold the secrets otherwise.
pub(crate) struct Entry<'e> {
    /// What the keyring's own windows call it.
    pub(crate) label: &'e str,
    /// The file.
    pub(crate) file: &'e str,
}

impl Entry<'_> {
    fn attributes(&self) -> HashMap<&str, &str> {
        HashMap::from([("application", "signet"), ("file", self.file)])
    }

    /// Keeps the secret, in the place of an earlier one.
    pub(crate) async fn put(&self, secret: &[u8]) -> Result<()> {
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
    pub(crate) async fn secret(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let secret = patiently(async {
            let service = service().await?;
            let found = service.search_items(self.attributes()).await?;
            let Some(item) = unlocked(found.unlocked, found.locked).await? else { return Ok(None) };
            item.get_secret().await.map(|secret| Some(Zeroizing::new(secret)))
        });
        let secret = secret.await?;
        if secret.as_ref().is_some_and(|secret| secret.len() > LONGEST) {
            return Err(LoginError::Keeping("the keyring's item is too large".to_owned()));
        }
        Ok(secret)
    }

    /// Deletes the secret, where there is one.
    pub(crate) async fn delete(&self) -> Result<()> {
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
async fn service() -> std::result::Result<SecretService<'static>, Error> {
    SecretService::connect(EncryptionType::Dh).await.map_err(|error| match error {
        // A bus that is configured and not there, too.
        Error::Zbus(_) | Error::ZbusFdo(_) => Error::Unavailable,
        other => other,
    })
}

async fn unlocked<'i>(unlocked: Vec<Item<'i>>, locked: Vec<Item<'i>>) -> std::result::Result<Option<Item<'i>>, Error> {
    if let Some(item) = unlocked.into_iter().next() {
        return Ok(Some(item));
    }
    let Some(item) = locked.into_iter().next() else { return Ok(None) };
    item.unlock().await?;
    Ok(Some(item))
}

/// A locked keyring asks the person, who may not be there.
async fn patiently<T>(work: impl Future<Output = std::result::Result<T, Error>>) -> Result<T> {
    let problem = match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(done)) => return Ok(done),
        Err(_) => format!("the system's keyring was not unlocked within {PATIENCE:?}"),
        Ok(Err(Error::Unavailable)) => "there is no keyring: no Secret Service answers on this session's D-Bus. Sign \
                                        in without --keyring to keep the tokens in a file"
            .to_owned(),
        Ok(Err(Error::Prompt)) => "the system's keyring stays locked: its question was dismissed".to_owned(),
        Ok(Err(Error::NoResult)) => "the system's keyring has no default collection to keep anything in".to_owned(),
        Ok(Err(other)) => format!("the system's keyring does not do its part: {other}"),
    };
    Err(LoginError::Keeping(problem))
}
