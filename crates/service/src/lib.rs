//! Use cases: judge, then act. HTTP, pages and the command line call the same functions.
//!
//! A [`Signet`] is one issuer with its adapters. Everything that it decides is written to the audit log in the commit
//! of the change, or before the token leaves.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod authenticate;
pub mod authenticate_client;
mod carried;
pub mod checkpoint;
pub mod custody;
pub mod custody_report;
mod decoy;
mod deployment_secret;
pub mod directory;
pub mod enrol;
pub mod error;
pub mod factor_life;
pub mod generate_key;
mod hashing;
pub mod hsm_members;
pub mod hsm_tokens;
pub mod import;
pub mod initialise;
pub mod introspect;
pub mod issue;
pub mod ledger;
mod match_code;
pub mod otp_clients;
pub mod otp_keys;
pub mod piv;
pub mod readiness;
pub mod reconcile;
mod recorded;
pub mod recovery;
pub mod refresh;
pub mod repeats;
pub mod reseal;
pub mod resync;
pub mod revoke;
pub mod revoke_key;
pub mod rotate;
pub mod self_service;
pub mod self_tokens;
pub mod session;
pub mod settings;
pub mod signing;
pub mod stock;
pub mod tries;
pub mod validate_otp;
pub mod validation_servers;
pub mod webauthn;
mod yubico_remote;

use std::sync::Arc;

pub use directory::Directory;
pub use error::{ChangeError, InitialiseError, MembershipError};
pub use settings::{KeySettings, Settings};

use signet_core::keys::{KeyAdmin, Signer, Vault};
use signet_core::random::Random;
use signet_jose::clock::{Clock, Timestamp};
use signet_store::Store;

/// The adapters that an issuer works with.
#[derive(Clone)]
pub struct Adapters {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// What signs.
    pub signer: Arc<dyn Signer>,
    /// What seals.
    pub vault: Arc<dyn Vault>,
    /// What makes and lists keys.
    pub key_admin: Arc<dyn KeyAdmin>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The servers that verify Yubico OTPs whose keys are elsewhere, where any are configured.
    pub validation_servers: Option<Arc<validation_servers::ValidationServers>>,
}

/// One issuer with its adapters: what HTTP and the command line call.
pub struct Signet {
    settings: Settings,
    adapters: Adapters,
    directory: Directory,
    hashing: hashing::Hashing,
    decoy: decoy::Decoy,
    deployment_secret: deployment_secret::DeploymentSecret,
    repeats: repeats::Repeats,
    readiness: readiness::Readiness,
    ledger: Arc<ledger::Ledger>,
    recorded: tokio::sync::Mutex<recorded::Recorded>,
    resealing: reseal::Resealing,
    validation: validate_otp::Validation,
}

impl Signet {
    /// Puts an issuer together. Nothing is read and no key is touched yet.
    pub fn new(settings: Settings, adapters: Adapters) -> Arc<Self> {
        Arc::new(Self {
            directory: Directory::new(settings.tenant.clone(), adapters.store.clone(), adapters.key_admin.clone()),
            hashing: hashing::Hashing::new(settings.password_concurrency),
            decoy: decoy::Decoy::default(),
            deployment_secret: deployment_secret::DeploymentSecret::default(),
            resealing: reseal::Resealing::default(),
            repeats: repeats::Repeats::default(),
            readiness: readiness::Readiness::default(),
            ledger: Arc::default(),
            recorded: tokio::sync::Mutex::default(),
            validation: validate_otp::Validation::default(),
            settings,
            adapters,
        })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is known of keys and clients.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.adapters.store
    }

    /// The joint that lists and makes keys.
    pub fn key_admin(&self) -> &Arc<dyn KeyAdmin> {
        &self.adapters.key_admin
    }

    /// How many signatures of this process are under way, or perhaps have no record.
    pub fn unaccounted(&self) -> u64 {
        self.ledger.perhaps()
    }

    /// The time by which this issuer decides.
    pub fn clock_now(&self) -> Timestamp {
        self.now()
    }

    fn now(&self) -> Timestamp {
        self.adapters.clock.now()
    }

    /// An id for one request.
    pub fn new_request_id(&self) -> String {
        self.new_id()
    }

    /// A new UUIDv7 (RFC 9562 §5.7).
    fn new_id(&self) -> String {
        let millis = u64::try_from(self.now().unix_millis()).unwrap_or(0);
        let random = signet_core::random::bytes::<10>(self.adapters.random.as_ref());
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
    }
}
