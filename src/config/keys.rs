//! `[keys]`: how long signing keys serve, and how long verifiers may keep the JWKS.

use std::time::Duration;

use super::section::Section;
use super::{ConfigError, duration};

pub(super) const KEYS: &[&str] = &["rotate_every", "publish_ahead", "jwks_max_age", "clock_skew"];

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The word for no rotation by schedule.
const NEVER: &str = "never";

/// `[keys]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeysConfig {
    /// `rotate_every`: how long a key signs; `None` where keys are rotated by command alone.
    pub rotate_every: Option<Duration>,
    /// `publish_ahead`: how long a key is published before it signs; at least `jwks_max_age` and `clock_skew`.
    pub publish_ahead: Duration,
    /// `jwks_max_age`: how long verifiers may keep the JWKS.
    pub jwks_max_age: Duration,
    /// `clock_skew`: how far the clocks of servers and verifiers may be apart, and how long an answer may travel.
    pub clock_skew: Duration,
}

impl KeysConfig {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let second = Duration::from_secs(1);
        let jwks_max_age = section.duration("jwks_max_age", second..=DAY, 5 * MINUTE)?;
        let clock_skew = section.duration("clock_skew", Duration::ZERO..=5 * MINUTE, Duration::from_secs(10))?;
        let least = jwks_max_age + clock_skew;
        let publish_ahead = section.duration("publish_ahead", second..=30 * DAY, HOUR.max(least))?;
        if publish_ahead < least {
            let problem = format!(
                "a key must be published for at least {} before it signs (jwks_max_age and clock_skew together), or \
                 verifiers that keep the JWKS refuse its tokens. Raise it, or lower jwks_max_age",
                duration::text(least)
            );
            return Err(section.unusable("publish_ahead", problem));
        }
        let rotate_every = Self::rotate_every(section)?;
        if rotate_every.is_some_and(|every| every < publish_ahead) {
            let problem = format!(
                "a key can't sign for less time than the next one is published ahead: at least {} (publish_ahead), or \
                 \"{NEVER}\", is expected",
                duration::text(publish_ahead)
            );
            return Err(section.unusable("rotate_every", problem));
        }
        Ok(Self { rotate_every, publish_ahead, jwks_max_age, clock_skew })
    }

    fn rotate_every(section: &Section<'_>) -> Result<Option<Duration>, ConfigError> {
        if section.text("rotate_every", "a duration, or \"never\"")?.as_deref() == Some(NEVER) {
            return Ok(None);
        }
        section.duration("rotate_every", Duration::from_secs(1)..=3650 * DAY, 90 * DAY).map(Some)
    }
}
