//! A worker that runs as its own user behind a socket, started by `systemd-socket-activate` as systemd would.
//!
//! As root, the server and the worker are two users, neither of whom is root. Another user can't change to a second one:
//! then both are this user, and the tests say so.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_core::keys::{
    HsmFailure, HsmName, KeyAdmin as _, LoginAnswer, LoginOutcome, LoginPermit, LoginPermits, LoginQuestion,
    LoginRecord, Signer as _, SigningPolicy,
};
use signet_hsm::{HsmConfig, HsmGroup};
use signet_jose::Algorithm;
use signet_jose::clock::SystemClock;
use signet_service::hsm_logins::HsmLogins;
use signet_store::{LoginChange, Logins as _, StoredLogins};

use super::confinement::compiled;
use crate::support::hsm::{PROGRAM, SoftToken, hsm, pair, probe, start, started};
use crate::support::process::runs;
use crate::support::skipped::skipped;
use crate::support::store::{Place, now};

const SERVER: u32 = 65_533;
const WORKER: u32 = 65_532;

const ISSUER: &str = "http://127.0.0.1:9";

type Lift = (&'static str, fn(&mut HsmConfig));

/// A token that the worker's user owns, a socket that the server's user owns, and what stands in for systemd.
struct Scene {
    token: SoftToken,
    activator: Child,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Its workers end with their conversations.
        let _ = self.activator.kill();
        let _ = self.activator.wait();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn own(path: &Path, user: u32, mode: u32) {
    if is_root() {
        chown(path, Some(user), Some(user)).unwrap();
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn own_all(folder: &Path, user: u32) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            own_all(&path, user);
        } else {
            own(&path, user, 0o600);
        }
    }
    own(folder, user, 0o700);
}

/// A command of this user.
fn as_user(user: u32, program: impl AsRef<OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let user = user.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).arg(program);
    command
}

/// The program and its module where each user can reach them: the folder in which they were built may be closed to
/// others, as a home is.
fn program(token: &SoftToken) -> PathBuf {
    token.path().join("signet")
}

fn module(token: &SoftToken) -> PathBuf {
    token.path().join("probe.so")
}

impl Scene {
    fn new() -> Self {
        if !is_root() {
            skipped("only root can have two users: server and worker are one, so that nothing is shown about two");
        }
        let token = SoftToken::new();
        let folder = token.path();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        for (built, copy) in [(Path::new(PROGRAM), program(&token)), (&compiled(), module(&token))] {
            fs::copy(built, &copy).unwrap();
            fs::set_permissions(copy, fs::Permissions::from_mode(0o755)).unwrap();
        }
        own_all(&folder.join("tokens"), WORKER);
        own(&token.pin_file(), WORKER, 0o600);
        own(&token.state(), WORKER, 0o700);
        fs::set_permissions(token.configuration(), fs::Permissions::from_mode(0o644)).unwrap();
        fs::create_dir(folder.join("server")).unwrap();
        own(&folder.join("server"), SERVER, 0o700);
        fs::write(folder.join("signet.toml"), configuration(&token)).unwrap();
        let activator = activate(&token);
        Self { token, activator }
    }

    /// What the server's side of this configuration is, for a group in this process.
    fn config(&self) -> HsmConfig {
        let mut config = self.token.config();
        config.environment.clear();
        config.module = module(&self.token);
        config.pin = signet_hsm::PinSource::File(self.token.pin_file());
        config.state_directory = None;
        config.policy = SigningPolicy {
            issuers: vec![ISSUER.to_owned()],
            longest_token: Duration::from_secs(3600),
            most_per_second: 0,
        };
        config.deadline = Duration::from_secs(1);
        config.sessions = 1;
        config.worker_socket = Some(self.socket());
        config
    }

    fn socket(&self) -> PathBuf {
        self.token.path().join("hsm.sock")
    }

    fn signet(&self, arguments: &[&str]) -> Output {
        let mut command = as_user(SERVER, program(&self.token));
        command.arg("--config").arg(self.token.path().join("signet.toml")).args(arguments);
        command.current_dir(self.token.path()).stdin(Stdio::null()).output().unwrap()
    }

