//! The configuration: a TOML file, one typed section a file, every key overridable by the environment.
//!
//! A file is read whole or refused: unknown keys, wrong types and values out of bounds are errors that name the key in
//! full, where its value came from, and what is expected; never the value, which may be a secret in the wrong place.
//! There is no secret in a good configuration: PINs are named by where they are. What is a tenant's lies in the store
//! (`signet_core::settings`).
//!
//! `docs/reference/configuration.md` lists every key; a test holds it against the `KEYS` of the sections.

mod admin;
mod audit;
pub(crate) mod changes;
mod error;
mod hsm;
mod log;
mod section;
mod server;
mod store;
mod tree;
mod yubico_validation;

use std::path::{Path, PathBuf};

pub use admin::{AdminConfig, AdminListen};
pub use audit::AuditConfig;
pub use error::ConfigError;
pub use log::{LogConfig, LogFormat, LogLevel};
pub use server::{Limits, PublicUrl, ServerConfig, TlsConfig};
pub use store::{PostgresConfig, StoreConfig};
pub use yubico_validation::YubicoValidationConfig;

use section::Section;
use signet_core::duration;
use signet_core::keys::SigningPolicy;
use signet_core::settings::SettingsDocument;
use signet_hsm::HsmConfig;
use signet_store::HsmRate;
use tree::Node;
pub(crate) use tree::is_platforms;

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
    /// `[yubico_validation]`: servers that verify Yubico OTPs whose keys are elsewhere.
    pub yubico_validation: Option<YubicoValidationConfig>,
    /// `[audit]`.
    pub audit: AuditConfig,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[log]`.
    pub log: LogConfig,
}

const KEYS: &[&str] = &["server", "store", "hsm", "yubico_validation", "audit", "admin", "log"];

impl Config {
    /// Reads a file, lays the environment's overrides over it (`SIGNET_SERVER__LISTEN` is `server.listen`,
    /// `SIGNET_HSM__0__PIN_FILE` the first `[[hsm]]`'s `pin_file`) and judges the whole.
    ///
    /// Variables without a `__` after `SIGNET_` are not overrides; one that begins with a section's name is refused,
    /// because it was meant as one. Relative paths start at the file's folder.
    /// Errors: [`ConfigError`] with the key and what to do.
    pub fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let (text, folder) = read(path)?;
        Self::parse(&text, &folder, environment)
    }

    /// Reads a file, with the overrides of this process's environment.
    /// Errors: [`ConfigError`] with the key and what to do.
    pub fn load_with_environment(path: &Path) -> Result<Self, ConfigError> {
        Self::load(path, own_variables()?)
    }

    /// Reads a file as an older program took it: sections of what lies in the store now are left out.
    /// Errors: [`ConfigError`] with the key and what to do.
    pub fn load_without_settings(path: &Path) -> Result<Self, ConfigError> {
        let (text, folder) = read(path)?;
        let mut root = Node::read(&text)?;
        SettingsDocument::SECTIONS.into_iter().for_each(|section| root.remove(section));
        Self::judge(root, &folder, own_variables()?)
    }

    /// Judges a text whose relative paths start at `folder`.
    /// Errors: [`ConfigError`] with the key and what to do.
    pub fn parse(
        text: &str,
        folder: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::judge(Node::read(text)?, folder, environment)
    }

    fn judge(
        mut root: Node,
        folder: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let wants_four_eyes = root.is_true("admin", "four_eyes");
        root.overlay_all(environment)?;
        if let Some(section) = SettingsDocument::SECTIONS.into_iter().find(|section| root.has(section)) {
            return Err(ConfigError::Moved { section });
        }
        let mut whole = Section::root(root, KEYS, folder)?;
        let store = StoreConfig::read(whole.section("store", store::KEYS)?)?;
        let server = ServerConfig::read(whole.section("server", server::KEYS)?)?;
        let policy = SigningPolicy {
            issuers: vec![server.public_url.as_str().to_owned()],
            longest_token: hsm::LONGEST_TOKEN,
            most_per_second: 0,
        };
        let mut admin = AdminConfig::read(whole.section("admin", admin::KEYS)?, &store, &server.proxies)?;
        // The environment may ask for more eyes than the file, never for fewer: whoever runs a command chooses it.
        admin.four_eyes |= wants_four_eyes;
        let yubico_validation = match whole.has("yubico_validation") {
            true => Some(YubicoValidationConfig::read(&whole.section("yubico_validation", yubico_validation::KEYS)?)?),
            false => None,
        };
        let (hsm, hsm_rates) = hsm::read_all(whole.sections("hsm", hsm::KEYS)?, &policy, store.folder())?;
        Ok(Self {
            store: store.clone(),
            hsm,
            hsm_rates,
            yubico_validation,
            server,
            audit: AuditConfig::read(whole.section("audit", audit::KEYS)?, &store)?,
            admin,
            log: LogConfig::read(whole.section("log", log::KEYS)?)?,
        })
    }
}

/// A file's text, and the folder at which its relative paths start.
fn read(path: &Path) -> Result<(String, PathBuf), ConfigError> {
    let refused =
        |problem: std::io::Error| ConfigError::Unreadable { file: path.to_owned(), problem: problem.to_string() };
    let text = signet_text_file::read_to_string(path).map_err(refused)?;
    let file = std::path::absolute(path).map_err(refused)?;
    Ok((text, file.parent().unwrap_or(Path::new("/")).to_owned()))
}

/// The variables of this process's environment that may be overrides.
fn own_variables() -> Result<impl Iterator<Item = (String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("SIGNET_")) else { continue };
        let refused = |_| ConfigError::Override { variable: name.to_owned(), problem: "it is not UTF-8" };
        variables.push((name.to_owned(), value.into_string().map_err(refused)?));
    }
    Ok(variables.into_iter())
}

impl Config {
    /// How long a token may last that the workers of every HSM token sign.
    pub fn longest_token(&self) -> std::time::Duration {
        self.hsm.iter().map(|hsm| hsm.policy.longest_token).min().unwrap_or(hsm::LONGEST_TOKEN)
    }

    /// Whether the server has a TLS key, which is no HSM's.
    pub fn has_tls_key(&self) -> bool {
        self.server.tls.is_some() || self.admin.listen.is_some()
    }
}

#[cfg(test)]
mod tests;
