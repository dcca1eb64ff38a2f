//! The deployment's secret: what names of accounts, successors of refresh tokens and the keys of rows are derived by, the same
//! whichever HSM token answers. See `docs/decisions/0013-*`, `0034-*` and `0037-*`.
//!
//! It is 32 random bytes, made at `init`, sealed for every HSM token like any secret at rest. The server opens it by any
//! healthy token; from then on it is in memory, wiped at the end, and no derivation asks an HSM. A restore makes the next
//! generation of it. Beside its 32 bytes that one has the key of what lasts, which all generations share.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;

use crate::rows::deployment_row;
use crate::{Directory, Ports, Unavailable};
use signet_core::keys::{Envelope, HsmError, HsmFailure, SealedCopies, Vault};
use signet_core::random::{self, Random};
use signet_core::row_keys::RowKeys;
use signet_core::secret::SecretBytes;
use signet_store::SecretsAtRest;

/// The generation that `init` makes.
const FIRST: u8 = 1;
/// The bytes of a generation's own secret.
const OWN: usize = 32;
/// How often a race for the first secret is run again: who loses it reads what the winner wrote.
const ROUNDS: usize = 3;
/// What the key of what lasts is derived by from the first generation.
const LASTING: &str = "lasting";

/// A generation of the secret, opened.
#[derive(Clone)]
pub(crate) struct Generation {
    pub(crate) number: u8,
    /// What is sealed.
    pub(crate) content: SecretBytes,
    own: SecretBytes,
    /// The key of what visitors can compare over years, so that it must not change with the generation.
    lasting: SecretBytes,
}

impl Generation {
    fn of(number: u8, content: SecretBytes) -> Result<Self, Unavailable> {
        let (own, lasting) = content.expose().split_at_checked(OWN).ok_or(Unavailable)?;
        let own = SecretBytes::new(own.to_vec());
        let lasting = match (number, lasting.len()) {
            (FIRST, 0) => SecretBytes::new(derived(&own, LASTING, b"").to_vec()),
            (FIRST, _) => return Err(Unavailable),
            (_, OWN) => SecretBytes::new(lasting.to_vec()),
            _ => return Err(Unavailable),
        };
        Ok(Self { number, content, own, lasting })
    }

    /// The next generation.
    fn next(&self, random: &dyn Random) -> Result<Self, Unavailable> {
        let own = random::bytes::<OWN>(random);
        let content = SecretBytes::new([own.as_slice(), self.lasting.expose()].concat());
        Self::of(self.number.checked_add(1).ok_or(Unavailable)?, content)
    }

