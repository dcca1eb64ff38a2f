//! What an issuer is told by its configuration.

use std::time::Duration;

use crate::jose::Algorithm;
use crate::keys::TenantId;
use crate::mfa::Lockout;
use crate::oauth::RoleScopes;

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
    /// The name that authenticator apps show.
    pub otp_issuer: String,
    /// How many tries an account has.
    pub lockout: Lockout,
    /// Passwords that are hashed at once.
    pub password_concurrency: usize,
    /// Whether what an operator adds as a factor waits for another operator's approval.
    pub four_eyes: bool,
}
