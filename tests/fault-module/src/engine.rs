//! Decides what happens to a call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CKR_DEVICE_REMOVED, CKR_OK, CKR_PIN_LOCKED,
    CKR_SESSION_COUNT, CKR_TOKEN_NOT_PRESENT, CKR_USER_NOT_LOGGED_IN,
};

use crate::call::Call;
use crate::forward::real;
use crate::log::{Kind, Log};
use crate::orders::Orders;
use crate::rules::{Injection, Latch, Phase};
use crate::{LOG_VARIABLE, RULES_VARIABLE, acts, codes};

static ENGINE: OnceLock<Engine> = OnceLock::new();

/// The functions that take an HSM its time.
const OPERATIONS: &[&str] =
    &["C_Sign", "C_Encrypt", "C_Decrypt", "C_WrapKey", "C_UnwrapKey", "C_GenerateKey", "C_GenerateKeyPair"];

/// The functions that only a user who is logged in may call.
const OF_THE_USER: &[&str] = &[
    "C_SignInit",
    "C_Sign",
    "C_EncryptInit",
    "C_Encrypt",
    "C_DecryptInit",
    "C_Decrypt",
    "C_WrapKey",
    "C_UnwrapKey",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
];

/// What all threads share.
pub(crate) struct Engine {
    pub(crate) log: Log,
    pub(crate) state: Mutex<State>,
}

/// What changes from call to call.
pub(crate) struct State {
    pub(crate) orders: Orders,
    pub(crate) is_logged_out: bool,
    /// The open sessions with their slots.
    sessions: BTreeMap<CK_SESSION_HANDLE, CK_SLOT_ID>,
    /// Handles that operations were begun with, or that were found; the latest at the end.
    pub(crate) handles: BTreeMap<&'static str, Vec<CK_OBJECT_HANDLE>>,
}

/// What is to happen to one call.
struct Decision {
    before: Vec<Injection>,
    after: Vec<Injection>,
    refusal: Option<CK_RV>,
    lost: Vec<CK_SLOT_ID>,
    hidden: Vec<u64>,
    shows_locked_pin: bool,
    operation_ms: Option<u64>,
}

/// The engine; the rules are read at its first use.
pub(crate) fn engine() -> &'static Engine {
    ENGINE.get_or_init(|| {
        let path = |variable| std::env::var_os(variable).map(PathBuf::from);
        let log = Log::open(path(LOG_VARIABLE).as_deref())
            .unwrap_or_else(|error| give_up(&format!("${LOG_VARIABLE} can't be opened: {error}")));
        let state = State {
            orders: Orders::new(path(RULES_VARIABLE)),
            is_logged_out: false,
            sessions: BTreeMap::new(),
            handles: BTreeMap::new(),
        };
        Engine { log, state: Mutex::new(state) }
    })
}

/// Ends the process and says why: a test with a mistake in its rules must not pass.
pub(crate) fn give_up(reason: &str) -> ! {
    eprintln!("signet-fault-module: {reason}");
    if let Some(engine) = ENGINE.get() {
        engine.log.add(Kind::Error, "-", reason);
    }
    std::process::abort()
}

/// Does one call, with what the rules have in store for it.
pub(crate) fn inject(mut call: Call, forward: impl FnOnce(&Call) -> CK_RV) -> CK_RV {
    let engine = engine();
    let begun = Instant::now();
    let decision = engine.decide(&call);
    if call.function == "C_Login" {
        engine.log.add(Kind::Login, call.function, "");
    }
    let code = engine.perform(&mut call, &decision, forward, begun);
    if call.function == "C_Login" {
        engine.log.add(Kind::Answer, call.function, &codes::name(code));
    }
    code
}

