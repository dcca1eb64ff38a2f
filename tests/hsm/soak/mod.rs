//! A long run of the whole server over two tokens whose modules fail at random all the time:
//! `cargo test --release --test suite hsm::soak -- --ignored --nocapture`. `SIGNET_SOAK_MINUTES` says how long.
//!
//! A steady load asks for everything that a deployment serves, while [`faults`] break modules and workers, and
//! [`samples`] of the processes show whether anything is used up.

mod callers;
mod faults;
mod samples;

use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_fault_module::log::Kind;

use self::callers::Ledger;
use self::faults::Injector;
use self::samples::Samples;
use crate::support::application::Application;
use crate::support::fault::{FaultModule, shared_library};
use crate::support::server::Server;

const MINUTES: u64 = 60;

/// Caches fill and pools open in the first part of the run; growth is counted from there.
const WARM_UP: u32 = 4;

const HSM: &str = "sessions = 2\ndeadline = \"2s\"";

/// What the run works on.
struct Stage {
    server: Server,
    modules: [FaultModule; 2],
}

impl Stage {
    fn new() -> Self {
        let modules = [FaultModule::new(), FaultModule::new()];
        let second = format!(
            "[[hsm]]\nname = \"second\"\nmodule = \"{}\"\ntoken_label = \"signet\"\npin_file = \"{}\"\n{HSM}\n\
             [hsm.environment]\nSOFTHSM2_CONF = \"{}\"\n{}",
            shared_library().display(),
            modules[1].token.pin_file().display(),
            modules[1].token.configuration().display(),
            modules[1].environment().iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect::<String>(),
        );
        let server = Application::with_faults(&modules[0], HSM, &second).serve();
        Self { server, modules }
    }
}

/// An hour of mixed faults: every answer is a 200, or a 503 that says when to come again; every token verifies; nothing
/// is used up; and both tokens serve at the end with nobody's help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes an hour"]
async fn an_hour_of_mixed_faults_uses_nothing_up() {
    let minutes = std::env::var("SIGNET_SOAK_MINUTES").map_or(MINUTES, |text| text.parse().unwrap());
    let stage = Arc::new(Stage::new());
    let ledger = Arc::new(Ledger::default());
    let callers = callers::prepare(&stage, &ledger).await;
    let (begun, end) = (Instant::now(), Instant::now() + Duration::from_secs(60 * minutes));
    let callers = callers.start(end);
    let injector = tokio::spawn(Injector::new(Arc::clone(&stage), Arc::clone(&ledger)).run(end));
    let mut samples = Samples::default();
    while Instant::now() < end {
        samples.take(stage.server.id(), begun.elapsed());
        eprintln!("{}; {}", samples.last(), ledger.line());
        tokio::time::sleep(Duration::from_secs(10).min(end.saturating_duration_since(Instant::now()))).await;
    }
    callers.join_all().await;
    let injected = injector.await.unwrap();
    eprintln!("{minutes} minutes; {}; {}", ledger.line(), injected);
    eprintln!("{}", ledger.table());
    let growth = samples.growth(WARM_UP);
    eprintln!("{growth}");
    stage.ends_well().await;
    ledger.check();
    growth.check();
}

impl Stage {
    /// Both tokens sign again, and no process is left over.
    async fn ends_well(&self) {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let hsm = self.server.get("/readyz").await.json()["hsm"].clone();
            if hsm["primary"] == "ok" && hsm["second"] == "ok" {
                break;
            }
            assert!(Instant::now() < until, "the tokens stand so: {hsm}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(self.server.workers().len(), 2);
        for module in &self.modules {
            let errors = module.records();
            // A worker that has used one key alone has no other one to be given; it ends, as by any other fault.
            let is_known = |detail: &str| detail.starts_with("other-key: no other key");
            let errors: Vec<_> =
                errors.iter().filter(|record| record.kind == Kind::Error && !is_known(&record.detail)).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}
