//! What the use cases reach the world through.

use std::sync::Arc;

use crate::sign_in::validation_servers::ValidationServers;
use signet_core::keys::{HsmHealth, KeyAdmin, Signer, Vault};
use signet_core::random::Random;
use signet_jose::clock::Clock;
use signet_store::Store;

/// The adapters that a deployment works with. Each module takes those that it needs, and of the store its own nouns.
#[derive(Clone)]
pub struct Ports {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// What signs.
    pub signer: Arc<dyn Signer>,
    /// What seals.
    pub vault: Arc<dyn Vault>,
    /// What makes and lists keys.
    pub key_admin: Arc<dyn KeyAdmin>,
    /// What knows which HSM tokens answer.
    pub hsm_health: Arc<dyn HsmHealth>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The servers that verify Yubico OTPs whose keys are elsewhere, where any are configured.
    pub validation_servers: Arc<Option<ValidationServers>>,
}
