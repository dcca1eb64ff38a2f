//! A second opinion: the same token judged by the `jsonwebtoken` crate, which shares no parsing and no claim check with
//! Signet's own. For tools and auditors; the hot path asks one opinion.

use jsonwebtoken::{DecodingKey, Validation};

use super::Verifier;
use crate::jose::UnverifiedJws;
use crate::token::AcceptedAudiences;

/// The second implementation does not accept the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("jsonwebtoken does not accept the token: {0}")]
pub struct Disagreement(String);

impl Verifier {
    /// Judges signature, `iss`, `aud`, `exp` and `nbf` by `jsonwebtoken`, with the key that the header names. A token
    /// that [`verify`](Self::verify) accepts and this refuses shows a fault in one of the two.
    ///
    /// # Errors
    ///
    /// [`Disagreement`] with that crate's reason.
    pub fn second_opinion(&self, token: &str) -> Result<(), Disagreement> {
        let differs = |reason: &dyn ToString| Disagreement(reason.to_string());
        let header = UnverifiedJws::parse(token).map_err(|error| differs(&error))?;
        let jwk = self.jwk(header.header()).ok_or_else(|| differs(&"no key of that name"))?;
        let key = serde_json::from_value(jwk.to_json()).map_err(|error| differs(&error))?;
        let key = DecodingKey::from_jwk(&key).map_err(|error| differs(&error))?;
        let algorithm = jwk.algorithm.name().parse().map_err(|error: jsonwebtoken::errors::Error| differs(&error))?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.policy().leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.policy().issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
        match &self.policy().audiences {
            AcceptedAudiences::AnyOf(audiences) => {
                validation.set_audience(&audiences.iter().collect::<Vec<_>>());
            }
            AcceptedAudiences::DangerAnyAudience => validation.validate_aud = false,
        }
        jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).map_err(|error| differs(&error))?;
        Ok(())
    }
}
