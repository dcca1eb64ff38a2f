//! The verifier: keys, policy and clock, and the one path that a token takes through them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::key_set::{JwksError, KeySet};
#[cfg(feature = "jwks")]
use super::live::LiveKeys;
#[cfg(feature = "jwks")]
use super::source::{JwksSource, Place};
use crate::{AcceptedAudiences, Policy, Refusal, VerifiedClaims, accept};
use signet_jose::clock::{Clock, SystemClock, Timestamp};
use signet_jose::{Algorithm, Header, Jwk, JwkSet, JwsError, LeftOut, UnverifiedJws};

/// Verifies access tokens of one issuer, in process.
pub struct Verifier {
    keys: Keys,
    policy: Policy,
    clock: Arc<dyn Clock>,
}

enum Keys {
    Fixed(KeySet),
    #[cfg(feature = "jwks")]
    Live(LiveKeys),
}

/// Why a token is not accepted. For the log: the caller of a service is told less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The token is no acceptable JWS, or its signature does not verify.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// The header names no key of the issuer.
    #[error("the token names no key of the issuer")]
    UnknownKey,
    /// The signature verifies, and the token is refused all the same.
    #[error(transparent)]
    Claims(#[from] Refusal),
}

/// What a [`Verifier`] accepts, before it has its keys.
#[derive(Clone)]
pub struct VerifierBuilder {
    policy: Policy,
    #[cfg(feature = "jwks")]
    refresh_interval: Duration,
    #[cfg(feature = "jwks")]
    longest_use: Option<Duration>,
    clock: Arc<dyn Clock>,
}

impl VerifierBuilder {
    /// Accepts tokens for this audience, too. Without any, no token is accepted.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        if let AcceptedAudiences::AnyOf(audiences) = &mut self.policy.audiences {
            audiences.insert(audience.into());
        }
        self
    }

    /// Accepts tokens whoever they are meant for. Only for the issuer's own introspection: see
    /// [`AcceptedAudiences::DangerAnyAudience`].
    #[must_use]
    pub fn danger_any_audience(mut self) -> Self {
        self.policy.audiences = AcceptedAudiences::DangerAnyAudience;
        self
    }

    /// Accepts these algorithms only; without this, all of [`Algorithm::ALL`].
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.policy.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How far the issuer's clock may be from this one's; 10 seconds unless said otherwise.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.policy.leeway = leeway;
        self
    }

    /// The least time between two readings of the JWKS, whatever tokens name; 30 seconds unless said otherwise.
    #[cfg(feature = "jwks")]
    #[must_use]
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// How long the keys of a URL are used while it can't be read again, and none after that: whoever keeps the answer away must not
    /// keep a revoked key alive for ever. 24 hours unless said otherwise, `None` for ever. Keys of a text or a file are used without
    /// end.
    #[cfg(feature = "jwks")]
    #[must_use]
    pub fn longest_use(mut self, longest: Option<Duration>) -> Self {
        self.longest_use = longest;
        self
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Reads the keys. From a file or a URL they are kept current by a task on the Tokio runtime that this runs in,
    /// until the verifier is dropped; while the source can't be read, the last good keys stay, those of a URL for as long as
    /// [`longest_use`](Self::longest_use) says. A set that is read and has no key is taken: its issuer may have revoked every key.
    ///
    /// # Errors
    ///
    /// [`JwksError`] where the keys can't be had now.
    #[cfg(feature = "jwks")]
    pub async fn build(self, source: JwksSource) -> Result<Verifier, JwksError> {
        let place = match source {
            JwksSource::Text(text) => return self.build_from_text(&text),
            JwksSource::File(path) => Place::File(path),
            JwksSource::Url(url) => Place::url(url)?,
        };
        let longest = self.longest_use.filter(|_| matches!(place, Place::Url(..)));
        let live = LiveKeys::start(place, self.refresh_interval, longest).await?;
        Ok(self.with(Keys::Live(live)))
    }

    /// Takes the keys from the text of a JWKS; they never change.
    ///
    /// # Errors
    ///
    /// [`JwksError`] where the text is no JWKS or holds no usable key.
    pub fn build_from_text(self, jwks: &str) -> Result<Verifier, JwksError> {
        let keys = KeySet::from_json(jwks)?;
        Ok(self.with(Keys::Fixed(keys.usable()?)))
    }

    /// Takes these keys; they never change. With none, no token verifies.
    pub fn build_from_keys(self, keys: JwkSet) -> Verifier {
        self.with(Keys::Fixed(KeySet::new(keys)))
    }

    fn with(self, keys: Keys) -> Verifier {
        Verifier { keys, policy: self.policy, clock: self.clock }
    }
}

impl Verifier {
    /// Begins a verifier for the tokens of one issuer, compared byte for byte with `iss`.
    pub fn builder(issuer: impl Into<String>) -> VerifierBuilder {
        VerifierBuilder {
            policy: Policy::new(issuer, AcceptedAudiences::AnyOf(BTreeSet::new())),
            #[cfg(feature = "jwks")]
            refresh_interval: Duration::from_secs(30),
            #[cfg(feature = "jwks")]
            longest_use: Some(Duration::from_secs(24 * 60 * 60)),
            clock: Arc::new(SystemClock),
        }
    }

    /// Verifies a token. Waits only where the token names an unknown key and the JWKS may be read again: never where the
    /// keys are fixed.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] with the reason, for the log.
    pub async fn verify(&self, token: &str) -> Result<VerifiedClaims, VerifyError> {
        let jws = UnverifiedJws::parse(token)?;
        #[cfg(feature = "jwks")]
        if let Keys::Live(live) = &self.keys
            && live.current().find(jws.header()).is_none()
        {
            live.refresh().await;
        }
        self.judge(jws)
    }

    /// Verifies a token with the keys that are at hand, without waiting for anything.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] with the reason, for the log.
    pub fn verify_now(&self, token: &str) -> Result<VerifiedClaims, VerifyError> {
        self.judge(UnverifiedJws::parse(token)?)
    }

    /// The time by which this verifier judges.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The public key that a header names.
    pub fn jwk(&self, header: &Header) -> Option<Jwk> {
        self.with_keys(|keys| keys.find(header).map(|key| key.jwk().clone()))
    }

    /// The keys of the JWKS that are not used, and why: for whoever wonders why a token's key is not known.
    pub fn left_out(&self) -> Vec<LeftOut> {
        self.with_keys(|keys| keys.left_out().to_vec())
    }

    /// What is accepted.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn judge(&self, jws: UnverifiedJws<'_>) -> Result<VerifiedClaims, VerifyError> {
        let verified = self.with_keys(|keys| {
            let key = keys.find(jws.header()).ok_or(VerifyError::UnknownKey)?;
            jws.verify(key).map_err(VerifyError::Jws)
        })?;
        Ok(accept(verified, &self.policy, self.clock.now())?)
    }

    fn with_keys<T>(&self, ask: impl FnOnce(&KeySet) -> T) -> T {
        match &self.keys {
            Keys::Fixed(keys) => ask(keys),
            #[cfg(feature = "jwks")]
            Keys::Live(live) => ask(&live.current()),
        }
    }
}
