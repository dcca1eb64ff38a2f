//! One thread, one session: it does what the request queue gives it, and knows its keys by their handles.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, ObjectHandle};

use super::error::{Fault, Remedy};
use super::find_key::{FoundKey, find_key};
use super::request_queue::{Job, RequestQueue};
use super::response_writer::ResponseWriter;
use super::session_place::SessionPlace;
use super::signing_guard::{Permit, SigningGuard};
use super::single_part::SinglePartSession;
use super::token::Token;
use crate::wire::{Answer, KeyRef, Octets, Operation, START_ID};
use signet_core::keys::{HsmFailure, KeyPurpose};
use signet_jose::Algorithm;

/// A key is found and judged anew after this long: a token may have been re-initialised meanwhile, and a session copy
/// outlives its original.
const HANDLE_LIFETIME: Duration = Duration::from_secs(60);

/// How much longer a known handle is used where the module fails to find its key.
const HANDLE_GRACE: Duration = Duration::from_secs(2);

/// An operation that took no longer may be done before earlier answers are written.
const BRIEF: Duration = Duration::from_micros(150);

/// What all threads of the worker share.
pub(super) struct Shared {
    pub(super) token: Token,
    pub(super) guard: SigningGuard,
    pub(super) queue: RequestQueue,
    pub(super) responses: Arc<ResponseWriter>,
    /// Rises when a key is destroyed: handles of an earlier epoch are not used.
    pub(super) epoch: AtomicU64,
}

/// A thread that owns one session, with the handles of keys that were found in it.
pub(super) struct SessionThread {
    pub(super) shared: Arc<Shared>,
    session: SessionPlace,
    handles: HashMap<Octets, Handle>,
    epoch: u64,
    last_took: HashMap<Option<Algorithm>, Duration>,
    /// The last operation ended in a code that nobody knows, and nothing has succeeded since.
    is_suspect: bool,
}

struct Handle {
    key_id: String,
    purpose: KeyPurpose,
    object: ObjectHandle,
    is_copy: bool,
    found_at: Instant,
}

impl Handle {
    /// A key found for one purpose was not judged for another.
    fn is_of(&self, key: &KeyRef) -> bool {
        self.key_id == key.key_id && self.purpose == key.purpose
    }
}

/// How an operation ended.
enum Ending {
    Answered(Result<Answer, HsmFailure>),
    /// The request fails, and so does the worker.
    Fatal(HsmFailure),
}

impl SessionThread {
    /// A thread's place of work.
    pub(super) fn new(shared: Arc<Shared>, session: SinglePartSession) -> Self {
        let epoch = shared.epoch.load(Ordering::Acquire);
        let session = SessionPlace::new(session);
        Self { shared, session, handles: HashMap::new(), epoch, last_took: HashMap::new(), is_suspect: false }
    }

    /// Works until the conversation ends.
    pub(super) fn work(mut self) {
        while let Some(job) = self.next_job() {
            if let Some(failure) = job.expired() {
                self.shared.responses.add(job.id, Err(failure));
                continue;
            }
            self.drop_outdated_handles();
            let started = Instant::now();
            let ending = match self.shared.guard.authorize(&job.operation) {
                Ok(permit) => {
                    let ending = self.perform(&job.operation);
                    self.accounted(&job, permit, ending)
                }
                Err(refusal) => Ending::Answered(Err(refusal)),
            };
            self.last_took.insert(class(&job.operation), started.elapsed());
            match ending {
                Ending::Answered(result) => {
                    if self.shared.responses.add(job.id, result) {
                        self.shared.responses.flush();
                    }
                }
                Ending::Fatal(failure) => {
                    self.shared.end(job.id, failure);
                    return;
                }
            }
        }
    }

    /// Answers wait for the next operation only where that one is known to be brief.
    fn next_job(&self) -> Option<Job> {
        if let Some(job) = self.shared.queue.waiting() {
            let brief = self.last_took.get(&class(&job.operation)).is_some_and(|took| *took < BRIEF);
            if !brief {
                self.shared.responses.flush();
            }
            return Some(job);
        }
        self.shared.responses.flush();
        self.shared.queue.next()
    }

    /// What was not signed in the end is not counted. Once nobody waits for it any more the caller counts it as perhaps
    /// signed: from then on the count stays, and the answer is that the time is up.
    fn accounted(&self, job: &Job, permit: Option<Permit>, ending: Ending) -> Ending {
        let (Some(permit), Ending::Answered(Err(failure))) = (permit, &ending) else { return ending };
        match job.expired() {
            Some(expired) => {
                eprintln!("a signature failed after its time was up: {failure}");
                Ending::Answered(Err(expired))
            }
            None => {
                self.shared.guard.take_back(permit);
                ending
            }
        }
    }