    /// The workers behind the socket.
    fn workers(&self) -> Vec<u32> {
        let listed = fs::read_dir("/proc").unwrap().flatten();
        let numbers = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let configuration = self.token.path().join("signet.toml");
        let is_ours = |process: &u32| {
            let arguments = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            let is_worker = arguments.contains("hsm-worker") && arguments.contains("--clean");
            is_worker && arguments.contains(configuration.to_str().unwrap()) && runs(*process)
        };
        numbers.filter(is_ours).collect()
    }
}

fn configuration(token: &SoftToken) -> String {
    let folder = token.path().display();
    let module = module(token);
    format!(
        "[server]\npublic_url = \"{ISSUER}\"\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"sqlite://{folder}/server/signet.db\"\n\
         [audit]\nanchor = \"{folder}/server/anchor\"\npublic_key = \"{folder}/server/audit.jwk\"\n\
         [[hsm]]\nname = \"primary\"\nmodule = \"{module}\"\ntoken_label = \"signet\"\npin_file = \"pin\"\nsessions = 1\nqueue = 256\n\
         worker_socket = \"hsm.sock\"\n[hsm.environment]\nSOFTHSM2_CONF = \"{softhsm}\"\nPROBE_MODULE = \"{real}\"\nPROBE_HANG = \"{folder}/hang\"\n\
         PROBE_HANG_LOGIN = \"{folder}/hang-login\"\n",
        module = module.display(),
        softhsm = token.configuration().display(),
        real = token.module().display(),
    )
}

fn activate(token: &SoftToken) -> Child {
    let socket = token.path().join("hsm.sock");
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--accept", "--inetd", "--listen"]).arg(&socket);
    // Something that a worker must not get.
    command.arg("-E").arg("LD_PRELOAD_OF_A_STRANGER=1");
    let worker = as_user(WORKER, program(token));
    command.arg(worker.get_program()).args(worker.get_args());
    command.args(["hsm-worker", "--own", "--config"]).arg(token.path().join("signet.toml"));
    command.arg("--state-directory").arg(token.state());
    let log = fs::File::create(token.path().join("workers.log")).unwrap();
    let activator = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("systemd-socket-activate: {error}; it is in the package `systemd`"));
    until("the socket is there", || socket.exists());
    own(&socket, SERVER, 0o600);
    activator
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_server_whose_user_can_read_neither_pin_nor_token_serves_by_the_workers_user() {
    let scene = Scene::new();
    let initialised = scene.signet(&["init"]);
    assert!(initialised.status.success(), "{}\n{}", text(&initialised), log(&scene));
    let doctor = scene.signet(&["doctor"]);
    assert!(doctor.status.success(), "{}\n{}", text(&doctor), log(&scene));
    assert!(text(&doctor).contains("verified"), "{}", text(&doctor));
    if is_root() {
        for secret in [scene.token.pin_file(), scene.token.path().join("tokens"), scene.token.state()] {
            let read = as_user(SERVER, "cat").arg(&secret).output().unwrap();
            assert!(!read.status.success() && text(&read).contains("Permission denied"), "{}", text(&read));
        }
        let stranger = as_user(65_531, program(&scene.token))
            .args(["--config", scene.token.path().join("signet.toml").to_str().unwrap(), "doctor"])
            .output()
            .unwrap();
        assert!(!stranger.status.success(), "a stranger reached the worker");
    }
    until("the workers end with their conversations", || scene.workers().is_empty());
}

fn log(scene: &Scene) -> String {
    fs::read_to_string(scene.token.path().join("workers.log")).unwrap_or_default()
}

