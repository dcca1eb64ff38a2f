//! What is known of keys, clients and settings without asking the store each time.
//!
//! A snapshot holds for one generation of the tenant's keys, one of its clients, and one of its settings. A success that was judged by a snapshot is
//! confirmed by the generations that come back with the commit of its audit record; a failure is judged again by a fresh
//! snapshot. So the server sees a change by another process or node at once, and a thousand tokens a second cost no reading.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use signet_core::keys::{HsmKey, KeyAdmin, KeyPurpose};
use signet_core::oauth::{Client, ClientId};
use signet_jose::{Algorithm, JwkSet, KeyId, VerifyingKey};
use signet_store::{Generations, Store, StoreError, StoreFailure};

use crate::Settings;
use crate::settings::registry::read_document;

/// A signing key with its public half made ready to verify.
pub struct RingKey {
    /// The key as the store knows it.
    pub key: HsmKey,
    /// Its public half.
    pub verifying: VerifyingKey,
}

/// Keys and clients as of their generations.
pub struct Snapshot {
    /// The generations.
    pub generations: Generations,
    ring: Arc<[Arc<RingKey>]>,
    audit: Arc<[Arc<RingKey>]>,
    clients: Mutex<HashMap<ClientId, Arc<Client>>>,
}

/// The most clients that a snapshot remembers; more are read each time.
const REMEMBERED_CLIENTS: usize = 10_000;

impl Snapshot {
    /// Whether it holds what is of at least these generations.
    pub fn is_of(&self, generations: Generations) -> bool {
        let Generations { keys, clients, settings, .. } = self.generations;
        keys >= generations.keys && clients >= generations.clients && settings >= generations.settings
    }

    /// The token-signing keys that are published, the active ones among them.
    pub fn published(&self) -> impl Iterator<Item = &Arc<RingKey>> {
        self.ring.iter().filter(|key| key.key.state.is_published())
    }

    /// The keys that sign tokens with this algorithm: one for each HSM token.
    pub fn active(&self, algorithm: Algorithm) -> impl Iterator<Item = &Arc<RingKey>> {
        self.ring.iter().filter(move |key| key.key.state.is_active() && key.verifying.algorithm() == algorithm)
    }

    /// The published key of this name.
    pub fn by_id(&self, key_id: &KeyId) -> Option<&Arc<RingKey>> {
        self.published().find(|key| key.key.key_id == *key_id)
    }

    /// The keys that sign audit checkpoints.
    pub fn audit_keys(&self) -> &[Arc<RingKey>] {
        &self.audit
    }

    /// The JWKS document's keys.
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.published().map(|key| key.verifying.jwk().clone()).collect() }
    }
}

/// Keeps the current [`Snapshot`].
pub struct Directory {
    settings: Arc<Settings>,
    store: Arc<dyn Store>,
    key_admin: Arc<dyn KeyAdmin>,
    snapshot: ArcSwapOption<Snapshot>,
    loading: tokio::sync::Mutex<()>,
}

impl Directory {
    /// A directory that has read nothing yet.
    pub fn new(settings: Arc<Settings>, store: Arc<dyn Store>, key_admin: Arc<dyn KeyAdmin>) -> Self {
        Self { settings, store, key_admin, snapshot: ArcSwapOption::empty(), loading: tokio::sync::Mutex::default() }
    }

    /// The snapshot that is at hand, perhaps of older generations.
    /// Errors: [`StoreError`] where none is at hand and the store can't be read.
    pub async fn at_hand(&self) -> Result<Arc<Snapshot>, StoreError> {
        match self.snapshot.load_full() {
            Some(snapshot) => Ok(snapshot),
            None => self.fresh().await,
        }
    }

    /// Forgets what was read: the next one who asks reads anew.
    pub(crate) async fn forget(&self) {
        // Whoever reads just now may have begun before.
        let _one_at_a_time = self.loading.lock().await;
        self.snapshot.store(None);
    }

