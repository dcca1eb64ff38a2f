//! One `[[hsm]]` of the configuration: the value that the configuration's reader makes, the supervisor works by, and a
//! worker is sent as the first frame.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use signet_core::keys::{HsmName, SigningPolicy};

/// An HSM token and the workers that serve it.
///
/// What a worker does not go by is skipped on its way there. The names under which the rest travels are the words for it
/// where the server's configuration differs from a worker's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsmConfig {
    /// `name`: by which keys and sealed secrets refer to this HSM token, for good.
    pub name: HsmName,
    /// `module`: the vendor's PKCS#11 library.
    pub module: PathBuf,
    /// `init_args`: a text for the module in `C_Initialize`, for those that want their configuration there (NSS).
    pub init_args: Option<String>,
    /// `slot`: the slot's number as the module counts, where the label alone does not tell the token.
    pub slot: Option<u64>,
    /// `token_label`: the token's label, `CK_TOKEN_INFO.label`.
    pub token_label: String,
    /// Where the worker reads the PIN.
    #[serde(rename = "PIN's place")]
    pub pin: PinSource,
    /// `sessions`: sessions of each worker process; each is one thread.
    pub sessions: u32,
    /// `workers`: worker processes; more than one where the module's own locks are what limits it.
    #[serde(skip)]
    pub workers: u32,
    /// `queue`: the most unanswered requests of each worker process; more are
    /// [`HsmFailure::Overloaded`](signet_core::keys::HsmFailure::Overloaded).
    pub queue: u32,
    /// `deadline`: how long a request may take, waiting included.
    #[serde(skip)]
    pub deadline: Duration,
    /// `environment`: variables of the worker beside the inherited ones, e.g. `SOFTHSM2_CONF`.
    #[serde(skip)]
    pub environment: BTreeMap<String, String>,
    /// `worker_socket`: where a worker that runs as its own user is reached; without it the server starts its workers.
    #[serde(skip)]
    pub worker_socket: Option<PathBuf>,
    /// What the worker signs, and nothing else.
    #[serde(rename = "issuer, longest_token or max_signatures_per_second")]
    pub policy: SigningPolicy,
    /// What the worker may do on its machine.
    #[serde(rename = "sandbox, network or writable")]
    pub confinement: Confinement,
    /// Where the worker counts signatures, and remembers that a PIN was presented where that can't be written beside the
    /// PIN's file. Without it nothing is signed.
    pub state_directory: Option<PathBuf>,
    /// The serial number that this deployment is bound to: another token under the same label is refused.
    pub expected_serial: Option<String>,
    /// Whether the PIN is held back where the token says that a wrong one was shown to it: for callers that only read.
    pub is_careful: bool,
}

impl HsmConfig {
    /// The names of what differs between this and another configuration of a worker.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        match (serde_json::to_value(self), serde_json::to_value(other)) {
            (Ok(Value::Object(ours)), Ok(Value::Object(theirs))) => {
                ours.into_iter().filter(|(name, value)| theirs.get(name) != Some(value)).map(|(name, _)| name).collect()
            }
            // A path that is not UTF-8 can't be compared.
            _ => vec!["path".to_owned()],
        }
    }
}

/// Where the worker reads the PIN: RFC 7512 §2.4 `pin-source`, without the command form. The PIN itself is never in a
/// configuration, an argument or the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinSource {
    /// `pin_file`, or `pin_source = "file:/path"`: a regular file that only its owner can read.
    File(PathBuf),
    /// `pin_credential`: a systemd credential, the file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// `pin_prompt = true`: a person types it at the controlling terminal when the worker starts.
    Prompt,
}

/// What a worker may do on its machine beside its work.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// `sandbox`: how much is taken from the worker before it loads its module.
    pub sandbox: Sandbox,
    /// `network`: whether the module talks over the network to its HSM.
    pub network: bool,
    /// `writable`: the files and folders that the module writes to. `None`: anything that its user may, unless the
    /// sandbox is strict.
    pub writable: Option<Vec<PathBuf>>,
}

/// How much is taken from the worker before it loads its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sandbox {
    /// Nothing beyond core dumps and debuggers, for a module that needs more than the others leave it.
    Off,
    /// What the kernel offers of: no new privileges, no capabilities, no other programs, no dangerous system calls, no
    /// network.
    #[default]
    Standard,
    /// All of it, and nothing writable but what is named; a kernel that lacks a part is refused.
    Strict,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration that leads to no HSM.
    pub(crate) fn config() -> HsmConfig {
        HsmConfig {
            name: HsmName::new("primary"),
            module: "/usr/lib/module.so".into(),
            init_args: None,
            slot: None,
            token_label: "signet".into(),
            pin: PinSource::Credential("pin".into()),
            sessions: 4,
            workers: 1,
            queue: 16,
            deadline: Duration::from_secs(2),
            expected_serial: None,
            environment: BTreeMap::new(),
            state_directory: Some("/var/lib/worker".into()),
            is_careful: false,
            policy: SigningPolicy {
                issuers: vec!["https://issuer.example".into()],
                longest_token: Duration::from_secs(300),
                most_per_second: 0,
            },
            confinement: Confinement::default(),
            worker_socket: Some("/run/signet/hsm-primary.sock".into()),
        }
    }
}
