//! Faults at random, one after the other, sometimes of both tokens together.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_fault_module::rules::Latch;

use super::Stage;
use super::callers::Ledger;
use crate::support::fault::FaultModule;

/// A worker this old has logged in. One that is killed while it does leaves open whether its PIN was counted, which is a
/// matter for a person after the second time (decision 11), and has tests of its own.
const LOGGED_IN: Duration = Duration::from_secs(3);

const FUNCTIONS: [&str; 5] = ["C_SignInit", "C_Sign", "C_FindObjects", "C_OpenSession", "C_GenerateRandom"];

const CODES: [&str; 14] = [
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_SESSION_CLOSED",
    "CKR_KEY_HANDLE_INVALID",
    "CKR_OBJECT_HANDLE_INVALID",
    "CKR_USER_NOT_LOGGED_IN",
    "CKR_OPERATION_ACTIVE",
    "CKR_FUNCTION_FAILED",
    "CKR_DEVICE_ERROR",
    "CKR_DEVICE_REMOVED",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_HOST_MEMORY",
    "CKR_GENERAL_ERROR",
    "CKR_MECHANISM_INVALID",
    "0x80000001",
];

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Rule(String),
    Spoil(String),
    Away,
    Kill,
    Stop,
}

/// Breaks things until the end.
pub(super) struct Injector {
    stage: Arc<Stage>,
    ledger: Arc<Ledger>,
    state: u64,
    seen: BTreeMap<u32, Instant>,
    injected: BTreeMap<&'static str, u64>,
}

impl Injector {
    pub(super) fn new(stage: Arc<Stage>, ledger: Arc<Ledger>) -> Self {
        Self { stage, ledger, state: 3, seen: BTreeMap::new(), injected: BTreeMap::new() }
    }

    /// Gives what was injected, in words.
    pub(super) async fn run(mut self, end: Instant) -> String {
        while Instant::now() + Duration::from_secs(10) < end {
            let (first, second) = (self.fault(), self.fault());
            let token = usize::from(self.below(2) == 1);
            let hold = Duration::from_millis(300 + self.below(2700));
            let both = self.below(4) == 0;
            let spoils = [&first, &second].iter().any(|fault| matches!(fault, Fault::Spoil(_)));
            let ledger = Arc::clone(&self.ledger);
            let nobody_signs_in = if spoils { Some(ledger.honest.write().await) } else { None };
            let stopped = self.begin(token, &first);
            let stopped_too = if both { self.begin(1 - token, &second) } else { None };
            self.wait(hold).await;
            self.stage.modules.iter().for_each(end_of_fault);
            stopped.into_iter().chain(stopped_too).for_each(|worker| signal(worker, "CONT"));
            if spoils {
                // Operations that are under way may still be spoilt.
                self.wait(Duration::from_secs(3)).await;
            }
            drop(nobody_signs_in);
            let rest = Duration::from_millis(self.below(3000));
            self.wait(rest).await;
        }
        self.injected.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// Waits, with an eye on which workers there are.
    async fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(250).min(until.saturating_duration_since(Instant::now()))).await;
            let workers = self.stage.server.workers();
            self.seen.retain(|worker, _| workers.contains(worker));
            for worker in workers {
                self.seen.entry(worker).or_insert_with(Instant::now);
            }
        }
    }

    /// Does it; gives the worker that was stopped by it.
    fn begin(&mut self, token: usize, fault: &Fault) -> Option<u32> {
        let module = &self.stage.modules[token];
        let name = match fault {
            Fault::Rule(rule) | Fault::Spoil(rule) => {
                module.order(rule);
                ["segv", "abort", "exit", "hang", "flip", "truncate", "zero", "other-key", "delay", "garbage", "log"]
                    .into_iter()
                    .find(|word| rule.contains(word))
                    .unwrap_or("code")
            }
            Fault::Away => {
                module.latch(Latch::Removed);
                "away"
            }
            Fault::Kill | Fault::Stop => {
                let old = self.seen.iter().filter(|(_, since)| since.elapsed() >= LOGGED_IN);
                let old: Vec<u32> = old.map(|(worker, _)| *worker).collect();
                let worker = *old.get(token % old.len().max(1))?;
                let is_stop = *fault == Fault::Stop;
                signal(worker, if is_stop { "STOP" } else { "KILL" });
                self.count(if is_stop { "stopped" } else { "killed" });
                return is_stop.then_some(worker);
            }
        };
        self.count(name);
        None
    }

    fn count(&mut self, name: &'static str) {
        *self.injected.entry(name).or_default() += 1;
    }

    fn fault(&mut self) -> Fault {
        let seed = self.below(u64::from(u32::MAX));
        let function = FUNCTIONS[self.index(FUNCTIONS.len())];
        let phase = ["before", "after"][self.index(2)];
        let code = CODES[self.index(CODES.len())];
        let signing = ["C_SignInit", "C_Sign"][self.index(2)];
        match self.below(13) {
            0 => Fault::Kill,
            1 => Fault::Stop,
            2 => Fault::Away,
            3 => Fault::Rule(format!("{signing} nth 1 {phase} hang")),
            4 => Fault::Rule(format!("{signing} chance 0.1 seed {seed} {phase} segv")),
            5 => {
                let end = ["abort", "exit"][self.index(2)];
                Fault::Rule(format!("{signing} nth 2 {phase} {end}"))
            }
            6 => Fault::Spoil(format!("C_Sign chance 0.1 seed {seed} after flip")),
            7 => {
                let spoilt = ["after truncate", "after zero"][self.index(2)];
                Fault::Spoil(format!("C_Sign chance 0.1 seed {seed} {spoilt}"))
            }
            8 => Fault::Spoil(format!("C_SignInit chance 0.1 seed {seed} before other-key")),
            9 => {
                let how = ["logout", "latch logged-out"][self.index(2)];
                Fault::Rule(format!("{signing} nth 1 {phase} {how}"))
            }
            10 => {
                let what = ["delay 100", "garbage"][self.index(2)];
                Fault::Rule(format!("{signing} chance 0.2 seed {seed} {phase} {what}"))
            }
            11 => Fault::Rule(format!("{signing} every {phase} return {code}")),
            _ => Fault::Rule(format!("{function} chance 0.2 seed {seed} {phase} return {code}")),
        }
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// A number below this, by SplitMix64: the same run again has the same faults in the same order.
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % limit
    }
}

fn end_of_fault(module: &FaultModule) {
    module.calm();
    // There is a latch only where a fault set one.
    module.unlatch_if_latched();
}

/// Sends a signal to a worker, which may have ended by now.
fn signal(worker: u32, name: &str) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).arg(worker.to_string()).stderr(Stdio::null()).status().unwrap();
}
