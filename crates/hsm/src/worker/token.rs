//! The module and the one HSM token that this worker serves: found once, logged in once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;
use parking_lot::Mutex;

use super::confine::InForce;
use super::describe::{Description, PinFlags};
use super::error::{Fault, Remedy, Result, code_name, counts_no_try, function_name, refuses_pin};
use super::hangup::LoginUnderWay;
use super::login_talk::{LoginTalk, permitted};
use super::mechanism::Mechanisms;
use super::pin::Pin;
use super::raw;
use super::single_part::{SignFunction, SinglePartSession};
use crate::{HsmConfig, PinSource};
use signet_core::keys::{HsmFailure, LoginOutcome, LoginQuestion, TokenInfo, TokenReport};

/// Another process that writes a soft token's files makes some starts fail; it is done within these.
const ATTEMPTS: u32 = 10;
const LABEL_ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// The token, logged in. Sessions of all threads come from here.
pub(super) struct Token {
    module: Pkcs11,
    slot: Slot,
    config: HsmConfig,
    info: TokenInfo,
    library: String,
    in_force: InForce,
    /// What the module offers.
    pub(super) mechanisms: Mechanisms,
    sign: SignFunction,
    /// Whether what this machine's files say holds the PIN back, whatever a server says.
    judges_itself: bool,
    login: Mutex<()>,
    /// How many logins have followed the first.
    logins: AtomicU64,
    /// Looking for objects beside key generation fails on some modules: whoever does either holds this.
    pub(super) objects: Mutex<()>,
}

/// The token before the login.
struct Found {
    module: Pkcs11,
    slot: Slot,
    info: Description,
    mechanisms: Mechanisms,
    anchor: Session,
}

enum StartFault {
    /// Another attempt may do better.
    Passing(HsmFailure),
    /// The label was not seen: the token's files may be about to change.
    NoSuchLabel(HsmFailure),
    /// Only a person mends it.
    Lasting(HsmFailure),
}

impl Token {
    /// Loads the module, finds the token and logs in, where the server judges logins once it permits that. The session that is returned keeps the login alive: a module
    /// logs out with its last session.
    /// Errors: [`HsmFailure`]: what the server is told instead of `Ready`.
    pub(super) fn open(
        config: HsmConfig,
        in_force: InForce,
        judges_itself: bool,
        talk: Option<&dyn LoginTalk>,
    ) -> Result<(Self, Session), HsmFailure> {
        let found = find_patiently(&config)?;
        let library = found.module.get_library_info().map_or_else(
            |_| "unknown".to_owned(),
            |info| format!("{} {}", info.library_description().trim(), info.library_version()),
        );
        let sign = SignFunction::of(&config.module);
        let token = Self {
            module: found.module,
            slot: found.slot,
            config,
            info: found.info.token,
            library,
            in_force,
            mechanisms: found.mechanisms,
            sign,
            judges_itself,
            login: Mutex::new(()),
            logins: AtomicU64::new(0),
            objects: Mutex::new(()),
        };
        if token.mechanisms.algorithms().is_empty() {
            let mechanism = "any mechanism to sign with (CKM_ECDSA, CKM_EDDSA, CKM_RSA_PKCS, CKM_RSA_PKCS_PSS)".into();
            return Err(HsmFailure::MechanismMissing(mechanism));
        }
        token.log_in(&found.anchor, talk)?;
        Ok((token, found.anchor))
    }

    /// A session to sign with.
    pub(super) fn session(&self) -> Result<SinglePartSession> {
        Ok(self.sign.session(self.module.open_ro_session(self.slot)?))
    }

    /// A session to make and destroy keys with.
    pub(super) fn management_session(&self) -> Result<SinglePartSession> {
        Ok(self.sign.session(self.module.open_rw_session(self.slot)?))
    }

