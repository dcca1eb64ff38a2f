//! What kind of token a caller presents, told once and by its form alone.

use crate::Snapshot;
use signet_core::secret::SecretHash;
use signet_jose::UnverifiedJws;
use signet_jose::clock::Timestamp;
use signet_verify::{AcceptedAudiences, Policy, VerifiedClaims};

/// A token that a caller presents for introspection or revocation.
pub(crate) enum PresentedToken {
    /// An access token of this issuer that verifies and has not expired.
    Access(Box<VerifiedClaims>),
    /// Anything else: a refresh token, if the store knows its hash.
    Refresh(SecretHash),
}

impl PresentedToken {
    /// Tells what a text is. Access tokens are judged by the published keys; no audience is asked for, since the issuer
    /// may look at every token of its own.
    pub(crate) fn classify(snapshot: &Snapshot, issuer: &str, now: Timestamp, text: &str) -> Self {
        let claims = || {
            let unverified = UnverifiedJws::parse(text).ok()?;
            let key = snapshot.by_id(unverified.header().key_id.as_ref()?)?;
            let verified = unverified.verify(&key.verifying).ok()?;
            let policy = Policy::new(issuer, AcceptedAudiences::DangerAnyAudience);
            // The issuer's own clock wants no leeway after the expiry.
            signet_verify::accept(verified, &policy, now).ok().filter(|claims| now < claims.expires_at())
        };
        claims().map_or_else(|| Self::Refresh(SecretHash::of(text)), |claims| Self::Access(Box::new(claims)))
    }
}