impl Engine {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, call: &Call) -> Decision {
        let mut state = self.lock();
        state.orders.refresh();
        let rules = state.orders.rules();
        let (most, hidden, operation_ms) = (rules.most_sessions, rules.hidden.clone(), rules.operation_ms);
        if rules.logs_calls {
            self.log.add(Kind::Call, call.function, if call.is_probe() { "probe" } else { "" });
        }
        let due = if call.is_probe() { Vec::new() } else { state.orders.due(call.function) };
        let (before, after) = due.into_iter().partition(|injection| injection.phase == Phase::Before);
        let is_full = most.is_some_and(|most| call.function == "C_OpenSession" && state.sessions.len() >= most);
        let mut lost = Vec::new();
        let refusal = if state.orders.is_latched(Latch::Removed) {
            refusal_of_a_removed_token(call, &mut state, &mut lost)
        } else if is_full {
            Some(CKR_SESSION_COUNT)
        } else if call.function == "C_Login" && state.orders.is_latched(Latch::PinLocked) {
            Some(CKR_PIN_LOCKED)
        } else {
            (state.is_logged_out && OF_THE_USER.contains(&call.function)).then_some(CKR_USER_NOT_LOGGED_IN)
        };
        let shows_locked_pin = state.orders.is_latched(Latch::PinLocked);
        Decision { before, after, refusal, lost, hidden, shows_locked_pin, operation_ms }
    }

    fn perform(
        &self,
        call: &mut Call,
        decision: &Decision,
        forward: impl FnOnce(&Call) -> CK_RV,
        begun: Instant,
    ) -> CK_RV {
        for slot in &decision.lost {
            acts::close_all_sessions(*slot);
        }
        for injection in &decision.before {
            if let Some(code) = acts::before(self, call, injection) {
                return code;
            }
        }
        // A fault before the call may just have changed the state.
        let refusal = decision.refusal.or_else(|| {
            let is_refused = self.lock().is_logged_out && OF_THE_USER.contains(&call.function);
            is_refused.then_some(CKR_USER_NOT_LOGGED_IN)
        });
        let mut code = refusal.unwrap_or_else(|| forward(call));
        if let Some(milliseconds) = decision.operation_ms
            && OPERATIONS.contains(&call.function)
            && !call.is_probe()
        {
            acts::pace(begun, milliseconds);
        }
        if code == CKR_OK {
            self.observe(call, decision);
        }
        for injection in &decision.after {
            code = acts::after(self, call, injection, code);
        }
        code
    }

    /// Keeps what later calls are judged by.
    fn observe(&self, call: &mut Call, decision: &Decision) {
        call.hide_mechanisms(&decision.hidden);
        if decision.shows_locked_pin {
            call.show_locked_pin();
        }
        let mut state = self.lock();
        if let Some((session, slot)) = call.opened() {
            state.sessions.insert(session, slot);
        }
        match call.function {
            "C_CloseSession" => {
                state.sessions.retain(|session, _| Some(*session) != call.session());
            }
            "C_CloseAllSessions" | "C_Finalize" => state.sessions.clear(),
            "C_Login" => state.is_logged_out = false,
            _ => {}
        }
        let seen: Vec<CK_OBJECT_HANDLE> =
            if call.key == 0 { call.found().map(|found| found.to_vec()).unwrap_or_default() } else { vec![call.key] };
        let known = state.handles.entry(call.function).or_default();
        for handle in seen {
            known.retain(|other| *other != handle);
            known.push(handle);
        }
    }
}

/// A token that is away: its sessions are gone for good, and nothing that needs it works.
fn refusal_of_a_removed_token(call: &Call, state: &mut State, lost: &mut Vec<CK_SLOT_ID>) -> Option<CK_RV> {
    lost.extend(std::mem::take(&mut state.sessions).into_values());
    lost.dedup();
    match call.function {
        "C_Initialize" | "C_Finalize" | "C_GetInfo" | "C_CloseSession" | "C_CloseAllSessions" | "C_GetSlotInfo" => None,
        "C_GetSlotList" => call.hide_slots().then_some(CKR_OK),
        "C_GetTokenInfo" | "C_GetMechanismList" | "C_GetMechanismInfo" | "C_OpenSession" => Some(CKR_TOKEN_NOT_PRESENT),
        _ => Some(CKR_DEVICE_REMOVED),
    }
}

/// The real `C_Logout`.
pub(crate) fn real_logout(session: CK_SESSION_HANDLE) {
    if let Some(function) = real().C_Logout {
        // SAFETY: any number may be given as a session; the real module checks it.
        unsafe { function(session) };
    }
}