    /// Logs in again after somebody logged the token out: of all threads that notice, one presents the PIN.
    /// Errors: [`HsmFailure::PinRefused`] ends the worker.
    pub(super) fn log_in_again(&self, session: &Session, talk: Option<&dyn LoginTalk>) -> Result<(), HsmFailure> {
        let _one_at_a_time = self.login.lock();
        if is_logged_in(session) {
            return Ok(());
        }
        if self.config.pin == PinSource::Prompt {
            return Err(HsmFailure::Unavailable("the token was logged out; the PIN is asked for again".to_owned()));
        }
        self.log_in(session, talk)?;
        self.logins.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// How many logins have followed the first: whoever remembers the number knows later whether there was a logout.
    pub(super) fn logins(&self) -> u64 {
        self.logins.load(Ordering::Acquire)
    }

    /// What to do about a fault of an operation that began after so many logins. In the moment of a logout a module may
    /// answer no more than `CKR_GENERAL_ERROR`, as SoftHSM does, whose keys can't be decrypted any more; until the next login
    /// private keys are not found.
    pub(super) fn remedy(&self, fault: &Fault, session: Option<&Session>, logins: u64) -> Remedy {
        let was_logged_out = || self.logins() != logins || session.is_some_and(|session| !is_logged_in(session));
        if (fault.is_general_error() || fault.is_of_a_missing_key()) && was_logged_out() {
            Remedy::Login
        } else {
            fault.remedy()
        }
    }

    /// What the token is and can do, asked anew.
    pub(super) fn report(&self) -> TokenReport {
        let described = Description::of(&self.module, &self.config.module, self.slot);
        let pin_count_low = described.is_some_and(|read| read.pin.is_count_low);
        TokenReport {
            token: self.info.clone(),
            library: self.library.clone(),
            algorithms: self.mechanisms.algorithms(),
            seal_modes: self.mechanisms.seal_modes(),
            takes_envelopes: self.mechanisms.takes_envelopes(),
            pin_count_low,
            confined: self.in_force.measures.clone(),
            not_confined: self.in_force.missing.clone(),
        }
    }

    /// Ends the module's work. Every session must be closed: a stale one would close a new one of the same number.
    pub(super) fn finalize(self) {
        // There is nobody left to tell.
        let _ = self.module.finalize();
    }

    /// Whether the token says that it counted wrong tries. One that can't say is taken to have.
    fn few_tries_are_left(&self) -> bool {
        let described = Description::of(&self.module, &self.config.module, self.slot);
        described.is_none_or(|read| read.pin.counts_tries())
    }

    /// Logs in. A server that judges logins for all nodes is asked first, and told how it ended; without one this machine's
    /// own files decide.
    fn log_in(&self, session: &Session, talk: Option<&dyn LoginTalk>) -> Result<(), HsmFailure> {
        let pin = Pin::read(&self.config.pin, self.config.name.as_str(), self.config.state_directory.as_deref())?;
        let pin = if self.judges_itself { pin.judged_alone()? } else { pin };
        // What a module can't say is no reason not to log in.
        if let Some(read) = Description::of(&self.module, &self.config.module, self.slot) {
            pin_state(read.pin, &self.config)?;
        }
        let Some(talk) = talk else {
            if pin.is_second_time() && self.few_tries_are_left() {
                return Err(HsmFailure::PinRefused("an earlier start ended while the PIN was presented, and the token says that few tries are left; check the PIN, then remove the `.refused` file beside it".to_owned()));
            }
            return self.present(pin, session).1;
        };
        let question = LoginQuestion {
            token: self.info.clone(),
            marker: pin.marker(),
            was_taken: pin.was_taken(),
            is_typed: pin.is_typed(),
            counts_tries: self.few_tries_are_left(),
        };
        permitted(talk, &question)?;
        let (outcome, logged_in) = self.present(pin, session);
        let failure = match (&outcome, logged_in) {
            (LoginOutcome::Refused(code), Err(_)) => Err(HsmFailure::PinRefused(format!(
                "{code} for this node's PIN; correct it, then `signet hsm allow-login {}` on this machine has it presented once",
                self.config.name
            ))),
            // Whether it may be presented again is the server's to say.
            (LoginOutcome::Unknown(_), Err(failure)) => Err(failure.into_unavailable()),
            (_, logged_in) => logged_in,
        };
        talk.ended(outcome);
        failure
    }

    /// Presents the PIN once, and says how that ended. Whatever is not known to be harmless counts as a refusal: modules
    /// have no common code for "a wrong try was counted".
    fn present(&self, pin: Pin, session: &Session) -> (LoginOutcome, Result<(), HsmFailure>) {
        let _until_its_fate_is_known = LoginUnderWay::begin();
        let attempt = match pin.attempt() {
            Ok(attempt) => attempt,
            Err(failure) => return (LoginOutcome::NotCounted, Err(failure)),
        };
        let presented = RawAuthPin::new(Box::new(attempt.expose().to_vec()));
        match session.login_with_raw(UserType::User, &presented) {
            Ok(()) => {
                attempt.taken();
                (LoginOutcome::Taken, Ok(()))
            }
            // Nobody looked at this PIN.
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                attempt.not_counted();
                (LoginOutcome::NotCounted, Ok(()))
            }
            Err(Error::Pkcs11(code, _)) if refuses_pin(code) => {
                let code = code_name(code);
                let failure = attempt.refused(&code);
                (LoginOutcome::Refused(code), Err(failure))
            }
            Err(Error::Pkcs11(code, function)) => {
                let detail = format!("{} answered {}", function_name(function), code_name(code));
                if counts_no_try(code) {
                    attempt.not_counted();
                    return (LoginOutcome::NotCounted, Err(HsmFailure::Unavailable(detail)));
                }
                let failure = attempt.unclear(&detail);
                (LoginOutcome::Unknown(detail), Err(failure))
            }
            Err(other) => {
                let detail = other.to_string();
                let failure = attempt.unclear(&detail);
                (LoginOutcome::Unknown(detail), Err(failure))
            }
        }
    }
}

