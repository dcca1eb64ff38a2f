//! `[tokens]`: how tokens are signed and how long they last.

use std::time::Duration;

use super::ConfigError;
use super::section::Section;
use signet_jose::Algorithm;

pub(super) const KEYS: &[&str] = &["algorithm", "access_lifetime", "refresh_lifetime", "refresh_retry_window"];

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `[tokens]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensConfig {
    /// `algorithm`: what newly generated signing keys are for.
    pub algorithm: Algorithm,
    /// `access_lifetime`: how long an access token is good.
    pub access_lifetime: Duration,
    /// `refresh_lifetime`: how long a refresh family lasts from sign-in, however often it is refreshed.
    pub refresh_lifetime: Duration,
    /// `refresh_retry_window`: how long the immediate predecessor of a refresh token gets the same successor again.
    pub refresh_retry_window: Duration,
}

impl TokensConfig {
    pub(super) fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
        Ok(Self {
            algorithm: section.word("algorithm", &algorithms, Algorithm::Es256)?,
            access_lifetime: section.duration("access_lifetime", Duration::from_secs(10)..=DAY, 5 * MINUTE)?,
            refresh_lifetime: section.duration("refresh_lifetime", MINUTE..=365 * DAY, 30 * DAY)?,
            refresh_retry_window: section.duration(
                "refresh_retry_window",
                Duration::ZERO..=MINUTE,
                Duration::from_secs(10),
            )?,
        })
    }
}
