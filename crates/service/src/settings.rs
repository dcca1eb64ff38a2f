//! What an issuer is told by its configuration.

use std::sync::Arc;
use std::time::Duration;

use signet_core::keys::TenantId;
use signet_core::mfa::webauthn::RelyingParty;
use signet_core::mfa::{AssurancePolicy, Lockout};
use signet_core::oauth::RoleScopes;
use signet_jose::Algorithm;

/// How signing keys are rotated.
#[derive(Debug, Clone, Copy)]
pub struct KeySettings {
    /// How long a key signs; `None` where keys are rotated by command alone.
    pub rotate_every: Option<Duration>,
    /// How long a key is published before it signs.
    pub publish_ahead: Duration,
    /// How long verifiers may keep the JWKS.
    pub jwks_max_age: Duration,
    /// How far clocks may be apart.
    pub clock_skew: Duration,
}

impl KeySettings {
    /// How long what is signed at the last moment may be under way until it is written down.
    const UNDER_WAY: Duration = Duration::from_secs(5);

    /// The least time between a key's publication and its first signature.
    pub fn least_published(&self) -> Duration {
        self.jwks_max_age + self.clock_skew
    }

    /// How much longer than its last token a key stays published: for a signature that was under way when another key
    /// took over, and for a signer's and a verifier's clock.
    pub fn margin(&self) -> Duration {
        Self::UNDER_WAY + self.verifier_margin()
    }

    /// The part of it that is the verifiers'.
    pub fn verifier_margin(&self) -> Duration {
        2 * self.clock_skew
    }
}

/// The settings of one issuer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tenant.
    pub tenant: TenantId,
    /// The issuer: `iss`, without a trailing slash.
    pub issuer: String,
    /// What tokens are signed with.
    pub algorithm: Algorithm,
    /// How long an access token lasts.
    pub access_lifetime: Duration,
    /// How long a refresh family lasts, however often it is refreshed.
    pub refresh_lifetime: Duration,
    /// How long the immediate predecessor may be shown again.
    pub refresh_retry_window: Duration,
    /// What roles grant.
    pub role_scopes: RoleScopes,
    /// What a person must have proved.
    pub assurance: AssurancePolicy,
    /// How signing keys are rotated.
    pub keys: KeySettings,
    /// The name that authenticator apps show.
    pub otp_issuer: String,
    /// How many tries an account has.
    pub lockout: Lockout,
    /// Passwords that are hashed at once.
    pub password_concurrency: usize,
    /// What security keys know this deployment as; `None` where its site has no name that they could know.
    pub webauthn: Option<Arc<RelyingParty>>,
    /// Whether this node asks that what an operator adds as a factor wait for another person's approval.
    pub four_eyes: bool,
}
