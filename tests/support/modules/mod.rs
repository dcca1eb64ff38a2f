//! PKCS#11 modules of several makes, each test with a token and a state directory of its own.
//!
//! A make that this machine lacks fails its tests: `tools/ensure-packages.sh test` installs all of them.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::time::Duration;

use signet_core::keys::{HsmFailure, KeyPurpose, SealMode};
use signet_hsm::{Confinement, HsmConfig, HsmGroup, PinSource};
use signet_jose::Algorithm;
use tempfile::TempDir;

use super::hsm::{SoftToken, hsm};
use super::write_secret;

mod kryoptic;
mod nss;
mod p11_kit;
mod tpm2;

/// The label of every token.
const LABEL: &str = "signet";
const PIN: &str = "signet-test-pin";
const SECURITY_OFFICER: &str = "signet-test-so-pin";

/// Who made the module, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    /// OpenDNSSEC's software token.
    SoftHsm,
    /// Mozilla's: the software token of Firefox, with its keys in an SQLite file.
    Nss,
    /// A TPM 2.0 (IBM's, in software) behind tpm2-pkcs11.
    Tpm2,
    /// Kryoptic: a software token in Rust over OpenSSL, of PKCS#11 3.2. `tools/build-kryoptic.sh` builds it.
    Kryoptic,
    /// p11-kit's client and server, which put SoftHSM into another process behind a socket.
    P11Kit,
}

/// What a make can do: the table of docs/guides/hsm-guide.md.
pub(crate) struct Abilities {
    pub(crate) algorithms: &'static [Algorithm],
    pub(crate) seal_modes: &'static [SealMode],
    /// Whether its keys show that they were made in it. Where not, Signet refuses them.
    pub(crate) shows_custody: bool,
}

impl Abilities {
    /// The secret keys that such a token holds.
    pub(crate) fn secret_keys(&self) -> &'static [KeyPurpose] {
        match self.seal_modes {
            [SealMode::Wrapped, SealMode::Sealed] => &[KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding],
            [SealMode::Sealed] => &[KeyPurpose::Sealing, KeyPurpose::Binding],
            _ => &[],
        }
    }
}

impl Make {
    pub(crate) const fn abilities(self) -> Abilities {
        use Algorithm as A;
        const EC_RSA: &[A] = &[A::Es256, A::Es384, A::Rs256, A::Rs384, A::Rs512];
        const EC_RSA_PSS: &[A] = &[A::Es256, A::Es384, A::Rs256, A::Rs384, A::Rs512, A::Ps256, A::Ps384, A::Ps512];
        const SEALED: &[SealMode] = &[SealMode::Sealed];
        const BOTH: &[SealMode] = &[SealMode::Wrapped, SealMode::Sealed];
        match self {
            Self::SoftHsm => Abilities { algorithms: &A::ALL, seal_modes: BOTH, shows_custody: true },
            Self::Kryoptic => Abilities { algorithms: &A::ALL, seal_modes: SEALED, shows_custody: true },
            Self::P11Kit => Abilities { algorithms: EC_RSA_PSS, seal_modes: &[], shows_custody: true },
            Self::Nss => Abilities { algorithms: EC_RSA_PSS, seal_modes: BOTH, shows_custody: false },
            Self::Tpm2 => Abilities { algorithms: EC_RSA, seal_modes: &[], shows_custody: true },
        }
    }

    /// A fresh token.
    pub(crate) fn token(self) -> ModuleToken {
        match self {
            Self::SoftHsm => ModuleToken::of_softhsm(SoftToken::new()),
            Self::Kryoptic => kryoptic::token(),
            Self::Nss => nss::token(),
            Self::Tpm2 => tpm2::token(),
            Self::P11Kit => p11_kit::token(),
        }
    }
}

/// Workers over the token that serve.
pub(crate) async fn serving(token: &ModuleToken) -> Arc<HsmGroup> {
    let group = token.start(token.config());
    group.ready(Duration::from_secs(20)).await.unwrap();
    group
}