/// What the token says of its PIN, read before the PIN is presented: the last try is not spent by a program, and who
/// only looks spends none where they are counted.
fn pin_state(pin: PinFlags, config: &HsmConfig) -> Result<(), HsmFailure> {
    let refuse = |detail: &str| Err(HsmFailure::PinRefused(detail.to_owned()));
    if pin.is_locked {
        return refuse(
            "the token says that its PIN is locked (CKF_USER_PIN_LOCKED); unlock it with the vendor's tool and the security officer's PIN",
        );
    }
    if pin.is_final_try {
        return refuse(
            "the token says that one try is left before its PIN locks (CKF_USER_PIN_FINAL_TRY), and the PIN is not presented; check the PIN, and log in once with the vendor's tool, which resets the count",
        );
    }
    if config.is_careful && pin.is_count_low {
        return refuse(
            "the token says that a wrong PIN was shown to it since the last login (CKF_USER_PIN_COUNT_LOW), and the PIN is not presented for a look; check the PIN, and log in once with the vendor's tool, or have it presented with --present-pin",
        );
    }
    Ok(())
}

/// Whether the session is a user's.
pub(super) fn is_logged_in(session: &Session) -> bool {
    session
        .get_session_info()
        .is_ok_and(|info| matches!(info.session_state(), SessionState::RoUser | SessionState::RwUser))
}

fn find_patiently(config: &HsmConfig) -> Result<Found, HsmFailure> {
    let mut attempt = 1;
    loop {
        let (failure, attempts) = match find(config) {
            Ok(found) => return Ok(found),
            Err(StartFault::Lasting(failure)) => return Err(failure),
            Err(StartFault::NoSuchLabel(failure)) => (failure, LABEL_ATTEMPTS),
            Err(StartFault::Passing(failure)) => (failure, ATTEMPTS),
        };
        if attempt >= attempts {
            return Err(failure);
        }
        attempt += 1;
        thread::sleep(PAUSE);
    }
}

/// One attempt: the module sees other processes' changes only when it is initialized anew.
fn find(config: &HsmConfig) -> Result<Found, StartFault> {
    let module = load(config)?;
    let initialized = module.initialize(raw::initialize_args(config.init_args.as_deref()));
    initialized.map_err(|error| passing(error.into()))?;
    match find_in(&module, config) {
        Ok((slot, info)) => {
            let mechanisms = Mechanisms::of(&module, slot).map_err(passing)?;
            let anchor = module.open_ro_session(slot).map_err(|error| passing(error.into()))?;
            Ok(Found { module, slot, info, mechanisms, anchor })
        }
        Err(fault) => {
            // The attempt has failed already, whatever this says.
            let _ = module.finalize();
            Err(fault)
        }
    }
}