    fn row_keys(&self) -> RowKeys {
        RowKeys::of(self.number, &self.own)
    }

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message`.
    pub(crate) fn derive(&self, label: &str, message: &[u8]) -> [u8; 32] {
        derived(&self.own, label, message)
    }
}

/// The generations that are there, the newest last: one, or two while rows are written under the newer one.
type Generations = Arc<[Generation]>;

/// The secret, once it was opened, and what derives from it.
pub(crate) struct DeploymentSecret {
    directory: Arc<Directory>,
    random: Arc<dyn Random>,
    vault: Arc<dyn Vault>,
    secrets_at_rest: Arc<dyn SecretsAtRest>,
    opened: ArcSwapOption<Generations>,
    opening: tokio::sync::Mutex<()>,
}

impl DeploymentSecret {
    pub(crate) fn new(ports: &Ports, directory: &Arc<Directory>) -> Self {
        Self {
            directory: directory.clone(),
            random: ports.random.clone(),
            vault: ports.vault.clone(),
            secrets_at_rest: ports.store.clone(),
            opened: ArcSwapOption::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` under the newest generation of the deployment's secret.
    pub(crate) async fn derive(&self, label: &str, message: &[u8]) -> Result<[u8; 32], Unavailable> {
        Ok(self.newest().await?.derive(label, message))
    }

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` by a key that no renewal changes.
    pub(crate) async fn derive_lasting(&self, label: &str, message: &[u8]) -> Result<[u8; 32], Unavailable> {
        Ok(derived(&self.newest().await?.lasting, label, message))
    }

    /// The newest generation.
    /// Errors: [`Unavailable`] where it can't be opened.
    pub(crate) async fn newest(&self) -> Result<Generation, Unavailable> {
        self.generations().await?.last().cloned().ok_or(Unavailable)
    }

    /// Every generation that is there, the newest last.
    /// Errors: [`Unavailable`] where one can't be opened.
    pub(crate) async fn generations(&self) -> Result<Generations, Unavailable> {
        match self.opened.load_full() {
            Some(opened) => Ok(Generations::clone(&opened)),
            None => self.open_all().await,
        }
    }

    /// Works with the secret that another node of the deployment gave, before an HSM token of this one has it sealed.
    /// Errors: [`Unavailable`] where this node works with another one.
    pub(crate) async fn adopt(&self, number: u8, content: SecretBytes) -> Result<(), Unavailable> {
        let _one_at_a_time = self.opening.lock().await;
        let adopted = Generation::of(number, content)?;
        match self.opened.load().as_ref().and_then(|opened| opened.last()) {
            Some(opened) if opened.number == number && opened.content == adopted.content => Ok(()),
            Some(_) => Err(Unavailable),
            None => {
                self.work_with(vec![adopted]).await;
                Ok(())
            }
        }
    }

    /// Has the store write and check rows by these generations.
    async fn work_with(&self, generations: Vec<Generation>) -> Generations {
        let keys = generations.iter().map(Generation::row_keys).reduce(|keys, next| keys.and(&next));
        if let Some(keys) = keys {
            self.secrets_at_rest.use_row_keys(keys);
        }
        let generations: Generations = generations.into();
        self.opened.store(Some(Arc::new(generations.clone())));
        // What was read of the store until now was not checked by these.
        self.directory.forget().await;
        generations
    }

    /// Makes the secret where there is none, and opens it, so that no request has to. Where no token does that now, the
    /// first who needs it does. Where there is another generation by now, that is opened.
    pub(crate) async fn prepare_deployment_secret(&self) {
        let prepared = match self.opened.load_full() {
            None => self.open_all().await.map(drop),
            Some(opened) => self.open_if_renewed(&opened).await,
        };
        if prepared.is_err() {
            tracing::warn!("the deployment's secret can't be opened yet");
        }
    }

    async fn open_if_renewed(&self, opened: &[Generation]) -> Result<(), Unavailable> {
        let stored = self.secrets_at_rest.deployment_secrets().await?;
        let is_same = stored.keys().eq(opened.iter().map(|generation| &generation.number));
        let newest = opened.last().map_or(FIRST, |generation| generation.number);
        match stored.last_key_value() {
            _ if is_same => Ok(()),
            Some((stored, _)) if *stored >= newest => self.reopen().await.map(drop),
            _ => {
                tracing::error!(
                    "ALARM: the store has an older generation of the deployment's secret than this process: somebody wrote to it"
                );
                Ok(())
            }
        }
    }

    /// Makes sure that it is open, so that rows can be written.
    pub(crate) async fn ensure_open(&self) -> Result<(), Unavailable> {
        self.generations().await.map(drop)
    }

    async fn open_all(&self) -> Result<Generations, Unavailable> {
        let _one_at_a_time = self.opening.lock().await;
        if let Some(opened) = self.opened.load_full() {
            return Ok(Generations::clone(&opened));
        }
        // The keys that open are known once a snapshot was read.
        self.directory.at_hand().await?;
        let generations = self.read_or_make_deployment_secret().await?;
        Ok(self.work_with(generations).await)
    }

    /// Opens what is stored now, whatever was opened before.
    /// Errors: [`Unavailable`] where it can't be opened; what was opened before stays.
    pub(crate) async fn reopen(&self) -> Result<Generations, Unavailable> {
        let _one_at_a_time = self.opening.lock().await;
        let generations = self.open_stored(&self.secrets_at_rest.deployment_secrets().await?).await?;
        Ok(self.work_with(generations).await)
    }

    async fn open_stored(
        &self,
        stored: &std::collections::BTreeMap<u8, SealedCopies>,
    ) -> Result<Vec<Generation>, Unavailable> {
        let known = self.opened.load_full();
        let mut generations = Vec::with_capacity(stored.len());
        for (number, seals) in stored {
            let is_it = |generation: &&Generation| generation.number == *number;
            match known.as_ref().and_then(|known| known.iter().find(is_it)) {
                Some(known) => generations.push(known.clone()),
                None => {
                    let content = self.vault.open(&deployment_row(*number), seals).await?;
                    generations.push(Generation::of(*number, content)?);
                }
            }
        }
        Ok(generations)
    }

    async fn read_or_make_deployment_secret(&self) -> Result<Vec<Generation>, Unavailable> {
        for _ in 0..ROUNDS {
            let stored = self.secrets_at_rest.deployment_secrets().await?;
            if !stored.is_empty() {
                return self.open_stored(&stored).await;
            }
            let content = SecretBytes::new(random::bytes::<OWN>(self.random.as_ref()).to_vec());
            let seals = self.vault.seal(&deployment_row(FIRST), &content).await?;
            if self.secrets_at_rest.keep_deployment_secret(FIRST, &seals).await? {
                return Ok(vec![Generation::of(FIRST, content)?]);
            }
        }
        Err(HsmError::new("open", HsmFailure::DoesNotOpen).into())
    }

    /// Makes the next generation and works with both; where that was done before, goes on with those. Returns them.
    /// Errors: [`Unavailable`] where the secret can't be opened or sealed.
    pub(crate) async fn begin_renewal(&self) -> Result<Generations, Unavailable> {
        let generations = self.generations().await?;
        if let [present] = &*generations {
            let next = present.next(self.random.as_ref())?;
            let mut seals = self.vault.seal(&deployment_row(next.number), &next.content).await?;
            // Another node takes it from what an audit key signed, and from nothing else.
            seals.0.retain(|_, kept| !Envelope::is_one(kept));
            if !self.secrets_at_rest.keep_deployment_secret(next.number, &seals).await? {
                return Err(Unavailable);
            }
            return self.reopen().await;
        }
        Ok(generations)
    }
}

fn derived(secret: &SecretBytes, label: &str, message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let mut context = hmac::Context::with_key(&key);
    // No label holds a NUL: they stand in the source.
    for part in [label.as_bytes(), &[0], message] {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_core::random::OsRandom;

    #[test]
    fn derivations_differ_by_secret_label_and_message() {
        let (one, two) = (SecretBytes::new(vec![1; 32]), SecretBytes::new(vec![2; 32]));
        let all =
            [derived(&one, "a", b"bc"), derived(&two, "a", b"bc"), derived(&one, "ab", b"c"), derived(&one, "a", b"b")];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(derived(&one, "a", b"bc"), all[0]);
    }

    #[test]
    fn a_renewed_secret_is_another_one_and_what_lasts_stays() {
        let Ok(first) = Generation::of(FIRST, SecretBytes::new(vec![1; 32])) else { panic!("32 bytes") };
        let mut before = first.clone();
        for number in 2..5 {
            let Ok(next) = before.next(&OsRandom) else { panic!("{number}") };
            assert_eq!(next.number, number);
            assert_ne!(next.derive("a", b"b"), before.derive("a", b"b"));
            assert_eq!(next.lasting, first.lasting);
            let Ok(read) = Generation::of(number, next.content.clone()) else { panic!("{number}") };
            assert_eq!((read.own, read.lasting), (next.own.clone(), next.lasting.clone()));
            before = next;
        }
        for (number, length) in [(1, 31), (1, 64), (2, 32), (2, 65)] {
            assert!(Generation::of(number, SecretBytes::new(vec![1; length])).is_err(), "{number} {length}");
        }
    }
}
