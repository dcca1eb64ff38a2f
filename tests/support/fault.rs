//! SoftHSM behind the module that fails on order (`tests/fault-module`): writes its rules, reads its log.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use signet_fault_module::log::{self, Kind, Record};
use signet_fault_module::rules::{Latch, Rules};
use signet_fault_module::{LOG_VARIABLE, MODULE_VARIABLE, RULES_VARIABLE, latch_file};
use signet_hsm::HsmConfig;

use super::hsm::SoftToken;

/// A token whose module does as it is told.
pub(crate) struct FaultModule {
    pub(crate) token: Arc<SoftToken>,
    orders: Mutex<Orders>,
}

#[derive(Default)]
struct Orders {
    /// Rules that every order keeps.
    standing: String,
    /// How many rules of the last order are to happen, and where the log stood then.
    expected: usize,
    log_length: usize,
    written: usize,
}

impl FaultModule {
    pub(crate) fn new() -> Self {
        Self::standing("")
    }

    /// A module with rules that stay in force whatever is ordered: `limit ..`, `hide ..`, `log calls`.
    pub(crate) fn standing(rules: &str) -> Self {
        Self::over(Arc::new(SoftToken::new()), rules)
    }

    /// The same over a token that is there already.
    pub(crate) fn over(token: Arc<SoftToken>, rules: &str) -> Self {
        let module = Self { token, orders: Mutex::default() };
        module.stand(rules);
        module
    }

    /// Replaces the rules that stay, and takes every order back.
    pub(crate) fn stand(&self, rules: &str) {
        rules.clone_into(&mut self.orders.lock().unwrap().standing);
        self.order("");
    }

    /// A configuration by which the worker loads the module.
    pub(crate) fn config(&self) -> HsmConfig {
        let mut config = self.token.config();
        config.environment.extend(self.environment());
        config.module = shared_library();
        config
    }

    /// What the module reads from its environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let variable = |name: &str, value: PathBuf| (name.to_owned(), value.to_str().unwrap().to_owned());
        vec![
            variable(MODULE_VARIABLE, self.token.module().to_owned()),
            variable(RULES_VARIABLE, self.rules()),
            variable(LOG_VARIABLE, self.log()),
        ]
    }

    fn rules(&self) -> PathBuf {
        self.token.path().join("fault.rules")
    }

    fn log(&self) -> PathBuf {
        self.token.path().join("fault.log")
    }

    /// Puts these rules in force, in the place of those ordered before.
    pub(crate) fn order(&self, rules: &str) {
        let mut orders = self.orders.lock().unwrap();
        orders.log_length = self.log_text().len();
        orders.written += 1;
        // The length differs from the last orders': a file's number and time may be the same again.
        let filler = "#".repeat(orders.written % 61 + 1);
        let text = format!("{}\n{rules}\n# order {} {filler}\n", orders.standing, orders.written);
        orders.expected = Rules::parse(rules).unwrap_or_else(|error| panic!("{error}")).injections.len();
        Rules::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let written = self.rules().with_extension("new");
        std::fs::write(&written, text).unwrap();
        std::fs::rename(written, self.rules()).unwrap();
    }

    /// Takes every order back.
    pub(crate) fn calm(&self) {
        self.order("");
    }

    /// Enters a state that lasts.
    pub(crate) fn latch(&self, latch: Latch) {
        let path = latch_file(&self.rules());
        let written = path.with_extension("new");
        std::fs::write(&written, latch.word()).unwrap();
        std::fs::rename(written, path).unwrap();
    }

    /// Ends every state that lasts.
    pub(crate) fn unlatch(&self) {
        std::fs::remove_file(latch_file(&self.rules())).unwrap();
    }

    /// The same where there may be none.
    pub(crate) fn unlatch_if_latched(&self) {
        let gone = std::fs::remove_file(latch_file(&self.rules()));
        assert!(gone.is_ok() || !latch_file(&self.rules()).exists(), "{gone:?}");
    }

    /// Everything that the module wrote down.
    pub(crate) fn records(&self) -> Vec<Record> {
        log::read(&self.log_text())
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// What it wrote down since the last order.
    pub(crate) fn records_since(&self) -> Vec<Record> {
        let length = self.orders.lock().unwrap().log_length;
        log::read(&self.log_text()[length..])
    }

    /// The functions that were called since the last order; the rules must say `log calls`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.records_since().into_iter().filter(|record| record.kind == Kind::Call);
        calls.map(|record| record.function).collect()
    }

    /// Whether each rule of the last order has happened.
    pub(crate) fn is_done(&self) -> bool {
        let records = self.records_since();
        let errors: Vec<_> = records.iter().filter(|record| record.kind == Kind::Error).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let faults = records.iter().filter(|record| record.kind == Kind::Fault);
        let happened: std::collections::BTreeSet<&str> = faults.map(|record| record.detail.as_str()).collect();
        happened.len() >= self.orders.lock().unwrap().expected
    }

    /// How often a PIN was presented, ever.
    pub(crate) fn logins(&self) -> usize {
        self.records().iter().filter(|record| record.kind == Kind::Login).count()
    }
}

/// Cargo builds it beside the tests, since it is a library that they depend on.
pub(crate) fn shared_library() -> PathBuf {
    let library = std::env::current_exe().unwrap().with_file_name("libsignet_fault_module.so");
    assert!(library.is_file(), "cargo has not built {}", library.display());
    library
}
