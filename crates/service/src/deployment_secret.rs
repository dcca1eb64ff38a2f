//! The deployment's secret: what names of accounts, successors of refresh tokens and the keys of rows are derived by, the same
//! whichever HSM token answers. See `docs/decisions/0013-*`, `0034-*` and `0037-*`.
//!
//! It is 32 random bytes, made at `init`, sealed for every HSM token like any secret at rest. The server opens it by any
//! healthy token; from then on it is in memory, wiped at the end, and no derivation asks an HSM. A restore, or a renewal, makes
//! the next generation of it. Beside its 32 bytes that one has the key of what lasts, which all generations share, and for a day that
//! of what travelled under the one before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;

use crate::rows::deployment_row;
use crate::{Directory, Ports, Unavailable};
use signet_core::audit::AuditEvent;
use signet_core::keys::{Envelope, HsmError, HsmFailure, SealedCopies, Vault};
use signet_core::random::{self, Random};
use signet_core::row_keys::RowKeys;
use signet_core::secret::SecretBytes;
use signet_jose::clock::{Clock, Timestamp};
use signet_store::{Renewal, Renewals, SecretsAtRest};

/// The generation that `init` makes.
const FIRST: u8 = 1;
/// The bytes of a generation's own secret.
const OWN: usize = 32;
/// How often a race for the first secret is run again: who loses it reads what the winner wrote.
const ROUNDS: usize = 3;
/// What the key of what lasts is derived by from the first generation.
const LASTING: &str = "lasting";
/// What the key of what travels is derived by.
const TRAVELLING: &str = "travelling";
/// For how long what travelled under a generation is taken after the next one was made.
const TRAVELS: Duration = Duration::from_hours(24);
/// The bytes of a generation after the first: its own, the key of what lasts, that of what travelled under the one before, and
/// until when that is taken, in seconds.
const WHOLE: usize = 3 * OWN + 8;

/// A generation of the secret, opened.
#[derive(Clone)]
pub(crate) struct Generation {
    pub(crate) number: u8,
    /// What is sealed.
    pub(crate) content: SecretBytes,
    own: SecretBytes,
    /// The key of what visitors can compare over years, so that it must not change with the generation.
    lasting: SecretBytes,
    /// The key of what comes back from outside: forms, nonces, the retry of a refresh. No row verifies by it.
    travelling: SecretBytes,
    /// That of the generation before, and until when it is taken.
    travelled: Option<(SecretBytes, Timestamp)>,
}

impl Generation {
    fn of(number: u8, content: SecretBytes) -> Result<Self, Unavailable> {
        let expected = if number == FIRST { OWN } else { WHOLE };
        if content.expose().len() != expected {
            return Err(Unavailable);
        }
        let mut parts = content.expose().chunks(OWN).map(|part| SecretBytes::new(part.to_vec()));
        let own = parts.next().ok_or(Unavailable)?;
        let lasting = parts.next().unwrap_or_else(|| SecretBytes::new(derived(&own, LASTING, b"").to_vec()));
        let travelled = match (parts.next(), parts.next()) {
            (Some(key), Some(until)) => {
                let until = until.expose().try_into().map_err(|_| Unavailable)?;
                Some((key, Timestamp::from_unix_seconds(i64::from_be_bytes(until))))
            }
            _ => None,
        };
        let travelling = SecretBytes::new(derived(&own, TRAVELLING, b"").to_vec());
        Ok(Self { number, content, own, lasting, travelling, travelled })
    }

