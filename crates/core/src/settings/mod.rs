//! What is set of a tenant: how tokens are signed and how long they last, how keys come and go, what roles grant, what a person must
//! have proved, what protects sign-in.
//!
//! A [`SettingsDocument`] has them in words, as they are stated and kept; [`TenantSettings`] are what it means, judged. The bounds are
//! such that nobody can set the protection away.

mod difference;
mod document;
mod judge;

use std::sync::Arc;
use std::time::Duration;

use crate::networks::Network;
use signet_jose::Algorithm;

pub use difference::{SettingChange, differences};
pub use document::{
    ClaimsOnly, KeyWords, MfaWords, PivWords, PolicyWords, RoleWords, SettingsDocument, TokenWords, WebAuthnWords,
};
pub use judge::SettingsFault;

use crate::mfa::piv_offer::PivTrust;
use crate::mfa::webauthn::RelyingParty;
use crate::mfa::{AssurancePolicy, Lockout};
use crate::oauth::RoleScopes;
use crate::user_name::UserNames;

/// The longest text of a document that is taken, in bytes: a bundle of all makers' roots is well below.
pub const LONGEST_DOCUMENT: usize = 2 * 1024 * 1024;

/// How signing keys are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The settings of a tenant, judged.
#[derive(Debug)]
pub struct TenantSettings {
    /// What tokens are signed with.
    pub algorithm: Algorithm,
    /// How long an access token lasts.
    pub access_lifetime: Duration,
    /// How long a refresh family lasts, however often it is refreshed.
    pub refresh_lifetime: Duration,
    /// How long the immediate predecessor may be shown again.
    pub refresh_retry_window: Duration,
    /// How signing keys are rotated.
    pub keys: KeySettings,
    /// What roles grant.
    pub role_scopes: RoleScopes,
    /// What a person must have proved.
    pub assurance: AssurancePolicy,
    /// The networks that the tenant may be asked from; any where there are none.
    pub allow_from: Vec<Network>,
    /// The name that authenticator apps show.
    pub otp_issuer: String,
    /// How many tries an account has.
    pub lockout: Lockout,
    /// What the name of a new user may be.
    pub user_names: UserNames,
    /// What a PIV card's key must come with.
    pub piv: PivTrust,
    /// What security keys know this deployment as; `None` where its site has no name that they could know.
    pub webauthn: Option<Arc<RelyingParty>>,
    /// All of it in words, each value in its one form, what is by default too but for what follows the issuer's URL.
    pub document: SettingsDocument,
}
