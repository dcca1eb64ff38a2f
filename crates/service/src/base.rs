//! What every module of an issuer stands on.

use std::sync::Arc;

use crate::audit::AuditTrail;
use crate::deployment_secret::DeploymentSecret;
use crate::directory::Directory;
use crate::ports::Ports;
use crate::settings::Settings;

/// What the constructors of modules pick from: each takes the ports that it needs, and of the store its own nouns.
pub(crate) struct Base {
    pub(crate) ports: Ports,
    pub(crate) settings: Arc<Settings>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) audit: Arc<AuditTrail>,
    pub(crate) secret: Arc<DeploymentSecret>,
}

impl Base {
    pub(crate) fn new(settings: Settings, ports: Ports) -> Self {
        let directory = Directory::new(settings.tenant.clone(), ports.store.clone(), ports.key_admin.clone());
        let directory = Arc::new(directory);
        let audit = Arc::new(AuditTrail::new(&ports));
        let secret = Arc::new(DeploymentSecret::new(&ports, &directory));
        Self { ports, settings: Arc::new(settings), directory, audit, secret }
    }
}