    /// The snapshot of the store's generations now.
    /// Errors: [`StoreError`] where the store can't be read.
    pub async fn fresh(&self) -> Result<Arc<Snapshot>, StoreError> {
        let generations = self.store.generations(&self.settings.tenant).await?;
        self.of_generations(generations).await
    }

    /// A snapshot of at least these generations. What they say has not changed is taken over from the one before.
    /// Errors: [`StoreError`] where the store can't be read.
    pub async fn of_generations(&self, generations: Generations) -> Result<Arc<Snapshot>, StoreError> {
        let is_current = |snapshot: &Arc<Snapshot>| snapshot.is_of(generations);
        if let Some(snapshot) = self.snapshot.load_full().filter(is_current) {
            return Ok(snapshot);
        }
        let _one_at_a_time = self.loading.lock().await;
        let before = self.snapshot.load_full();
        if let Some(snapshot) = before.clone().filter(is_current) {
            return Ok(snapshot);
        }
        // What is read after the generations may be newer than they are, never older.
        let same_settings = before.as_ref().filter(|before| before.generations.settings >= generations.settings);
        let has_same_settings = same_settings.is_some();
        let same_ring = before.filter(|before| before.generations.keys >= generations.keys);
        let snapshot = Arc::new(match same_ring {
            Some(before) => Snapshot {
                generations: Generations { keys: before.generations.keys, ..generations },
                ring: Arc::clone(&before.ring),
                audit: Arc::clone(&before.audit),
                clients: Mutex::default(),
            },
            None => {
                let keys = self.store.keys().await?;
                let snapshot = self.assemble(generations, &keys);
                self.key_admin.use_keys(keys);
                snapshot
            }
        });
        if !has_same_settings {
            self.read_settings(&snapshot).await?;
        }
        self.snapshot.store(Some(snapshot.clone()));
        Ok(snapshot)
    }

    /// Goes by what is stated in the store.
    /// Errors: what is stated can't be read, or is gone: whoever has a key to sign with has stated settings before.
    async fn read_settings(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let refused = |failure: StoreFailure| failure.during("read the settings");
        let Some(statement) = self.store.settings(&self.settings.tenant).await? else {
            let gone = "the settings of the tenant are not in the store any more: somebody deleted them. Put a backup back (`signet restore`)";
            return if snapshot.ring.is_empty() {
                Ok(())
            } else {
                Err(refused(StoreFailure::Refused(gone.to_owned())))
            };
        };
        let document = read_document(&statement).map_err(refused)?;
        let settings = self.settings.judge(&document).map_err(|fault| {
            let problem = format!("the settings of the tenant can't be used by this program: {fault}");
            refused(StoreFailure::Refused(problem))
        })?;
        self.settings.go_by(settings);
        Ok(())
    }

    fn assemble(&self, generations: Generations, keys: &[HsmKey]) -> Snapshot {
        let ready = |purpose: KeyPurpose| {
            keys.iter()
                .filter(|key| key.purpose == purpose && key.tenant == self.settings.tenant)
                .filter_map(|key| {
                    let verifying = VerifyingKey::new(key.public.clone()?);
                    Some(Arc::new(RingKey { key: key.clone(), verifying }))
                })
                .collect::<Arc<[_]>>()
        };
        Snapshot {
            generations,
            ring: ready(KeyPurpose::TokenSigning),
            audit: ready(KeyPurpose::AuditSigning),
            clients: Mutex::default(),
        }
    }

    /// A client as of a snapshot.
    /// Errors: [`StoreError`] where the store can't be read.
    pub async fn client(&self, snapshot: &Snapshot, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        let known = |id| snapshot.clients.lock().get(id).cloned();
        if let Some(client) = known(id) {
            return Ok(Some(client));
        }
        let Some(client) = self.store.client(&self.settings.tenant, id).await? else { return Ok(None) };
        let client = Arc::new(client);
        let mut clients = snapshot.clients.lock();
        if clients.len() < REMEMBERED_CLIENTS {
            clients.insert(id.clone(), client.clone());
        }
        Ok(Some(client))
    }
}
