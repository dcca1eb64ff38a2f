//! Rotation of the signing keys: generates the next key ahead of time, has it sign once every verifier knows it, takes the
//! old one out of the JWKS after its last token has expired, and destroys it in its HSM token (promise 6).
//!
//! For each HSM token one process does this that reaches it, by a lease of the token in the store; nobody judges keys in a token
//! that it does not reach. The lease saves work; what keeps two processes from harm where a lease changes hands unnoticed is that
//! each step is a conditional write.

mod plan;
pub mod steps;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::InitialiseError;
use crate::key_ring::key_maker::KeyRequest;
use crate::key_ring::rotation::plan::{Step, View, plan};
use crate::{ChangeError, KeyChanges, KeyMaker, Members};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::keys::{HsmFailure, HsmKey, HsmName, KeyEnd, KeyState};
use signet_jose::{Algorithm, KeyId};
use signet_store::{Beside, StoreError};

pub use plan::stage_ends;

pub(crate) use plan::rsa_bits;

/// The name in the store of the lease for one HSM token.
fn lease_of(hsm: &HsmName) -> String {
    format!("rotation/{hsm}")
}

/// How long a process that died keeps the others waiting.
const LEASE_LASTS: Duration = Duration::from_secs(15);
/// How often it is renewed, or asked for.
const LEASE_RENEWED: Duration = Duration::from_secs(5);
/// How long a key that somebody else is generating is waited for.
pub(crate) const OTHERS_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it is there.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a step that failed waits at most until it is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// A key in one stage of its life.
type KeyStage = (KeyId, HsmName, &'static str, i64);

/// A step that failed lately.
struct Pause {
    until: Instant,
    lasts: Duration,
}

/// When a lease was asked for, and whether it was given.
#[derive(Clone, Copy)]
struct Lease {
    asked: Instant,
    is_held: bool,
}

/// The one process's work on the key ring, or its wait for it.
pub struct Rotator {
    rotation: Arc<Rotation>,
    holder: String,
    leases: HashMap<HsmName, Lease>,
    /// Since when each key was seen in its stage, by a clock that nobody sets.
    seen: HashMap<KeyStage, Instant>,
    /// Revoked keys that the workers have let go of; `None` before the first look.
    let_go: Option<HashSet<KeyId>>,
    noted_generation: Option<i64>,
    pauses: HashMap<String, Pause>,
}

impl Rotator {
    /// A rotator that has not begun; `holder` names the process in the lease.
    pub fn new(rotation: Arc<Rotation>, holder: String) -> Self {
        Self {
            rotation,
            holder,
            leases: HashMap::new(),
            seen: HashMap::new(),
            let_go: None,
            noted_generation: None,
            pauses: HashMap::new(),
        }
    }

    /// How often to [`work`](Self::work).
    pub fn interval(&self) -> Duration {
        (self.rotation.settings.current().keys.publish_ahead / 20)
            .clamp(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// Looks at the ring once and does what is due.
    /// Errors: [`StoreError`] where the store can't be read. Steps that fail are audited, and tried again later.
    pub async fn work(&mut self) -> Result<(), StoreError> {
        self.note_lifetime().await?;
        let keys = self.rotation.keys.keys().await?;
        self.look_at(&keys);
        self.let_go_of_revoked(&keys).await;
        self.renew_leases().await?;
        for step in self.plan(&keys).await? {
            let name = name_of(&step);
            if self.pauses.get(&name).is_some_and(|pause| Instant::now() < pause.until) {
                continue;
            }
            // A step before this one may have taken its time.
            if !self.holds_lease(hsm_of(&step)).await? {
                continue;
            }
            match self.rotation.changes.rotate_by(&step, &RequestContext::default()).await {
                Ok(()) => {
                    self.pauses.remove(&name);
                }
                Err(error) => {
                    let pause = self.pause(&name);
                    self.rotation.tell_failed_rotation(&step, &error, pause).await;
                }
            }
        }
        Ok(())
    }

    async fn plan(&self, keys: &[HsmKey]) -> Result<Vec<Step>, StoreError> {
        let rotation = &self.rotation;
        let announced = rotation.keys.announced_keys().await?;
        let hsms = rotation.key_admin.tokens();
        let live = rotation.members.live_members().await?;
        let members: Vec<HsmName> = hsms.iter().filter(|hsm| live.contains(hsm)).cloned().collect();
        let elsewhere: Vec<HsmName> = live.into_iter().filter(|hsm| !hsms.contains(hsm)).collect();
        let seen = |key: &HsmKey| self.seen.get(&seen_as(key)).map_or(Duration::ZERO, Instant::elapsed);
        Ok(plan(&View {
            keys,
            announced: &announced,
            hsms: &hsms,
            members: &members,
            elsewhere: &elsewhere,
            tenant: &rotation.settings.tenant,
            algorithm: rotation.settings.current().algorithm,
            settings: rotation.settings.current().keys,
            now: rotation.clock.now(),
            seen: &seen,
        }))
    }

    /// Says for how long tokens last here, for each key that began to sign since.
    async fn note_lifetime(&mut self) -> Result<(), StoreError> {
        let generation = self.rotation.membership.generations(&self.rotation.settings.tenant).await?.keys;
        if self.noted_generation != Some(generation) {
            let settings = &self.rotation.settings;
            self.rotation.keys.raise_token_lifetime(&settings.tenant, settings.current().access_lifetime).await?;
            self.noted_generation = Some(generation);
        }
        Ok(())
    }

    fn look_at(&mut self, keys: &[HsmKey]) {
        let mut seen = HashMap::with_capacity(keys.len());
        for key in keys.iter().filter(|key| key.state.is_published()) {
            let stage = seen_as(key);
            let since = self.seen.get(&stage).copied().unwrap_or_else(Instant::now);
            seen.insert(stage, since);
        }
        self.seen = seen;
    }

    /// Has the workers of this process drop the copies of keys that somebody revoked.
    async fn let_go_of_revoked(&mut self, keys: &[HsmKey]) {
        let is_revoked = |key: &&HsmKey| key.state.end() == Some(KeyEnd::Revoked);
        let revoked: Vec<&HsmKey> = keys.iter().filter(is_revoked).collect();
        let Some(let_go) = &mut self.let_go else {
            self.let_go = Some(revoked.into_iter().map(|key| key.key_id.clone()).collect());
            return;
        };
        for key in revoked {
            if !let_go.contains(&key.key_id) {
                match self.rotation.key_admin.forget(&key.hsm).await {
                    // A worker that does not answer holds nothing when it does again.
                    Ok(()) | Err(_) => let_go.insert(key.key_id.clone()),
                };
            }
        }
    }

    /// Asks for the lease of each HSM token that this process reaches, so that another one waits only where this one works.
    async fn renew_leases(&mut self) -> Result<(), StoreError> {
        for hsm in self.rotation.key_admin.tokens() {
            self.holds_lease(&hsm).await?;
        }
        Ok(())
    }

    async fn holds_lease(&mut self, hsm: &HsmName) -> Result<bool, StoreError> {
        let known = self.leases.get(hsm).copied();
        if let Some(known) = known.filter(|known| known.asked.elapsed() < LEASE_RENEWED) {
            return Ok(known.is_held);
        }
        let now = self.rotation.clock.now();
        // Counted from before the answer: the lease ends earlier here than in the store.
        let asked = Instant::now();
        let is_held = self.rotation.leases.take_lease(&lease_of(hsm), &self.holder, now, LEASE_LASTS).await?;
        if is_held && known.is_none_or(|known| !known.is_held) {
            tracing::debug!(%hsm, "this process looks after the keys in the HSM token");
        }
        self.leases.insert(hsm.clone(), Lease { asked, is_held });
        Ok(is_held)
    }

    fn pause(&mut self, name: &str) -> Duration {
        let first = (self.rotation.settings.current().keys.publish_ahead / 4)
            .clamp(Duration::from_millis(250), Duration::from_secs(60));
        let lasts = self.pauses.get(name).map_or(first, |pause| (pause.lasts * 2).min(MAX_PAUSE));
        self.pauses.insert(name.to_owned(), Pause { until: Instant::now() + lasts, lasts });
        lasts
    }
}

module! {
    /// What a rotation works with, and what it tells of itself.
    pub struct Rotation {
        takes settings, clock, key_admin, membership, keys, leases, audit;
        calls members: Members, changes: KeyChanges, key_maker: KeyMaker;
    }
}

/// What became of a rotation that somebody asked for, in one HSM token.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The key that comes next.
    pub key: HsmKey,
    /// Whether it was generated just now; one that was next already serves.
    pub created: bool,
}

impl Rotation {
    /// Begins a rotation now: generates the key that comes next in an HSM token, where none is next there. Somebody else who is making
    /// it is waited for.
    /// Errors: [`ChangeError`]: the old key signs on; the audit log says so.
    pub async fn begin_rotation(
        &self,
        hsm: &HsmName,
        algorithm: Algorithm,
        rsa_bits: u32,
        context: &RequestContext,
    ) -> Result<Begun, ChangeError> {
        let wanted = KeyRequest::signing(hsm, algorithm, rsa_bits, Beside::Active, OTHERS_PATIENCE);
        let begun = self.next_key(&wanted, algorithm, context).await;
        if let Err(error) = &begun {
            self.tell_rotation_not_begun(hsm, error, context).await?;
        }
        begun
    }

    async fn next_key(
        &self,
        wanted: &KeyRequest,
        algorithm: Algorithm,
        context: &RequestContext,
    ) -> Result<Begun, ChangeError> {
        let is_next = |key: &HsmKey| {
            let signs_alike = key.public.as_ref().is_some_and(|jwk| jwk.algorithm == algorithm);
            key.hsm == wanted.hsm && signs_alike && matches!(key.state, KeyState::Next { .. })
        };
        let until = Instant::now() + 2 * OTHERS_PATIENCE;
        loop {
            if let Some(key) = self.keys.keys().await?.into_iter().find(is_next) {
                return Ok(Begun { key, created: false });
            }
            if let Some(key) = self.key_maker.generate_wanted(wanted, context).await? {
                return Ok(Begun { key, created: true });
            }
            if Instant::now() >= until {
                return Err(ChangeError::Conflict(InitialiseError::PlaceTaken(wanted.hsm.clone()).to_string()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Gives the leases of the rotation back, so that another process need not wait for their end.
    /// Errors: [`StoreError`]: the leases run out by themselves.
    pub async fn end_rotation(&self, holder: &str) -> Result<(), StoreError> {
        for hsm in self.key_admin.tokens() {
            self.leases.end_lease(&lease_of(&hsm), holder).await?;
        }
        Ok(())
    }

    /// Tells the audit log that a rotation that a person asked for did not begin.
    async fn tell_rotation_not_begun(
        &self,
        hsm: &HsmName,
        error: &ChangeError,
        context: &RequestContext,
    ) -> Result<(), StoreError> {
        let draft = AuditEvent::new(Event::KeyRotated, Outcome::Failed, self.settings.tenant.as_str(), context);
        let draft =
            draft.because(reason_of(error)).detail(format!("generate the next key in HSM token {hsm}: {error}"));
        self.audit.append(vec![draft]).await.map(drop)
    }

    async fn tell_failed_rotation(&self, step: &Step, error: &ChangeError, pause: Duration) {
        let (name, reason) = (name_of(step), reason_of(error));
        tracing::error!(%error, %reason, again_in = ?pause, "ALARM: a step of the key rotation failed: {name}");
        let tenant = self.settings.tenant.as_str();
        let draft = AuditEvent::new(Event::KeyRotated, Outcome::Failed, tenant, &RequestContext::default());
        let draft = draft.because(reason).detail(format!("{name}: {error}"));
        if let Err(error) = self.audit.append(vec![draft]).await {
            tracing::error!(%error, "the alarm could not be written to the audit log");
        }
    }
}

fn seen_as(key: &HsmKey) -> KeyStage {
    (key.key_id.clone(), key.hsm.clone(), key.state.name(), key.state.since().unix_millis())
}

/// The HSM token whose key a step is about.
fn hsm_of(step: &Step) -> &HsmName {
    match step {
        Step::HandOver { successor, .. } => &successor.hsm,
        Step::Generate { hsm, .. } => hsm,
        Step::Withdraw(key) | Step::Destroy(key) => &key.hsm,
        Step::Sweep(announced) => &announced.hsm,
    }
}

/// The step in words, the same each time that it is tried.
fn name_of(step: &Step) -> String {
    match step {
        Step::HandOver { successor, .. } => format!("have {} sign", successor.key_id),
        Step::Generate { hsm, algorithm, .. } => format!("generate the next {algorithm} key in HSM token {hsm}"),
        Step::Withdraw(key) => format!("take {} out of the JWKS", key.key_id),
        Step::Destroy(key) => format!("destroy {} in HSM token {}", key.key_id, key.hsm),
        Step::Sweep(key) => format!("remove what was left in HSM token {}", key.hsm),
    }
}

/// Why a step failed, in a fixed word.
fn reason_of(error: &ChangeError) -> Reason {
    let ChangeError::Hsm(error) = error else {
        return if matches!(error, ChangeError::Store(_)) { Reason::StoreFailed } else { Reason::RefusedByRule };
    };
    match &error.failure {
        HsmFailure::Module { code, .. } if code == "CKR_DEVICE_MEMORY" => Reason::HsmTokenFull,
        HsmFailure::KeyMissing(_) => Reason::KeyMissing,
        HsmFailure::CustodyRefused { .. } => Reason::KeyRefused,
        _ => Reason::HsmFailed,
    }
}
