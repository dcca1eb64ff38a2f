//! What a module can't do inside its worker, tried by a module.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use signet_core::keys::{HsmFailure, KeyAdmin as _, Signer as _};
use signet_hsm::{Confinement, HsmConfig, Sandbox};
use signet_jose::Algorithm;

use crate::support::hsm::{SoftToken, hsm, pair, probe, start, started};

/// The module of `tests/support/probe_module.c`.
pub(super) fn compiled() -> PathBuf {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    let compile = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/probe_module.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-{}.so", std::process::id()));
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([library.as_os_str(), source.as_ref(), "-ldl".as_ref()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library
    };
    COMPILED.get_or_init(compile).clone()
}

/// A token whose module probes its confinement.
struct Scene {
    token: SoftToken,
    config: HsmConfig,
    _listener: TcpListener,
    _inherited: std::os::fd::OwnedFd,
}

impl Scene {
    fn new(confinement: Confinement) -> Self {
        let token = SoftToken::new();
        let mut config = token.config();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Not closed on exec, as of a server that forgot to say so.
        let inherited = rustix::io::fcntl_dupfd_cloexec(&listener, 700).unwrap();
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        config.environment.extend([
            ("PROBE_MODULE".to_owned(), text(token.module().to_owned())),
            ("PROBE_REPORT".to_owned(), text(token.state().join("report"))),
            ("PROBE_FOREIGN".to_owned(), text(token.path().join("foreign"))),
            ("PROBE_PORT".to_owned(), listener.local_addr().unwrap().port().to_string()),
            ("PROBE_FD".to_owned(), inherited.as_raw_fd().to_string()),
        ]);
        config.module = compiled();
        config.confinement = confinement;
        // Markers stand beside the PIN's file, which makes its folder writable: it gets one of its own.
        let pin = token.path().join("secret");
        std::fs::create_dir(&pin).unwrap();
        std::fs::copy(token.pin_file(), pin.join("pin")).unwrap();
        config.pin = signet_hsm::PinSource::File(pin.join("pin"));
        Self { token, config, _listener: listener, _inherited: inherited }
    }

    /// Starts the worker, signs, and gives what the module reported.
    async fn report(&self) -> BTreeMap<String, String> {
        let (group, _events) = started(self.config.clone()).await;
        let key = pair(&group, Algorithm::Es256).await;
        drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap());
        let said = group.describe(&hsm()).await.unwrap();
        assert_eq!(said.not_confined, Vec::<String>::new(), "this kernel offers less than these tests need");
        group.shutdown().await;
        let text = std::fs::read_to_string(self.token.state().join("report")).unwrap();
        let pair =
            |line: &str| line.split_once(char::is_whitespace).map(|(name, value)| (name.into(), value.trim().into()));
        text.lines().filter_map(pair).collect()
    }
}

fn assert_all(report: &BTreeMap<String, String>, names: &[&str], expected: &str) {
    for name in names {
        assert_eq!(report[*name], expected, "{name} in {report:?}");
    }
}

const NEVER: [&str; 8] = ["program", "memory", "trace", "signal", "namespace", "clone", "mount", "bpf"];

/// What holds in every sandbox.
fn assert_confined(report: &BTreeMap<String, String>) {
    assert_all(report, &NEVER, "EPERM");
    assert_all(report, &["ring", "packet"], "EPERM");
    assert_all(report, &["unix", "read"], "works");
    assert_all(report, &["CapEff:", "CapPrm:"], "0000000000000000");
    // Only who may gain capabilities can give up the bounds of it. Without new privileges nobody gains any.
    if rustix::process::geteuid().is_root() {
        assert_all(report, &["CapBnd:"], "0000000000000000");
    }
    assert_all(report, &["NoNewPrivs:"], "1");
    assert_all(report, &["Seccomp:"], "2");
    assert!(report["files"].parse::<u32>().unwrap() <= 4096);
    assert_holds_without_a_sandbox(report);
}

fn assert_holds_without_a_sandbox(report: &BTreeMap<String, String>) {
    assert_all(report, &["dumpable"], "0");
    assert_all(report, &["inherited"], "EBADF");
    assert_all(report, &["environment"], "ENOENT");
}

#[tokio::test]
async fn a_module_under_standard_reaches_no_network_no_program_and_no_other_process() {
    let report = Scene::new(Confinement::default()).report().await;
    assert_confined(&report);
    assert_all(&report, &["tcp", "netlink"], "EPERM");
    // Where nothing is said of it, the module writes where its user may.
    assert_all(&report, &["write"], "works");
}

#[tokio::test]
async fn a_module_of_a_network_hsm_gets_its_network_and_nothing_else() {
    let report = Scene::new(Confinement { network: true, ..Confinement::default() }).report().await;
    assert_confined(&report);
    assert_all(&report, &["tcp", "netlink"], "works");
}

#[tokio::test]
async fn a_module_writes_to_what_is_named_alone() {
    let mut scene = Scene::new(Confinement::default());
    scene.config.confinement.writable = Some(vec![scene.token.path().join("tokens")]);
    let report = scene.report().await;
    assert_confined(&report);
    assert_all(&report, &["write"], "EACCES");
    scene.config.confinement.writable = Some(vec![scene.token.path().join("missing")]);
    let (group, _events) = start(vec![scene.config]);
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
    assert!(matches!(&failure, HsmFailure::Configuration(detail) if detail.contains("`writable`")), "{failure}");
    group.shutdown().await;
}

#[tokio::test]
async fn softhsm_works_in_a_strict_sandbox() {
    let mut scene = Scene::new(Confinement { sandbox: Sandbox::Strict, ..Confinement::default() });
    scene.config.confinement.writable = Some(vec![scene.token.path().join("tokens")]);
    let report = scene.report().await;
    assert_confined(&report);
    assert_all(&report, &["tcp", "netlink"], "EPERM");
    assert_all(&report, &["write"], "EACCES");
}

/// The probe itself is no good where nothing is taken away and it still fails.
#[tokio::test]
async fn without_a_sandbox_the_same_attempts_succeed() {
    let report = Scene::new(Confinement { sandbox: Sandbox::Off, ..Confinement::default() }).report().await;
    assert_all(&report, &["tcp", "netlink", "unix", "program", "signal", "read", "write"], "works");
    assert_all(&report, &["NoNewPrivs:", "Seccomp:"], "0");
    assert_all(&report, &["trace"], "ESRCH");
    assert_holds_without_a_sandbox(&report);
}