    /// Does one operation; again after a stale session or handle, and again after a logout, each mended once.
    fn perform(&mut self, operation: &Operation) -> Ending {
        let (mut is_renewed, mut is_logged_in) = (false, false);
        loop {
            let logins = self.shared.token.logins();
            let fault = match self.attempt(operation) {
                Ok(answer) => {
                    self.is_suspect = false;
                    return Ending::Answered(Ok(answer));
                }
                Err(fault) => fault,
            };
            let session = self.session().ok().map(|session| &**session);
            match self.shared.token.remedy(&fault, session, logins) {
                Remedy::Answer => return Ending::Answered(Err(fault.into_failure())),
                Remedy::Discard => return self.renewed(fault),
                Remedy::Suspect if !self.is_suspect => {
                    self.is_suspect = true;
                    return self.renewed(fault);
                }
                Remedy::Retry if !is_renewed => is_renewed = true,
                Remedy::Login if !is_logged_in => {
                    is_logged_in = true;
                    let logged_in =
                        self.session().map(|session| self.shared.token.log_in_again(session).map_err(Fault::from));
                    if let Err(fault) = logged_in.flatten() {
                        return Ending::Fatal(fault.into_failure());
                    }
                }
                // What was mended is broken again: the module itself is stale.
                Remedy::Restart | Remedy::Suspect | Remedy::Retry | Remedy::Login => {
                    return Ending::Fatal(fault.into_unavailable());
                }
            }
            if let Err(fault) = self.renew(&fault) {
                return Ending::Fatal(fault.into_unavailable());
            }
        }
    }

    /// After an error an operation may still be active in the session: it is replaced.
    fn renewed(&mut self, fault: Fault) -> Ending {
        match self.renew(&fault) {
            Ok(()) => Ending::Answered(Err(fault.into_failure())),
            Err(fault) => Ending::Fatal(fault.into_unavailable()),
        }
    }

    /// Another session in place of the one in which the fault happened, whose session objects are gone with it.
    /// Errors: What the module answered: then there is no session to work with.
    pub(super) fn renew(&mut self, fault: &Fault) -> Result<(), Fault> {
        self.handles.clear();
        self.session.renew(fault, || self.shared.token.session())
    }

    /// The session.
    /// Errors: [`HsmFailure::Unavailable`] where it could not be replaced: the worker ends.
    pub(super) fn session(&self) -> Result<&SinglePartSession, Fault> {
        self.session.held()
    }

    fn attempt(&mut self, operation: &Operation) -> Result<Answer, Fault> {
        match operation {
            Operation::Sign { key, algorithm, message } => {
                let handle = self.handle(key)?;
                let (mechanism, data) = self.shared.token.mechanisms().prepare(*algorithm, &message.0)?;
                Ok(Answer::Signature(Octets(self.session()?.sign(&mechanism, handle, &data)?)))
            }
            Operation::Seal { keys, row, kind, secret } => self.seal(keys, &row.0, *kind, &secret.0),
            Operation::Open { keys, row, blob } => self.open(keys, &row.0, &blob.0),
            Operation::OtpHmac { keys, row, blob, hash, messages } => {
                self.otp_hmac(keys, &row.0, &blob.0, *hash, messages)
            }
            Operation::DecryptBlock { keys, row, blob, block } => self.decrypt_block(keys, &row.0, &blob.0, *block),
            Operation::ExportSecret { keys, row, kind, blob } => self.export_secret(keys, &row.0, *kind, &blob.0),
            Operation::Rebind { keys, from, to, kind, blob } => self.rebind(keys, &from.0, &to.0, *kind, &blob.0),
            Operation::Derive { key, input } => self.derive(key, &input.0),
            Operation::Describe
            | Operation::List
            | Operation::Tally
            | Operation::Check { .. }
            | Operation::GeneratePair { .. }
            | Operation::GenerateSecret { .. }
            | Operation::Destroy { .. }
            | Operation::Forget => {
                Err(HsmFailure::Module { function: "a session thread".into(), code: "was asked to manage keys".into() }
                    .into())
            }
        }
    }

    /// The handle of a key: found and judged once, then remembered.
    pub(super) fn handle(&mut self, key: &KeyRef) -> Result<ObjectHandle, Fault> {
        let known = self.handles.get(&key.cka_id).filter(|known| known.is_of(key));
        if let Some(known) = known.filter(|known| known.found_at.elapsed() < HANDLE_LIFETIME) {
            return Ok(known.object);
        }
        let shared = Arc::clone(&self.shared);
        let searching = match (known, shared.token.try_lock_objects()) {
            (_, Some(guard)) => guard,
            // A key is being made, which may take seconds; the known handle is used meanwhile.
            (Some(known), None) => return Ok(known.object),
            (None, None) => shared.token.lock_objects(),
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
        let handle =
            Handle { key_id: key.key_id.clone(), purpose: key.purpose, object, is_copy, found_at: Instant::now() };
        self.handles.insert(key.cka_id.clone(), handle);
        Ok(object)
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

    fn drop_outdated_handles(&mut self) {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch != self.epoch {
            self.epoch = epoch;
            let known: Vec<Octets> = self.handles.keys().cloned().collect();
            for cka_id in known {
                self.forget(&cka_id);
            }
        }
    }
}

impl Shared {
    /// Ends the worker: a refused PIN is told as its last word. To whoever asked something it is not available: a login
    /// that failed says nothing of what the other sessions have in hand, nor is what was counted taken back.
    pub(super) fn end(&self, id: u64, failure: HsmFailure) {
        eprintln!("the worker ends: {failure}");
        if matches!(failure, HsmFailure::PinRefused { .. }) {
            self.responses.add(START_ID, Err(failure.clone()));
        }
        self.responses.add(id, Err(failure.into_unavailable()));
        self.responses.hang_up();
    }
}

/// Operations that take about as long as each other.
fn class(operation: &Operation) -> Option<Algorithm> {
    match operation {
        Operation::Sign { algorithm, .. } => Some(*algorithm),
        _ => None,
    }
}
