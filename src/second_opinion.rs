//! A second opinion: the same token judged by the `jsonwebtoken` crate, which shares no parsing and no claim check with
//! Signet's own. For tools and auditors; the hot path asks one opinion.

use jsonwebtoken::{DecodingKey, Validation};

use signet_jose::UnverifiedJws;
use signet_verify::{AcceptedAudiences, Verifier};

/// The second implementation does not accept the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("jsonwebtoken does not accept the token: {0}")]
pub struct Disagreement(String);

/// Judges signature, `iss`, `aud`, `exp` and `nbf` by `jsonwebtoken`, with the key that the header names. A token
/// that [`Verifier::verify`] accepts and this refuses shows a fault in one of the two.
///
/// # Errors
///
/// [`Disagreement`] with that crate's reason.
pub fn second_opinion(verifier: &Verifier, token: &str) -> Result<(), Disagreement> {
    let differs = |reason: &dyn ToString| Disagreement(reason.to_string());
    let header = UnverifiedJws::parse(token).map_err(|error| differs(&error))?;
    let jwk = verifier.jwk(header.header()).ok_or_else(|| differs(&"no key of that name"))?;
    let key = serde_json::from_value(jwk.to_json()).map_err(|error| differs(&error))?;
    let key = DecodingKey::from_jwk(&key).map_err(|error| differs(&error))?;
    let algorithm = jwk.algorithm.name().parse().map_err(|error: jsonwebtoken::errors::Error| differs(&error))?;
    let mut validation = Validation::new(algorithm);
    validation.leeway = verifier.policy().leeway.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[&verifier.policy().issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
    match &verifier.policy().audiences {
        AcceptedAudiences::AnyOf(audiences) => {
            validation.set_audience(&audiences.iter().collect::<Vec<_>>());
        }
        AcceptedAudiences::DangerAnyAudience => validation.validate_aud = false,
    }
    jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).map_err(|error| differs(&error))?;
    Ok(())
}