fn load(config: &HsmConfig) -> Result<Pkcs11, StartFault> {
    let path = config.module.display();
    if !config.module.is_file() {
        let detail = format!(
            "there is no PKCS#11 module at {path}; install it (SoftHSM: apt install softhsm2) or correct `module` of [[hsm]] {}",
            config.name
        );
        return Err(unusable(detail, config));
    }
    Pkcs11::new(&config.module).map_err(|error| match error {
        // It was loaded, and worked when this deployment was bound to its token.
        Error::Pkcs11(code, function) if config.expected_serial.is_some() => passing(Fault::Module(code, function)),
        error => unusable(format!("{path} can't be loaded as a PKCS#11 module: {error}"), config),
    })
}

/// A module that can't be had: a deployment that is bound to its token worked with it, and will when it is back, e.g. after
/// the vendor's package was installed again. Before that, only a person can mend it.
fn unusable(detail: String, config: &HsmConfig) -> StartFault {
    StartFault::Lasting(match config.expected_serial {
        Some(_) => HsmFailure::Unavailable(detail),
        None => HsmFailure::Configuration(detail),
    })
}

fn find_in(module: &Pkcs11, config: &HsmConfig) -> Result<(Slot, Description), StartFault> {
    let slots = module.get_slots_with_token().map_err(|error| passing(error.into()))?;
    let mut seen = Vec::new();
    let mut found = Vec::new();
    let mut is_renamed = false;
    for slot in slots {
        // A slot that can't describe itself is another's trouble, unless ours is not found.
        let Some(info) = Description::of(module, &config.module, slot) else { continue };
        if info.is_initialized {
            seen.push(format!("\"{}\" in slot {}", info.token.label, slot.id()));
            is_renamed |= config.expected_serial.as_deref() == Some(info.token.serial.as_str());
            if info.token.label == config.token_label && config.slot.is_none_or(|wanted| wanted == slot.id()) {
                found.push((slot, info));
            }
        }
    }
    let label = &config.token_label;
    match (found.pop(), found.len()) {
        (Some(token), 0) => check_serial(&token.1, config).map(|()| token),
        (Some(_), others) => Err(lasting(format!(
            "{} tokens carry the label \"{label}\"; give each a label of its own, or name the `slot`, so that it is clear which one is meant (seen: {})",
            others + 1,
            seen.join(", ")
        ))),
        (None, _) => {
            let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
            let place = config.slot.map_or_else(String::new, |slot| format!(" in slot {slot}"));
            let detail = format!(
                "no initialised token carries the label \"{label}\"{place} (seen: {seen}); check `token_label`, and for SoftHSM that SOFTHSM2_CONF names its configuration"
            );
            // A deployment that is bound to a token has seen it: it is away now, unless it is here by another name.
            Err(StartFault::NoSuchLabel(match config.expected_serial {
                Some(_) if !is_renamed => HsmFailure::Unavailable(detail),
                _ => HsmFailure::Configuration(detail),
            }))
        }
    }
}

fn check_serial(info: &Description, config: &HsmConfig) -> Result<(), StartFault> {
    let serial = info.token.serial.as_str();
    match &config.expected_serial {
        Some(expected) if expected != serial => Err(lasting(format!(
            "the token \"{}\" has the serial number {serial}, and this deployment is bound to {expected}: it is another token, or it was re-initialised and its keys are gone; a token that comes in its place needs an [[hsm]] of another name",
            config.token_label
        ))),
        _ => Ok(()),
    }
}

fn passing(fault: Fault) -> StartFault {
    let failure = match fault {
        Fault::Module(code, function) => {
            HsmFailure::Unavailable(format!("{} answered {}", function_name(function), code_name(code)))
        }
        Fault::Failure(failure) => failure,
    };
    StartFault::Passing(failure)
}

fn lasting(detail: String) -> StartFault {
    StartFault::Lasting(HsmFailure::Configuration(detail))
}
