//! One thread, one session: it does what the request queue gives it, and what follows from a fault.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use cryptoki::session::Session;

use super::error::{Fault, Remedy, Result};
use super::key_session::KeySession;
use super::login_talk::LoginTalk;
use super::request_queue::{Job, RequestQueue};
use super::response_writer::ResponseWriter;
use super::signing_guard::{Permit, SigningGuard};
use super::single_part::SinglePartSession;
use super::token::Token;
use crate::wire::{Answer, Octets, Operation, START_ID};
use signet_core::keys::HsmFailure;
use signet_jose::Algorithm;

/// An operation that took no longer may be done before earlier answers are written.
const BRIEF: Duration = Duration::from_micros(150);

/// What all threads of the worker share.
pub(super) struct Shared {
    pub(super) token: Token,
    pub(super) guard: SigningGuard,
    pub(super) queue: RequestQueue,
    /// Whether the server is asked before a PIN is presented.
    pub(super) judges_logins: bool,
    pub(super) responses: Arc<ResponseWriter>,
    /// Rises when a key is destroyed: handles of an earlier epoch are not used.
    pub(super) epoch: AtomicU64,
}

/// A thread that owns one session.
pub(super) struct SessionThread {
    shared: Arc<Shared>,
    keys: KeySession,
    last_took: HashMap<Option<Algorithm>, Duration>,
    /// The last operation ended in a code that nobody knows, and nothing has succeeded since.
    is_suspect: bool,
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
        let keys = KeySession::new(Arc::clone(&shared), session);
        Self { shared, keys, last_took: HashMap::new(), is_suspect: false }
    }

    /// Works until the conversation ends.
    pub(super) fn work(mut self) {
        while let Some(job) = self.next_job() {
            if let Some(failure) = job.expired() {
                self.shared.responses.add(job.id, Err(failure));
                continue;
            }
            self.keys.drop_outdated_handles();
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
            let session = self.keys.session().ok().map(|session| &**session);
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
                    let log_in = |session| self.shared.log_in_again(session).map_err(Fault::from);
                    if let Err(fault) = self.keys.session().and_then(|session| log_in(session)) {
                        return Ending::Fatal(fault.into_failure());
                    }
                }
                // What was mended is broken again: the module itself is stale.
                Remedy::Restart | Remedy::Suspect | Remedy::Retry | Remedy::Login => {
                    return Ending::Fatal(fault.into_unavailable());
                }
            }
            if let Err(fault) = self.keys.renew(&fault) {
                return Ending::Fatal(fault.into_unavailable());
            }
        }
    }

    /// After an error an operation may still be active in the session: it is replaced.
    fn renewed(&mut self, fault: Fault) -> Ending {
        match self.keys.renew(&fault) {
            Ok(()) => Ending::Answered(Err(fault.into_failure())),
            Err(fault) => Ending::Fatal(fault.into_unavailable()),
        }
    }

    fn attempt(&mut self, operation: &Operation) -> Result<Answer> {
        let keys = &mut self.keys;
        match operation {
            Operation::Sign { key, algorithm, message } => {
                let handle = keys.handle(key)?;
                let (mechanism, data) = self.shared.token.mechanisms.prepare(*algorithm, &message.0)?;
                Ok(Answer::Signature(Octets(keys.session()?.sign(&mechanism, handle, &data)?)))
            }
            Operation::Seal { keys: by, row, kind, secret } => keys.seal(by, &row.0, *kind, &secret.0),
            Operation::Open(sealed) => keys.open(sealed),
            Operation::OtpHmac { sealed, hash, messages } => keys.otp_hmac(sealed, *hash, messages),
            Operation::DecryptBlock { sealed, block } => keys.decrypt_block(sealed, *block),
            Operation::ExportSecret { sealed, kind } => keys.export_secret(sealed, *kind),
            Operation::Rebind { sealed, to, kind } => keys.rebind(sealed, &to.0, *kind),
            Operation::TakeEnvelope { transport, place, sealed } => keys.take_envelope(transport, place, &sealed.0),
            Operation::OpenDeploymentSecret { transport, sealed } => keys.open_deployment_secret(transport, &sealed.0),
            Operation::PutInEnvelope { sealed, wrapped, to } => keys.put_in_envelope(sealed, *wrapped, &to.0),
            Operation::Derive { key, input } => Ok(Answer::Bytes(Octets(keys.mac(key, &input.0)?))),
            Operation::Describe
            | Operation::List
            | Operation::Tally
            | Operation::Check { .. }
            | Operation::GeneratePair { .. }
            | Operation::GenerateSecret { .. }
            | Operation::Destroy { .. }
            | Operation::Forget
            | Operation::Login(_) => {
                Err(HsmFailure::Module { function: "a session thread".into(), code: "was asked to manage keys".into() }
                    .into())
            }
        }
    }
}

impl Shared {
    /// Logs in again after somebody logged the token out.
    /// Errors: [`HsmFailure::PinRefused`] ends the worker.
    pub(super) fn log_in_again(&self, session: &Session) -> Result<(), HsmFailure> {
        self.token.log_in_again(session, self.judges_logins.then_some(&self.queue as &dyn LoginTalk))
    }

    /// Ends the worker: a refused PIN is told as its last word. To whoever asked something it is not available: a login
    /// that failed says nothing of what the other sessions have in hand, nor is what was counted taken back.
    pub(super) fn end(&self, id: u64, failure: HsmFailure) {
        eprintln!("the worker ends: {failure}");
        if matches!(failure, HsmFailure::PinRefused(_)) {
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
