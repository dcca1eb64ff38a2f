//! The verifier: keys, policy and clock, and the one path that a token takes through them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::key_set::KeySet;
use super::live::LiveKeys;
use super::source::{JwksError, JwksSource, Place, read_document};
use crate::{AcceptedAudiences, Policy, Refusal, VerifiedClaims, accept};
use signet_jose::clock::{Clock, SystemClock, Timestamp};
use signet_jose::{Algorithm, Header, Jwk, JwkSet, JwsError, UnverifiedJws, VerifiedJws};

/// Verifies access tokens of one issuer, in process.
pub struct Verifier {
    keys: Keys,
    policy: Policy,
    clock: Arc<dyn Clock>,
}

enum Keys {
    Fixed(KeySet),
    Live(Arc<LiveKeys>),
}

/// Why a token is not accepted. For the log: the caller of a service is told less (see [`bearer`](super::bearer)).
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
    issuer: String,
    audiences: AcceptedAudiences,
    algorithms: Vec<Algorithm>,
    leeway: Duration,
    refresh_interval: Duration,
    clock: Arc<dyn Clock>,
}

impl VerifierBuilder {
    /// Accepts tokens for this audience, too. Without any, no token is accepted.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        if let AcceptedAudiences::AnyOf(audiences) = &mut self.audiences {
            audiences.insert(audience.into());
        }
        self
    }

    /// Accepts tokens whoever they are meant for. Only for the issuer's own introspection: see
    /// [`AcceptedAudiences::DangerAnyAudience`].
    #[must_use]
    pub fn danger_any_audience(mut self) -> Self {
        self.audiences = AcceptedAudiences::DangerAnyAudience;
        self
    }

    /// Accepts these algorithms only; without this, all of [`Algorithm::ALL`].
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How far the issuer's clock may be from this one's; 10 seconds unless said otherwise.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The least time between two readings of the JWKS, whatever tokens name; 30 seconds unless said otherwise.
    #[must_use]
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Reads the keys. From a file or a URL they are kept current by a task on the Tokio runtime that this runs in,
    /// until the verifier is dropped; while the source can't be read, the last good keys stay.
    ///
    /// # Errors
    ///
    /// [`JwksError`] where the keys can't be had now.
    pub async fn build(self, source: JwksSource) -> Result<Verifier, JwksError> {
        let place = match source {
            JwksSource::Text(text) => return self.build_from_text(&text),
            JwksSource::File(path) => Place::File(path),
            JwksSource::Url(url) => Place::url(url)?,
        };
        let live = LiveKeys::start(place, self.refresh_interval).await?;
        Ok(self.with(Keys::Live(live)))
    }

    /// Takes the keys from the text of a JWKS; they never change.
    ///
    /// # Errors
    ///
    /// [`JwksError`] where the text is no JWKS or holds no usable key.
    pub fn build_from_text(self, jwks: &str) -> Result<Verifier, JwksError> {
        let keys = read_document(jwks)?;
        if keys.is_empty() { Err(JwksError::NoUsableKey) } else { Ok(self.with(Keys::Fixed(keys))) }
    }

    /// Takes these keys; they never change. With none, no token verifies.
    pub fn build_from_keys(self, keys: JwkSet) -> Verifier {
        self.with(Keys::Fixed(KeySet::new(keys)))
    }

    fn with(self, keys: Keys) -> Verifier {
        let Self { issuer, audiences, algorithms, leeway, clock, refresh_interval: _ } = self;
        Verifier { keys, policy: Policy { issuer, audiences, algorithms, leeway }, clock }
    }
}

impl Verifier {
    /// Begins a verifier for the tokens of one issuer, compared byte for byte with `iss`.
    pub fn builder(issuer: impl Into<String>) -> VerifierBuilder {
        VerifierBuilder {
            issuer: issuer.into(),
            audiences: AcceptedAudiences::AnyOf(BTreeSet::new()),
            algorithms: Algorithm::ALL.to_vec(),
            leeway: Policy::DEFAULT_LEEWAY,
            refresh_interval: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
        }
    }

    /// Verifies a token. Waits only where the token names an unknown key and the JWKS may be read again.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] with the reason, for the log.
    pub async fn verify(&self, token: &str) -> Result<VerifiedClaims, VerifyError> {
        let jws = UnverifiedJws::parse(token)?;
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
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How far the issuer's clock may be from this one's.
    pub(super) fn leeway(&self) -> Duration {
        self.policy.leeway
    }

    /// The public key that a header names.
    pub fn jwk(&self, header: &Header) -> Option<Jwk> {
        match &self.keys {
            Keys::Fixed(keys) => keys.find(header).map(|key| key.jwk().clone()),
            Keys::Live(live) => live.current().find(header).map(|key| key.jwk().clone()),
        }
    }

    /// What is accepted.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn judge(&self, jws: UnverifiedJws<'_>) -> Result<VerifiedClaims, VerifyError> {
        let verified = match &self.keys {
            Keys::Fixed(keys) => verify_with(keys, jws),
            Keys::Live(live) => verify_with(&live.current(), jws),
        }?;
        Ok(accept(verified, &self.policy, self.clock.now())?)
    }
}

fn verify_with(keys: &KeySet, jws: UnverifiedJws<'_>) -> Result<VerifiedJws, VerifyError> {
    let key = keys.find(jws.header()).ok_or(VerifyError::UnknownKey)?;
    Ok(jws.verify(key)?)
}
