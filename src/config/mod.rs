//! The configuration: a TOML file, one typed section a file, every key overridable by the environment.
//!
//! A file is read whole or refused: unknown keys, wrong types and values out of bounds are errors that name the key in
//! full, where its value came from, and what is expected; never the value, which may be a secret in the wrong place.
//! There is no secret in a good configuration: PINs are named by where they are.
//!
//! `docs/reference/configuration.md` lists every key; a test holds it against the `KEYS` of the sections.

mod admin;
mod audit;
pub(crate) mod changes;
mod duration;
mod error;
mod hsm;
mod keys;
mod log;
mod mfa;
mod policy;
mod roles;
mod section;
mod server;
mod store;
mod tokens;
mod tree;
mod webauthn;
mod yubico_validation;

use std::path::Path;

pub use admin::{AdminConfig, AdminListen};
pub use audit::AuditConfig;
pub use error::ConfigError;
pub use keys::KeysConfig;
pub use log::{LogConfig, LogFormat, LogLevel};
pub use mfa::{MfaConfig, PivConfig};
pub use roles::Roles;
pub use server::{Limits, PublicUrl, ServerConfig, TlsConfig};
pub use store::{PostgresConfig, StoreConfig};
pub use tokens::TokensConfig;
pub use webauthn::{AttestationConfig, WebAuthnConfig};
pub use yubico_validation::YubicoValidationConfig;

use section::Section;
use signet_core::keys::SigningPolicy;
use signet_core::mfa::AssurancePolicy;
use signet_hsm::HsmConfig;
use signet_store::HsmRate;
use tree::Node;

/// Reads a duration as the configuration writes it: `"24h"`, `"30m"`.
/// Errors: What is expected.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    duration::parse(text).ok_or_else(|| "a whole number and a unit are expected: ms, s, m, h or d, e.g. 24h".to_owned())
}

/// A commented configuration to start from, which loads.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The whole configuration, judged. Paths in it are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[[hsm]]`: at least one, names unique.
    pub hsm: Vec<HsmConfig>,
    /// What each of them may sign by this node, and what it can do.
    pub hsm_rates: Vec<HsmRate>,
    /// `[tokens]`.
    pub tokens: TokensConfig,
    /// `[keys]`.
    pub keys: KeysConfig,
    /// `[roles]`; without it roles are claims only.
    pub roles: Option<Roles>,
    /// `[mfa]`.
    pub mfa: MfaConfig,
    /// `[policy]`.
    pub policy: AssurancePolicy,
    /// `[audit]`.
    pub audit: AuditConfig,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[log]`.
    pub log: LogConfig,
}

const KEYS: &[&str] = &["server", "store", "hsm", "tokens", "keys", "roles", "mfa", "policy", "audit", "admin", "log"];

impl Config {
    /// Reads a file, lays the environment's overrides over it (`SIGNET_SERVER__LISTEN` is `server.listen`,
    /// `SIGNET_HSM__0__PIN_FILE` the first `[[hsm]]`'s `pin_file`) and judges the whole.
    ///
    /// Variables without a `__` after `SIGNET_` are not overrides; one that begins with a section's name is refused,
    /// because it was meant as one. Relative paths start at the file's folder.
    /// Errors: [`ConfigError`] with the key and what to do.
    pub fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let refused =
            |problem: std::io::Error| ConfigError::Unreadable { file: path.to_owned(), problem: problem.to_string() };
        let text = std::fs::read_to_string(path).map_err(refused)?;
        let file = std::path::absolute(path).map_err(refused)?;
        Self::parse(&text, file.parent().unwrap_or(Path::new("/")), environment)
    }

    /// Reads a file, with the overrides of this process's environment.
    /// Errors: [`ConfigError`] with the key and what to do.
    pub fn load_with_environment(path: &Path) -> Result<Self, ConfigError> {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("SIGNET_")) else { continue };
            let refused = |_| ConfigError::Override { variable: name.to_owned(), problem: "it is not UTF-8" };
            variables.push((name.to_owned(), value.into_string().map_err(refused)?));
        }
        Self::load(path, variables.into_iter())
    }

    /// Judges a text whose relative paths start at `folder`.
    /// Errors: [`ConfigError`] with the key and what to do.
    pub fn parse(
        text: &str,
        folder: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut root = Node::read(text)?;
        let wants_four_eyes = root.is_true("mfa", "four_eyes");
        root.overlay_all(environment)?;
        let mut whole = Section::root(root, KEYS, folder)?;
        let store = StoreConfig::read(whole.section("store", store::KEYS)?)?;
        let server = ServerConfig::read(whole.section("server", server::KEYS)?)?;
        let tokens = TokensConfig::read(whole.section("tokens", tokens::KEYS)?)?;
        let policy = SigningPolicy {
            issuers: vec![server.public_url.as_str().to_owned()],
            longest_token: tokens.access_lifetime,
            most_per_second: 0,
        };
        let mut mfa = MfaConfig::read(whole.section("mfa", mfa::KEYS)?, &server.public_url)?;
        // The environment may ask for more eyes than the file, never for fewer: whoever runs a command chooses it.
        mfa.four_eyes |= wants_four_eyes;
        let (hsm, hsm_rates) = hsm::read_all(whole.sections("hsm", hsm::KEYS)?, &policy, store.folder())?;
        Ok(Self {
            store: store.clone(),
            hsm,
            hsm_rates,
            tokens,
            keys: KeysConfig::read(&whole.section("keys", keys::KEYS)?)?,
            roles: roles::read(whole.map("roles")?)?,
            mfa,
            server,
            policy: policy::read(whole.section("policy", policy::KEYS)?)?,
            audit: AuditConfig::read(whole.section("audit", audit::KEYS)?, &store)?,
            admin: AdminConfig::read(whole.section("admin", admin::KEYS)?, &store)?,
            log: LogConfig::read(whole.section("log", log::KEYS)?)?,
        })
    }
}

impl Config {
    /// Whether the server has a TLS key, which is no HSM's.
    pub fn has_tls_key(&self) -> bool {
        self.server.tls.is_some() || self.admin.listen.is_some()
    }
}

#[cfg(test)]
mod tests;