/// A token of some make. What keeps it alive ends with it.
pub(crate) struct ModuleToken {
    config: HsmConfig,
    program: PathBuf,
    // Ended before its directory goes.
    servers: Vec<Server>,
    #[expect(dead_code, reason = "holds the directory")]
    home: Home,
}

enum Home {
    Directory(#[expect(dead_code, reason = "removed when it is dropped")] TempDir),
    SoftHsm(#[expect(dead_code, reason = "removed when it is dropped")] SoftToken),
}

impl ModuleToken {
    fn of_softhsm(token: SoftToken) -> Self {
        let config = token.config();
        Self { config, program: super::hsm::PROGRAM.into(), servers: Vec::new(), home: Home::SoftHsm(token) }
    }

    /// One worker with one session, which every make allows.
    fn new(directory: TempDir, module: PathBuf, environment: Vec<(String, String)>) -> Self {
        let pin = directory.path().join("pin");
        write_secret(&pin, PIN);
        let config = HsmConfig {
            name: hsm(),
            module,
            init_args: None,
            slot: None,
            token_label: LABEL.into(),
            pin: PinSource::File(pin),
            sessions: 1,
            workers: 1,
            queue: 256,
            deadline: Duration::from_secs(30),
            expected_serial: None,
            environment: environment.into_iter().collect(),
            state_directory: Some(directory.path().to_owned()),
            is_careful: false,
            policy: super::hsm::policy(),
            confinement: Confinement::default(),
            worker_socket: None,
        };
        Self { config, program: super::hsm::PROGRAM.into(), servers: Vec::new(), home: Home::Directory(directory) }
    }

    /// Starts workers without waiting for them.
    pub(crate) fn start(&self, config: HsmConfig) -> Arc<HsmGroup> {
        let (events, _nobody) = tokio::sync::mpsc::unbounded_channel();
        HsmGroup::start(self.program.clone(), vec![config], events).unwrap()
    }

    /// Why workers of this configuration don't start.
    pub(crate) async fn failing(&self, config: HsmConfig) -> HsmFailure {
        let group = self.start(config);
        let failure = group.ready(Duration::from_secs(20)).await.unwrap_err().failure;
        group.shutdown().await;
        failure
    }

    pub(crate) fn config(&self) -> HsmConfig {
        self.config.clone()
    }

    /// What beside the module keeps the token alive; the first holds it.
    pub(crate) fn server(&mut self) -> Option<&mut Server> {
        self.servers.first_mut()
    }
}

/// A daemon that a module needs; ended with the test.
pub(crate) struct Server {
    command: Command,
    process: Option<Child>,
    wait: Box<dyn Fn() -> bool + Send>,
}

impl Server {
    fn start(command: Command, is_ready: impl Fn() -> bool + Send + 'static) -> Self {
        let mut server = Self { command, process: None, wait: Box::new(is_ready) };
        server.begin();
        server
    }

    /// Starts it, again after [`stop`](Self::stop).
    pub(crate) fn begin(&mut self) {
        let process = self
            .command
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| lacks(&format!("{:?}: {error}", self.command)));
        self.process = Some(process);
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while !(self.wait)() {
            assert!(std::time::Instant::now() < until, "{:?} does not come up", self.command);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it with all that it has started.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let group = format!("-{}", process.id());
            run(Command::new("kill").args(["-KILL", "--", &group]));
            process.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a tool that must succeed.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| lacks(&format!("{command:?}: {error}")));
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", told(&output.stdout), told(&output.stderr));
    output
}

/// A library of the system, which is where the distribution puts it.
fn library(name: &str) -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let places = folders.chain(["/usr/lib".into(), "/usr/lib64".into()]);
    let found = places.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| lacks(&format!("no {name} under /usr/lib")))
}

fn lacks(what: &str) -> ! {
    panic!("{what}\nThe modules that the tests run on are not all here: tools/ensure-packages.sh test installs them")
}

fn variable(name: &str, value: &Path) -> (String, String) {
    (name.to_owned(), value.to_str().unwrap().to_owned())
}
