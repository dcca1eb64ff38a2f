//! What every module of an issuer stands on, and how a module is declared.

use std::sync::Arc;

use crate::deployment_secret::DeploymentSecret;
use crate::hsm_membership::transports::{EnvelopingVault, Transports};
use crate::ids::Ids;
use crate::{AuditTrail, Directory, Hashing, Ports, Settings};

/// What the constructors of modules pick from: each takes the ports that it needs, and of the store its own nouns.
pub(crate) struct Base {
    pub(crate) ports: Ports,
    pub(crate) settings: Arc<Settings>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) audit: Arc<AuditTrail>,
    pub(crate) secret: Arc<DeploymentSecret>,
    pub(crate) transports: Arc<Transports>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) hashing: Arc<Hashing>,
}

impl Base {
    pub(crate) fn new(settings: Settings, ports: Ports) -> Self {
        let settings = Arc::new(settings);
        let directory = Arc::new(Directory::new(settings.clone(), ports.store.clone(), ports.key_admin.clone()));
        let audit = Arc::new(AuditTrail::new(&ports));
        let secret = Arc::new(DeploymentSecret::new(&ports, &directory));
        let transports = Arc::new(Transports::new(settings.tenant.clone(), &ports, &secret));
        let vault = Arc::new(EnvelopingVault::new(ports.vault.clone(), &transports));
        let ports = Ports { vault, ..ports };
        let ids = Arc::new(Ids::new(&ports));
        let hashing = Arc::new(Hashing::new(settings.process.password_concurrency));
        Self { ports, settings, directory, audit, secret, transports, ids, hashing }
    }
}

/// Makes the macro `taken` of a table: for each name what it stands for, and where in the [`Base`] that is. `taken!(clock:
/// type)` is the type of a field, `taken!(clock: base)` what goes into it.
macro_rules! takings {
    ($dollar:tt $($name:ident: $what:ty = $($from:ident).+;)+) => {
        macro_rules! taken {
            $(
                ($name: type) => { std::sync::Arc<$what> };
                ($name: $dollar base:expr) => { $dollar base.$($from).+.clone() };
            )+
        }
    };
}

// The store is taken noun by noun, so that a module's declaration says what it reads and writes.
takings! { $
    clock: dyn signet_jose::clock::Clock = ports.clock;
    random: dyn signet_core::random::Random = ports.random;
    signer: dyn signet_core::keys::Signer = ports.signer;
    vault: dyn signet_core::keys::Vault = ports.vault;
    key_admin: dyn signet_core::keys::KeyAdmin = ports.key_admin;
    hsm_health: dyn signet_core::keys::HsmHealth = ports.hsm_health;
    validation_servers: Option<crate::sign_in::validation_servers::ValidationServers> = ports.validation_servers;
    settings: crate::settings::Settings = settings;
    directory: crate::directory::Directory = directory;
    audit: crate::audit::AuditTrail = audit;
    secret: crate::deployment_secret::DeploymentSecret = secret;
    transports: crate::hsm_membership::transports::Transports = transports;
    ids: crate::ids::Ids = ids;
    hashing: crate::hashing::Hashing = hashing;
    audit_log: dyn signet_store::AuditLog = ports.store;
    nodes: dyn signet_store::Nodes = ports.store;
    candidates: dyn signet_store::Candidates = ports.store;
    ceremonies: dyn signet_store::Ceremonies = ports.store;
    clients: dyn signet_store::Clients = ports.store;
    envelopes: dyn signet_store::Envelopes = ports.store;
    factor_life: dyn signet_store::FactorLife = ports.store;
    factors: dyn signet_store::Factors = ports.store;
    grants: dyn signet_store::Grants = ports.store;
    idempotency_keys: dyn signet_store::IdempotencyKeys = ports.store;
    joins: dyn signet_store::Joins = ports.store;
    keys: dyn signet_store::Keys = ports.store;
    leases: dyn signet_store::Leases = ports.store;
    logins: dyn signet_store::Logins = ports.store;
    membership: dyn signet_store::Membership = ports.store;
    otp_validation: dyn signet_store::OtpValidation = ports.store;
    recovery_codes: dyn signet_store::RecoveryCodes = ports.store;
    renewals: dyn signet_store::Renewals = ports.store;
    revocations: dyn signet_store::Revocations = ports.store;
    role_requests: dyn signet_store::RoleRequests = ports.store;
    rules: dyn signet_store::Rules = ports.store;
    secrets_at_rest: dyn signet_store::SecretsAtRest = ports.store;
    sessions: dyn signet_store::Sessions = ports.store;
    setting_statements: dyn signet_store::SettingStatements = ports.store;
    stock: dyn signet_store::Stock = ports.store;
    store: dyn signet_store::Store = ports.store;
    tries: dyn signet_store::Tries = ports.store;
    users: dyn signet_store::Users = ports.store;
}

/// Declares a module of the use cases: what it `takes` of the [`Base`], by the names in the table above; the modules that it
/// `calls`; and what it `keeps` of its own, which begins with its default. The constructor takes the base and each module that is
/// called: it can reach no other.
macro_rules! module {
    (
        $(#[$about:meta])*
        $visible:vis struct $Module:ident {
            takes $($port:ident),+;
            $(calls $($(#[$what:meta])* $shown:vis $called:ident: $Called:ty),+;)?
            $(keeps $($(#[$note:meta])* $kept:ident: $Kept:ty),+;)?
        }
    ) => {
        $(#[$about])*
        $visible struct $Module {
            $($port: taken!($port: type),)+
            $($($(#[$what])* $shown $called: std::sync::Arc<$Called>,)+)?
            $($($(#[$note])* $kept: $Kept,)+)?
        }

        impl $Module {
            pub(crate) fn new(
                base: &$crate::base::Base,
                $($($called: &std::sync::Arc<$Called>,)+)?
            ) -> std::sync::Arc<Self> {
                std::sync::Arc::new(Self {
                    $($port: taken!($port: base),)+
                    $($($called: $called.clone(),)+)?
                    $($($kept: Default::default(),)+)?
                })
            }
        }
    };
}