#[tokio::test]
async fn a_worker_of_another_user_is_itself_and_inherits_nothing() {
    let scene = Scene::new();
    let (group, _events) = started(scene.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap());
    assert_eq!(group.tally(&hsm()).await.unwrap()[0].tests, 1);
    let [worker] = scene.workers()[..] else { panic!("{:?}", scene.workers()) };
    let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    if is_root() {
        assert!(status.contains(&format!("Uid:\t{WORKER}\t{WORKER}\t{WORKER}\t{WORKER}")), "{status}");
    }
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    match fs::read(format!("/proc/{worker}/environ")) {
        Ok(environment) => {
            let environment = String::from_utf8_lossy(&environment);
            assert!(environment.contains("SOFTHSM2_CONF=") && !environment.contains("LD_PRELOAD"), "{environment}");
        }
        // A worker is closed to everybody but root, to its own user as well.
        Err(error) => assert!(!is_root() && error.kind() == ErrorKind::PermissionDenied, "{error}"),
    }
    group.shutdown().await;
    until("the worker ends with its conversation", || scene.workers().is_empty());
}

#[tokio::test]
async fn a_server_that_says_other_than_the_workers_configuration_is_refused() {
    let scene = Scene::new();
    let lifted: [Lift; 4] = [
        ("longest_token", |config| config.policy.longest_token = Duration::from_secs(315_360_000)),
        ("module", |config| config.module = "/usr/lib/other.so".into()),
        ("PIN", |config| config.pin = signet_hsm::PinSource::File("/etc/passwd".into())),
        ("sandbox", |config| config.confinement.network = true),
    ];
    for (what, lift) in lifted {
        let mut config = scene.config();
        lift(&mut config);
        let (group, _events) = start(vec![config]);
        let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
        let is_told = matches!(&failure, HsmFailure::Configuration(detail) if detail.contains(what));
        assert!(is_told, "{what}: {failure}");
        group.shutdown().await;
    }
}