    /// The next generation, made now.
    fn next(&self, random: &dyn Random, now: Timestamp) -> Result<Self, Unavailable> {
        let own = random::bytes::<OWN>(random);
        let until = now.plus(TRAVELS).unix_seconds().to_be_bytes();
        let parts = [own.as_slice(), self.lasting.expose(), self.travelling.expose(), &until];
        Self::of(self.number.checked_add(1).ok_or(Unavailable)?, SecretBytes::new(parts.concat()))
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

/// What a process finds of a renewal of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// None is under way, or this process has opened no secret yet.
    Nothing,
    /// One is, and this process has opened its generation.
    UnderWay(Renewal),
    /// One is whose generation no HSM token of this node opens: another node left it for this one, or will.
    Left,
}

/// The secret, once it was opened, and what derives from it.
pub(crate) struct DeploymentSecret {
    directory: Arc<Directory>,
    random: Arc<dyn Random>,
    vault: Arc<dyn Vault>,
    secrets_at_rest: Arc<dyn SecretsAtRest>,
    renewals: Arc<dyn Renewals>,
    clock: Arc<dyn Clock>,
    opened: ArcSwapOption<Generations>,
    /// The generation that is made but not written by yet, as far as this process knows; 0 for none.
    announced: AtomicU8,
    opening: tokio::sync::Mutex<()>,
}

impl DeploymentSecret {
    pub(crate) fn new(ports: &Ports, directory: &Arc<Directory>) -> Self {
        Self {
            directory: directory.clone(),
            random: ports.random.clone(),
            vault: ports.vault.clone(),
            secrets_at_rest: ports.store.clone(),
            renewals: ports.store.clone(),
            clock: ports.clock.clone(),
            opened: ArcSwapOption::default(),
            announced: AtomicU8::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` for what comes back from outside within a day. Every node that serves knows its key.
    pub(crate) async fn derive(&self, label: &str, message: &[u8]) -> Result<[u8; 32], Unavailable> {
        // The oldest one: while a renewal begins another node may not have opened the newest yet.
        let oldest = self.generations().await?.first().cloned().ok_or(Unavailable)?;
        Ok(derived(&oldest.travelling, label, message))
    }

    /// Every such HMAC that is taken, the one of [`derive`](Self::derive) first: while the secret is renewed, and for a day after that,
    /// there are several.
    pub(crate) async fn derivations(&self, label: &str, message: &[u8]) -> Result<Vec<[u8; 32]>, Unavailable> {
        let (generations, now) = (self.generations().await?, self.clock.now());
        let earlier =
            generations.first().and_then(|oldest| oldest.travelled.as_ref()).filter(|(_, until)| now < *until);
        let keys = generations.iter().map(|of| &of.travelling).chain(earlier.map(|(key, _)| key));
        Ok(keys.map(|key| derived(key, label, message)).collect())
    }

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` by a key that no renewal changes.
    pub(crate) async fn derive_lasting(&self, label: &str, message: &[u8]) -> Result<[u8; 32], Unavailable> {
        Ok(derived(&self.newest().await?.lasting, label, message))
    }

    /// The newest generation that is written by.
    /// Errors: [`Unavailable`] where it can't be opened.
    pub(crate) async fn newest(&self) -> Result<Generation, Unavailable> {
        let (generations, announced) = (self.generations().await?, self.announced.load(Ordering::Relaxed));
        let written = generations.iter().rev().find(|of| of.number != announced);
        written.or(generations.last()).cloned().ok_or(Unavailable)
    }

    /// Looks whether the secret is being renewed, opens the new generation and says so.
    /// Errors: [`Unavailable`] where the store is not at hand.
    pub(crate) async fn follow(&self) -> Result<Following, Unavailable> {
        let renewal = self.renewals.renewal().await?;
        let announced = renewal.filter(|renewal| renewal.writes_since.is_none()).map(|renewal| renewal.generation);
        self.announced.store(announced.unwrap_or_default(), Ordering::Relaxed);
        // Without a secret there is nothing to follow, and the first who needs it opens all.
        let (Some(renewal), Some(opened)) = (renewal, self.opened.load_full()) else { return Ok(Following::Nothing) };
        let is_opened = opened.iter().any(|of| of.number == renewal.generation);
        if !is_opened && self.reopen().await.is_err() {
            return Ok(Following::Left);
        }
        if renewal.writes_since.is_none() {
            self.renewals.say_opened(renewal.generation).await?;
        }
        Ok(Following::UnderWay(renewal))
    }

    /// Makes the next generation, by which nothing is written before every node has opened it; `false` where a renewal is under way.
    /// Errors: [`Unavailable`] where the secret can't be opened or sealed.
    pub(crate) async fn announce(&self, audit: impl FnOnce(u8) -> AuditEvent + Send) -> Result<bool, Unavailable> {
        let generations = self.reopen().await?;
        let [present] = &*generations else { return Ok(false) };
        let (next, seals) = self.make_next(present).await?;
        let told = vec![audit(next.number)];
        self.announced.store(next.number, Ordering::Relaxed);
        Ok(self.renewals.begin_renewal(next.number, &seals, self.clock.now(), told).await?)
    }

    async fn make_next(&self, present: &Generation) -> Result<(Generation, SealedCopies), Unavailable> {
        let next = present.next(self.random.as_ref(), self.clock.now())?;
        let mut seals = self.vault.seal(&deployment_row(next.number), &next.content).await?;
        // Another node takes it from what an audit key signed, and from nothing else.
        seals.0.retain(|_, kept| !Envelope::is_one(kept));
        Ok((next, seals))
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
        let opened = self.opened.load_full();
        match opened.as_deref().and_then(|opened| opened.last()) {
            Some(opened) if opened.number == number && opened.content == adopted.content => Ok(()),
            // One that was renewed is the next, and has what lasts of the one before.
            Some(last) if last.number.checked_add(1) == Some(number) && last.lasting == adopted.lasting => {
                let known = opened.iter().flat_map(|opened| opened.iter().cloned());
                self.work_with(known.chain([adopted]).collect()).await;
                Ok(())
            }
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
        let stored = self.not_before(self.secrets_at_rest.deployment_secrets().await?);
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
        let stored = self.not_before(self.secrets_at_rest.deployment_secrets().await?);
        let generations = self.open_stored(&stored).await?;
        Ok(self.work_with(generations).await)
    }

    /// What is stored, without generations that were over before this process opened the oldest that it has: nobody brings one back.
    fn not_before(&self, mut stored: BTreeMap<u8, SealedCopies>) -> BTreeMap<u8, SealedCopies> {
        let opened = self.opened.load_full();
        let Some(oldest) = opened.as_deref().and_then(|opened| opened.first()) else { return stored };
        let is_before = |number: &u8| *number < oldest.number;
        if stored.keys().any(is_before) {
            tracing::error!(
                "ALARM: the store has a generation of the deployment's secret again that is over: somebody wrote to it"
            );
        }
        stored.retain(|number, _| !is_before(number));
        stored
    }

    async fn open_stored(&self, stored: &BTreeMap<u8, SealedCopies>) -> Result<Vec<Generation>, Unavailable> {
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

    /// Makes the next generation, by which rows are written at once, and works with all; where that was done before, goes on with those.
    /// Returns them.
    /// Errors: [`Unavailable`] where the secret can't be opened or sealed.
    pub(crate) async fn begin_renewal(&self) -> Result<Generations, Unavailable> {
        let generations = self.generations().await?;
        // One that servers had begun may have been used in the time that was lost: it is none to go on with.
        let is_of_servers = self.renewals.renewal().await?.is_some();
        if let Some(newest) = generations.last().filter(|_| generations.len() == 1 || is_of_servers) {
            let (next, seals) = self.make_next(newest).await?;
            if !self.secrets_at_rest.keep_deployment_secret(next.number, &seals).await? {
                return Err(Unavailable);
            }
            self.announced.store(0, Ordering::Relaxed);
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
            let now = Timestamp::from_unix_seconds(1000);
            let Ok(next) = before.next(&OsRandom, now) else { panic!("{number}") };
            assert_eq!(next.number, number);
            assert_eq!(next.travelled, Some((before.travelling.clone(), now.plus(TRAVELS))));
            assert!(
                !next.content.expose().windows(OWN).any(|part| part == before.own.expose()),
                "no row key is handed on"
            );
            assert_ne!(next.derive("a", b"b"), before.derive("a", b"b"));
            assert_eq!(next.lasting, first.lasting);
            let Ok(read) = Generation::of(number, next.content.clone()) else { panic!("{number}") };
            assert_eq!((read.own, read.lasting), (next.own.clone(), next.lasting.clone()));
            assert_eq!((read.travelling, read.travelled), (next.travelling.clone(), next.travelled.clone()));
            before = next;
        }
        for (number, length) in [(1, 31), (1, 64), (1, 104), (2, 32), (2, 64), (2, 105)] {
            assert!(Generation::of(number, SecretBytes::new(vec![1; length])).is_err(), "{number} {length}");
        }
    }
}
