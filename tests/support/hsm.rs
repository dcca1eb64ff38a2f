//! Throwaway SoftHSM tokens, and a group of real workers over them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use signet_core::keys::{
    AnnouncedKey, GeneratedKey, HsmKey, HsmName, KeyAdmin as _, KeyPurpose, KeyState, SigningPolicy, TenantId,
    test_signing_input,
};
use signet_hsm::{Confinement, HsmConfig, HsmEvent, HsmGroup, PinSource};
use signet_jose::algorithm::KeyType;
use signet_jose::clock::Timestamp;
use signet_jose::{Algorithm, Jwk};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// The program whose `hsm-worker` command is tested.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_signet");

/// A token in a directory of its own.
pub(crate) struct SoftToken {
    directory: TempDir,
    module: PathBuf,
}

impl SoftToken {
    pub(crate) fn new() -> Self {
        Self::provisioned(TempDir::new().unwrap())
    }

    /// The token of a folder; it is made where there is none yet.
    pub(super) fn provisioned(directory: TempDir) -> Self {
        let module = provision(directory.path(), "signet");
        std::fs::create_dir(directory.path().join("state")).unwrap();
        Self { directory, module }
    }

    /// Where its workers count.
    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn pin_file(&self) -> PathBuf {
        self.path().join("pin")
    }

    pub(crate) fn pin(&self) -> String {
        std::fs::read_to_string(self.pin_file()).unwrap().trim().to_owned()
    }

    pub(crate) fn module(&self) -> &Path {
        &self.module
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.path().join("softhsm2.conf")
    }

    /// A tool that works on this token.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SOFTHSM2_CONF", self.configuration());
        command
    }

    /// `pkcs11-tool`, logged in.
    pub(crate) fn pkcs11_tool(&self, arguments: &[&str]) -> String {
        let output = self
            .command("pkcs11-tool")
            .args([
                "--module",
                self.module.to_str().unwrap(),
                "--token-label",
                "signet",
                "--login",
                "--pin",
                &self.pin(),
            ])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "pkcs11-tool: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn config(&self) -> HsmConfig {
        HsmConfig {
            name: hsm(),
            module: self.module.clone(),
            init_args: None,
            slot: None,
            token_label: "signet".into(),
            pin: PinSource::File(self.pin_file()),
            sessions: 2,
            workers: 1,
            queue: 256,
            deadline: Duration::from_secs(5),
            expected_serial: None,
            environment: [("SOFTHSM2_CONF".into(), self.configuration().to_str().unwrap().into())].into(),
            state_directory: Some(self.state()),
            is_careful: false,
            policy: policy(),
            confinement: Confinement::default(),
            worker_socket: None,
        }
    }
}

/// Runs the script that users run.
pub(crate) fn provision(directory: &Path, label: &str) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/softhsm/provision.sh");
    let output = Command::new(script).arg(directory).arg(label).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

pub(crate) fn hsm() -> HsmName {
    HsmName::new("primary")
}

pub(crate) fn tenant() -> TenantId {
    TenantId::default_tenant()
}

pub(crate) type Events = mpsc::UnboundedReceiver<HsmEvent>;

/// Starts workers without waiting for them.
pub(crate) fn start(configs: Vec<HsmConfig>) -> (Arc<HsmGroup>, Events) {
    let (events, received) = mpsc::unbounded_channel();
    (HsmGroup::start(PROGRAM.into(), configs, events).unwrap(), received)
}

/// Starts workers and waits until they serve.
pub(crate) async fn started(config: HsmConfig) -> (Arc<HsmGroup>, Events) {
    let (group, events) = start(vec![config]);
    group.ready(Duration::from_secs(20)).await.unwrap();
    (group, events)
}

/// The key as the store would hold it.
pub(crate) fn stored(generated: &GeneratedKey, purpose: KeyPurpose, algorithm: Option<Algorithm>) -> HsmKey {
    let now = Timestamp::from_unix_seconds(1_700_000_000);
    HsmKey {
        tenant: tenant(),
        hsm: hsm(),
        purpose,
        key_id: generated.key_id.clone(),
        cka_id: generated.cka_id.clone(),
        public: generated.public.clone().zip(algorithm).map(|(key, algorithm)| Jwk::new(key, algorithm).unwrap()),
        state: KeyState::Active { since: now },
        created_at: now,
    }
}

/// A pair that is to be made.
pub(crate) fn announced(purpose: KeyPurpose, algorithm: Algorithm) -> AnnouncedKey {
    let cka_id = signet_core::random::bytes::<16>(&signet_core::random::OsRandom).to_vec();
    let at = Timestamp::from_unix_seconds(1_700_000_000);
    AnnouncedKey { tenant: tenant(), hsm: hsm(), purpose, algorithm, cka_id, at, given_up: false }
}

/// A pair for an algorithm; RSA with 2048 bits.
pub(crate) async fn pair(group: &HsmGroup, algorithm: Algorithm) -> HsmKey {
    let bits = if algorithm.key_type() == KeyType::Rsa { 2048 } else { 0 };
    let made = group.generate_announced(&announced(KeyPurpose::TokenSigning, algorithm), bits).await.unwrap();
    stored(&made, KeyPurpose::TokenSigning, Some(algorithm))
}

/// The issuer whose tokens the workers of [`SoftToken::config`] sign.
pub(crate) const ISSUER: &str = "https://signet.example";

pub(crate) fn policy() -> SigningPolicy {
    SigningPolicy { issuers: vec![ISSUER.into()], longest_token: Duration::from_secs(300), most_per_second: 0 }
}

/// What a key signs for a test of it.
pub(crate) fn probe(key: &HsmKey) -> Vec<u8> {
    let jwk = key.public.as_ref().unwrap();
    test_signing_input(&jwk.key_id, jwk.algorithm).into_bytes()
}

/// Makes the keys that keep secrets, and has the group use them.
pub(crate) async fn vault_keys(group: &HsmGroup, purposes: &[KeyPurpose]) -> Vec<HsmKey> {
    let mut keys = Vec::new();
    for purpose in purposes {
        let made = group.generate_secret(&hsm(), *purpose, &tenant()).await.unwrap();
        keys.push(stored(&made, *purpose, None));
    }
    group.use_keys(keys.clone());
    keys
}