/// Its server may not kill it: it closes the conversation, and the worker ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_worker_of_another_user_ends_by_itself_and_is_replaced() {
    let scene = Scene::new();
    let (group, _events) = started(scene.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    let [hanging] = scene.workers()[..] else { panic!("{:?}", scene.workers()) };
    fs::write(scene.token.path().join("hang"), "").unwrap();
    let attempts = (0..4).map(|_| {
        let (group, key) = (group.clone(), key.clone());
        tokio::spawn(async move { group.sign(&key, Algorithm::Es256, probe(&key)).await.map(drop) })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        assert!(attempt.await.unwrap().is_err());
    }
    let told = Instant::now();
    until("the hanging worker is gone", || !runs(hanging));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    fs::remove_file(scene.token.path().join("hang")).unwrap();
    signs_again(&group, &key).await;
    // And killed by somebody who may.
    let [worker] = scene.workers()[..] else { panic!("{:?}", scene.workers()) };
    assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
    signs_again(&group, &key).await;
    group.shutdown().await;
}

/// The hang is in the driver for good: nothing but the end of the process ends it.
#[tokio::test]
async fn a_worker_that_never_comes_back_from_its_module_ends_with_its_conversation() {
    let scene = Scene::new();
    let (group, _events) = started(scene.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    fs::write(scene.token.path().join("hang"), "").unwrap();
    assert!(group.sign(&key, Algorithm::Es256, probe(&key)).await.is_err());
    assert_eq!(scene.workers().len(), 1);
    group.shutdown().await;
    until("the worker is gone", || scene.workers().is_empty());
}

/// The server goes while the token takes its time over the PIN: what became of it is known all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_during_the_login_leaves_nobody_in_doubt_about_the_pin() {
    let scene = Scene::new();
    let hang = scene.token.path().join("hang-login");
    fs::write(&hang, "").unwrap();
    let (group, _events) = start(vec![scene.config()]);
    until("the PIN is presented", || is_marked(&scene));
    group.shutdown().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    fs::remove_file(&hang).unwrap();
    until("the worker is gone", || scene.workers().is_empty());
    assert!(!is_marked(&scene), "the PIN was taken");
    let (group, _events) = started(scene.config()).await;
    drop(pair(&group, Algorithm::Es256).await);
    group.shutdown().await;
}

/// Whether a PIN was presented whose fate nobody knows.
fn is_marked(scene: &Scene) -> bool {
    let entries = [scene.token.path().to_owned(), scene.token.state()].map(|folder| fs::read_dir(folder).unwrap());
    entries.into_iter().flatten().flatten().any(|entry| entry.file_name().to_string_lossy().ends_with("refused"))
}

async fn signs_again(group: &HsmGroup, key: &signet_core::keys::HsmKey) {
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(error) = group.sign(key, Algorithm::Es256, probe(key)).await {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The server is asked over the socket, and told; and where it goes during the login, the worker's files say how that ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_user_asks_for_all_nodes_before_it_presents_its_pin() {
    let (scene, place) = (Scene::new(), Place::new());
    let store = place.open().await;
    let start = || {
        let logins = HsmLogins::new(store.clone(), Arc::new(SystemClock), "node".to_owned());
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        HsmGroup::start_as_a_node(PROGRAM.into(), vec![scene.config()], events, Some(Arc::new(logins))).unwrap()
    };
    let hang = scene.token.path().join("hang-login");
    fs::write(&hang, "").unwrap();
    let group = start();
    until("the PIN is presented", || is_marked(&scene));
    let record = async || store.logins(now()).await.unwrap().remove(0).record;
    assert_eq!(record().await.presenting.unwrap().node, "node");
    group.shutdown().await;
    fs::remove_file(&hang).unwrap();
    until("the worker is gone", || scene.workers().is_empty());
    let group = start();
    group.ready(Duration::from_secs(20)).await.unwrap();
    assert_eq!(record().await, LoginRecord::default());
    let [worker] = scene.workers()[..] else { panic!("{:?}", scene.workers()) };
    assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
    until("another worker is there", || scene.workers().first().is_some_and(|other| *other != worker));
    group.ready(Duration::from_secs(20)).await.unwrap();
    // What the store says stops this worker too.
    let logins = store.logins(now()).await.unwrap().remove(0);
    let stopped = LoginRecord { stopped: [String::from("node")].into(), ..logins.record.clone() };
    let change = LoginChange { logins: StoredLogins { record: stopped, ..logins }, lasts: None };
    assert!(store.change_logins(change, now(), vec![]).await.unwrap());
    group.shutdown().await;
    let group = start();
    let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
    assert!(
        matches!(&failure, HsmFailure::PinRefused(why) if why.contains("allow-login primary --node node")),
        "{failure}"
    );
    group.shutdown().await;
    until("the worker is gone", || scene.workers().is_empty());
}

/// A server that somebody took over, and that permits everything.
struct Permissive;

#[async_trait::async_trait]
impl LoginPermits for Permissive {
    async fn ask(&self, _: &HsmName, question: &LoginQuestion) -> LoginAnswer {
        LoginAnswer::Present(LoginPermit::new((&question.token).into(), ()))
    }

    async fn end(&self, _: LoginPermit, _: LoginOutcome) {}

    async fn is_stopped(&self, _: &HsmName, _: &LoginQuestion) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_no_server_has_a_worker_of_another_user_present_a_refused_pin_again() {
    let scene = Scene::new();
    let pin = scene.token.pin();
    let write = |pin: &str| {
        fs::write(scene.token.pin_file(), pin).unwrap();
        own(&scene.token.pin_file(), WORKER, 0o600);
    };
    let start = || {
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        HsmGroup::start_as_a_node(PROGRAM.into(), vec![scene.config()], events, Some(Arc::new(Permissive))).unwrap()
    };
    write("not the PIN");
    for (told, untold) in [("CKR_PIN_INCORRECT", "not sent again"), ("not sent again", "CKR_PIN_INCORRECT")] {
        let group = start();
        let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure.to_string();
        assert!(failure.contains(told) && !failure.contains(untold), "{failure}");
        group.shutdown().await;
    }
    write(&pin);
    let group = start();
    group.ready(Duration::from_secs(20)).await.unwrap();
    group.shutdown().await;
}
