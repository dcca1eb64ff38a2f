//! One session, and the keys that it knows by their handles: found and judged, each for its purpose.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, ObjectHandle};

use super::error::{Fault, Result};
use super::find_key::{FoundKey, find_key};
use super::session_place::SessionPlace;
use super::session_thread::Shared;
use super::single_part::SinglePartSession;
use crate::wire::{KeyRef, Octets};
use signet_core::keys::hpke::ENCAPSULATED_BYTES;
use signet_core::keys::{HsmFailure, KeyPurpose};

/// A key is found and judged anew after this long: a token may have been re-initialised meanwhile, and a session copy
/// outlives its original.
const HANDLE_LIFETIME: Duration = Duration::from_secs(60);

/// How much longer a known handle is used where the module fails to find its key.
const HANDLE_GRACE: Duration = Duration::from_secs(2);

/// A session with the handles of keys that were found in it.
pub(super) struct KeySession {
    pub(super) shared: Arc<Shared>,
    session: SessionPlace,
    handles: HashMap<Octets, Handle>,
    epoch: u64,
}

struct Handle {
    key_id: String,
    purpose: KeyPurpose,
    object: ObjectHandle,
    is_copy: bool,
    public: Option<[u8; ENCAPSULATED_BYTES]>,
    found_at: Instant,
}

impl Handle {
    /// A key found for one purpose was not judged for another.
    fn is_of(&self, key: &KeyRef) -> bool {
        self.key_id == key.key_id && self.purpose == key.purpose
    }
}

impl KeySession {
    /// A session that knows no key yet.
    pub(super) fn new(shared: Arc<Shared>, session: SinglePartSession) -> Self {
        let epoch = shared.epoch.load(Ordering::Acquire);
        Self { shared, session: SessionPlace::new(session), handles: HashMap::new(), epoch }
    }

    /// Another session in place of the one in which the fault happened, whose session objects are gone with it.
    /// Errors: What the module answered: then there is no session to work with.
    pub(super) fn renew(&mut self, fault: &Fault) -> Result<()> {
        self.handles.clear();
        self.session.renew(fault, || self.shared.token.session())
    }

    /// The session.
    /// Errors: [`HsmFailure::Unavailable`] where it could not be replaced: the worker ends.
    pub(super) fn session(&self) -> Result<&SinglePartSession> {
        self.session.held()
    }

    /// The handle of a key: found and judged once, then remembered.
    pub(super) fn handle(&mut self, key: &KeyRef) -> Result<ObjectHandle> {
        let known = self.handles.get(&key.cka_id).filter(|known| known.is_of(key));
        if let Some(known) = known.filter(|known| known.found_at.elapsed() < HANDLE_LIFETIME) {
            return Ok(known.object);
        }
        let shared = Arc::clone(&self.shared);
        let searching = match (known, shared.token.objects.try_lock()) {
            (_, Some(guard)) => guard,
            // A key is being made, which may take seconds; the known handle is used meanwhile.
            (Some(known), None) => return Ok(known.object),
            (None, None) => shared.token.objects.lock(),
        };
        let found = match self.session().and_then(|session| find_key(session, key)) {
            // The module fails for a while, as beside another process that generates a key: what is known holds on.
            Err(fault) if fault.is_general_error() && self.extend_handle(key) => {
                drop(searching);
                return self.handle(key);
            }
            found => found?,
        };
        self.forget(&key.cka_id);
        let (object, is_copy) = self.working_copy(&found);
        let (key_id, purpose, public) = (key.key_id.clone(), key.purpose, found.public);
        let handle = Handle { key_id, purpose, object, is_copy, public, found_at: Instant::now() };
        self.handles.insert(key.cka_id.clone(), handle);
        Ok(object)
    }

    /// The public half of a pair of P-256 that was found under this name.
    pub(super) fn public_half(&mut self, key: &KeyRef) -> Result<[u8; ENCAPSULATED_BYTES]> {
        self.handle(key)?;
        let known = self.handles.get(&key.cka_id).and_then(|known| known.public);
        known.ok_or_else(|| HsmFailure::KeyMissing(key.key_id.clone()).into())
    }

    /// Uses a known handle of this key for a little longer.
    fn extend_handle(&mut self, key: &KeyRef) -> bool {
        let known = self.handles.get_mut(&key.cka_id).filter(|known| known.is_of(key));
        let Some(known) = known else { return false };
        known.found_at =
            Instant::now().checked_sub(HANDLE_LIFETIME.saturating_sub(HANDLE_GRACE)).unwrap_or(known.found_at);
        known.found_at.elapsed() < HANDLE_LIFETIME
    }

    /// Elliptic-curve keys sign faster as a session object; it is as little extractable as its original. A module may
    /// refuse to copy.
    fn working_copy(&self, found: &FoundKey) -> (ObjectHandle, bool) {
        if !found.is_elliptic {
            return (found.handle, false);
        }
        let copied = |session: &SinglePartSession| Ok(session.copy_object(found.handle, &[Attribute::Token(false)])?);
        self.session().and_then(copied).map_or((found.handle, false), |copy| (copy, true))
    }

    fn forget(&mut self, cka_id: &Octets) {
        if let Some(Handle { object, is_copy: true, .. }) = self.handles.remove(cka_id) {
            // A copy that can't be destroyed goes with the session.
            let _ = self.session().map(|session| session.destroy_object(object));
        }
    }

    /// Lets go of what was found before a key was destroyed.
    pub(super) fn drop_outdated_handles(&mut self) {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch != self.epoch {
            self.epoch = epoch;
            let known: Vec<Octets> = self.handles.keys().cloned().collect();
            known.iter().for_each(|cka_id| self.forget(cka_id));
        }
    }
}
