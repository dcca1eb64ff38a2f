//! `grant_type=refresh_token` (RFC 6749 §6, RFC 9700 §4.14): every use spends the token, and showing a spent one ends
//! the family. The immediate predecessor may be shown again within the retry window, and gets the same successor.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{OAuthError, Parameters, Scopes};
use crate::secret::SecretText;
use signet_jose::clock::Timestamp;

/// A refresh token is to be exchanged for its successor.
#[derive(Debug)]
pub struct RefreshRequest {
    /// The token.
    pub token: SecretText,
    /// The scopes asked for: at most those granted.
    pub scopes: Option<Scopes>,
    /// The audiences asked for: at most those granted (RFC 8707 §2.2); all of them where none.
    pub resources: BTreeSet<String>,
}

impl RefreshRequest {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, OAuthError> {
        let token = parameters.required("refresh_token", "refresh_token is missing")?;
        Ok(Self {
            token: SecretText::new(token.to_owned()),
            scopes: super::requested_scopes(parameters)?,
            resources: super::requested_resources(parameters),
        })
    }
}

/// How far the clocks of two nodes may be apart.
const SKEW: Duration = Duration::from_secs(2);

/// What a presented refresh token is in its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshStatus {
    /// It is exchanged.
    Exchangeable(Exchange),
    /// A spent token: somebody holds a copy. The family ends.
    Replayed,
}

/// How a refresh token that is no replay is exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// The live token: it is spent.
    First,
    /// The immediate predecessor within the retry window: the same successor is given again.
    Retry,
}

impl RefreshStatus {
    /// Judges a token by its place in the family, the live token's place and when it was spent.
    pub fn judge(generation: i64, live: i64, spent_at: Option<Timestamp>, now: Timestamp, window: Duration) -> Self {
        match spent_at {
            None if generation == live => Self::Exchangeable(Exchange::First),
            // Spent in the future means that the clock went back: nothing says how long ago it was.
            Some(spent_at) if generation + 1 == live && now.plus(SKEW) >= spent_at && now <= spent_at.plus(window) => {
                Self::Exchangeable(Exchange::Retry)
            }
            _ => Self::Replayed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn judge(generation: i64, live: i64, spent: Option<i64>, now: i64) -> RefreshStatus {
        let spent = spent.map(Timestamp::from_unix_seconds);
        RefreshStatus::judge(generation, live, spent, Timestamp::from_unix_seconds(now), WINDOW)
    }

    #[test]
    fn only_the_last_unspent_token_is_live() {
        assert_eq!(judge(3, 3, None, 100), RefreshStatus::Exchangeable(Exchange::First));
        assert_eq!(judge(2, 3, None, 100), RefreshStatus::Replayed);
    }

    #[test]
    fn the_predecessor_may_be_shown_again_within_the_window_only() {
        assert_eq!(judge(2, 3, Some(100), 110), RefreshStatus::Exchangeable(Exchange::Retry));
        assert_eq!(judge(2, 3, Some(100), 111), RefreshStatus::Replayed);
        assert_eq!(judge(2, 3, Some(100), 98), RefreshStatus::Exchangeable(Exchange::Retry));
    }

    #[test]
    fn hazard_29_a_clock_that_went_back_opens_no_window() {
        assert_eq!(judge(2, 3, Some(100), 97), RefreshStatus::Replayed);
        assert_eq!(judge(2, 3, Some(3700), 100), RefreshStatus::Replayed);
    }

    #[test]
    fn the_grandparent_is_a_replay_even_within_the_window() {
        assert_eq!(judge(1, 3, Some(100), 101), RefreshStatus::Replayed);
    }
}
