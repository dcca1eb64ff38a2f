//! Which access tokens a verifier accepts.

use std::collections::BTreeSet;
use std::time::Duration;

use signet_jose::Algorithm;

/// Which access tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `iss`, compared byte for byte: a trailing slash is another issuer.
    pub issuer: String,
    /// Whom the token must be meant for.
    pub audiences: AcceptedAudiences,
    /// The algorithms that keys may have.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and verifier may be apart, for `exp`, `nbf` and `iat`.
    pub leeway: Duration,
}

/// Whom a token must be meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptedAudiences {
    /// One of the token's audiences must be one of these, byte for byte. An empty set accepts no token.
    AnyOf(BTreeSet<String>),
    /// Every audience. Only for the issuer's own introspection and revocation, where the token is looked at and not
    /// obeyed: a resource server with this accepts tokens that were meant for others.
    DangerAnyAudience,
}

impl Policy {
    /// What [`leeway`](Self::leeway) is unless said otherwise.
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(10);

    /// Every algorithm and the default leeway.
    pub fn new(issuer: impl Into<String>, audiences: AcceptedAudiences) -> Self {
        let algorithms = Algorithm::ALL.to_vec();
        Self { issuer: issuer.into(), audiences, algorithms, leeway: Self::DEFAULT_LEEWAY }
    }
}
