//! What an issuer goes by: of the process, what its configuration says; of the tenant, what is stated in the store and holds for every
//! node within a second.

pub mod registry;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use url::Url;

use signet_core::keys::TenantId;
use signet_core::settings::{SettingsDocument, SettingsFault, TenantSettings};

/// What the configuration of a process says of what it issues.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSettings {
    /// Whether this node asks that what an operator adds as a factor wait for another person's approval.
    pub four_eyes: bool,
    /// Passwords that are hashed at once.
    pub password_concurrency: usize,
    /// How long a token may last that the workers of its HSM tokens sign.
    pub longest_token: Duration,
}

/// What is a tenant's alone: its names, and the settings that hold.
#[derive(Debug)]
pub struct Settings {
    /// The tenant.
    pub tenant: TenantId,
    /// The issuer: `iss`, without a trailing slash.
    pub issuer: String,
    /// What the process's configuration says.
    pub process: ProcessSettings,
    url: Url,
    current: ArcSwap<TenantSettings>,
}

impl Settings {
    /// Of the default tenant, with everything as by default until a statement was read.
    /// Errors: [`SettingsFault`] where that can't be so at this URL.
    pub fn of_default_tenant(issuer: &str, url: &Url, process: ProcessSettings) -> Result<Self, SettingsFault> {
        let current = TenantSettings::judge(&SettingsDocument::default(), url)?;
        Ok(Self {
            tenant: TenantId::default_tenant(),
            issuer: issuer.to_owned(),
            process,
            url: url.clone(),
            current: ArcSwap::from_pointee(current),
        })
    }

    /// The settings that hold, as of the newest snapshot that was read.
    pub fn current(&self) -> Arc<TenantSettings> {
        self.current.load_full()
    }

    /// Judges a document for this issuer.
    /// Errors: [`SettingsFault`] for the first setting that can't be so.
    pub fn judge(&self, document: &SettingsDocument) -> Result<TenantSettings, SettingsFault> {
        TenantSettings::judge(document, &self.url)
    }

    /// Goes by other settings from now on.
    pub(crate) fn go_by(&self, settings: TenantSettings) {
        self.current.store(Arc::new(settings));
    }
}
