//! What is accepted as an access token: the judgement, and the claims that passed it (RFC 9068 §4, RFC 7519 §4.1).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::claim::{audiences, date, required, scopes, text, texts};
use super::policy::{AcceptedAudiences, Policy};
use signet_jose::clock::Timestamp;
use signet_jose::{VerifiedJws, strict_json};

/// The `typ` of an access token (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// Why a token whose signature verified is refused all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The policy does not allow the algorithm.
    #[error("the algorithm is not allowed here")]
    Algorithm,
    /// `typ` is not that of an access token.
    #[error("the token is not an access token (typ at+jwt)")]
    TokenType,
    /// The payload is not one strict JSON object.
    #[error("the token's claims are malformed")]
    Payload,
    /// A claim that must be there is not.
    #[error("the claim `{0}` is missing")]
    Missing(&'static str),
    /// A claim is not of its type or out of range.
    #[error("the claim `{0}` is malformed")]
    Malformed(&'static str),
    /// Another issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// Another audience.
    #[error("the token is meant for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// The claims of an access token that verified and passed a [`Policy`]. Only [`accept`] makes them.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedClaims {
    issuer: String,
    subject: String,
    audiences: Vec<String>,
    client_id: String,
    token_id: String,
    issued_at: Timestamp,
    not_before: Option<Timestamp>,
    expires_at: Timestamp,
    scopes: BTreeSet<String>,
    roles: BTreeSet<String>,
    auth_time: Option<Timestamp>,
    acr: Option<String>,
    amr: Vec<String>,
    others: Map<String, Value>,
}

/// Judges a verified JWS as an access token.
///
/// # Errors
///
/// [`Refusal`] with the first reason found.
pub fn accept(jws: VerifiedJws, policy: &Policy, now: Timestamp) -> Result<VerifiedClaims, Refusal> {
    let header = jws.header();
    if !policy.algorithms.contains(&header.algorithm) {
        return Err(Refusal::Algorithm);
    }
    if !header.token_type.as_deref().is_some_and(names_access_token) {
        return Err(Refusal::TokenType);
    }
    let claims = VerifiedClaims::read(strict_json::object(jws.payload()).map_err(|_| Refusal::Payload)?, policy, now)?;
    if claims.issuer != policy.issuer {
        return Err(Refusal::Issuer);
    }
    match &policy.audiences {
        AcceptedAudiences::AnyOf(accepted) if !claims.audiences.iter().any(|audience| accepted.contains(audience)) => {
            Err(Refusal::Audience)
        }
        AcceptedAudiences::AnyOf(_) | AcceptedAudiences::DangerAnyAudience => Ok(claims),
    }
}

/// RFC 9068 §4: `at+jwt` or `application/at+jwt`; media types are compared without regard to case.
fn names_access_token(token_type: &str) -> bool {
    let prefix = "application/";
    let bare = match token_type.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => &token_type[prefix.len()..],
        _ => token_type,
    };
    bare.eq_ignore_ascii_case(ACCESS_TOKEN_TYPE)
}

impl VerifiedClaims {
    /// Reads every claim and judges the times. RFC 9068 §2.2 says which claims must be there.
    fn read(mut claims: Map<String, Value>, policy: &Policy, now: Timestamp) -> Result<Self, Refusal> {
        let expires_at = required(date(&mut claims, "exp")?, "exp")?;
        let issued_at = required(date(&mut claims, "iat")?, "iat")?;
        let not_before = date(&mut claims, "nbf")?;
        if now >= expires_at.plus(policy.leeway) {
            return Err(Refusal::Expired);
        }
        if not_before.map_or(issued_at, |not_before| issued_at.max(not_before)) > now.plus(policy.leeway) {
            return Err(Refusal::NotYetValid);
        }
        Ok(Self {
            issuer: required(text(&mut claims, "iss")?, "iss")?,
            subject: required(text(&mut claims, "sub")?, "sub")?,
            audiences: audiences(&mut claims)?,
            client_id: required(text(&mut claims, "client_id")?, "client_id")?,
            token_id: required(text(&mut claims, "jti")?, "jti")?,
            issued_at,
            not_before,
            expires_at,
            scopes: scopes(text(&mut claims, "scope")?),
            roles: texts(&mut claims, "roles")?.into_iter().collect(),
            auth_time: date(&mut claims, "auth_time")?,
            acr: text(&mut claims, "acr")?,
            amr: texts(&mut claims, "amr")?,
            others: claims,
        })
    }

    /// `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`: the user's id, or the client's where it acts for itself.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `aud`, as a list also where the token has a string.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// `client_id`.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// `jti`.
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// `iat`.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// `exp`.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// `scope`; empty where the token has none.
    pub fn scopes(&self) -> &BTreeSet<String> {
        &self.scopes
    }

    /// `roles`; empty where the token has none.
    pub fn roles(&self) -> &BTreeSet<String> {
        &self.roles
    }

    /// `auth_time`; only a person's token has one.
    pub fn auth_time(&self) -> Option<Timestamp> {
        self.auth_time
    }

    /// `acr`; only a person's token has one.
    pub fn acr(&self) -> Option<&str> {
        self.acr.as_deref()
    }

    /// `amr`: how the person was authenticated, in the words of RFC 8176; empty for a client.
    pub fn amr(&self) -> &[String] {
        &self.amr
    }

    /// A claim that has no accessor of its own here.
    pub fn other(&self, name: &str) -> Option<&Value> {
        self.others.get(name)
    }

    /// All claims as JSON, to be shown: `scope` sorted, times in whole seconds, `aud` as a list.
    pub fn to_json(&self) -> Value {
        let mut claims = self.others.clone();
        let mut claim = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value);
            }
        };
        let scope = self.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        claim("iss", Some(self.issuer.as_str().into()));
        claim("sub", Some(self.subject.as_str().into()));
        claim("aud", Some(self.audiences.clone().into()));
        claim("client_id", Some(self.client_id.as_str().into()));
        claim("jti", Some(self.token_id.as_str().into()));
        claim("iat", Some(self.issued_at.unix_seconds().into()));
        claim("nbf", self.not_before.map(|not_before| not_before.unix_seconds().into()));
        claim("exp", Some(self.expires_at.unix_seconds().into()));
        claim("scope", (!self.scopes.is_empty()).then(|| scope.into()));
        claim("roles", (!self.roles.is_empty()).then(|| self.roles.iter().map(String::as_str).collect()));
        claim("auth_time", self.auth_time.map(|auth_time| auth_time.unix_seconds().into()));
        claim("acr", self.acr.as_deref().map(Value::from));
        claim("amr", (!self.amr.is_empty()).then(|| self.amr.clone().into()));
        Value::Object(claims)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;
    use signet_jose::algorithm::KeyType;
    use signet_jose::{Algorithm, Header, Jwk, PublicKey, UnverifiedJws, VerifyingKey, assemble, signing_input};

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    fn policy() -> Policy {
        Policy::new("https://issuer.example", AcceptedAudiences::AnyOf(["api".to_owned()].into()))
    }

    fn claims() -> Value {
        json!({
            "iss": "https://issuer.example", "sub": "user", "aud": "api", "client_id": "client", "jti": "id",
            "iat": 1_700_000_000, "exp": 1_700_000_300, "scope": "write read", "roles": ["reader"], "tenant": "t",
        })
    }

    fn signed(token_type: Option<&str>, payload: &str) -> VerifiedJws {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = PublicKey::from_ec_point(KeyType::Ed25519, pair.public_key().as_ref()).unwrap();
        let jwk = Jwk::new(key, Algorithm::EdDsa).unwrap();
        let header = Header { algorithm: Algorithm::EdDsa, key_id: None, token_type: token_type.map(str::to_owned) };
        let input = signing_input(&header, payload.as_bytes());
        let signature = pair.sign(input.as_bytes());
        let token = assemble(input, signature.as_ref());
        UnverifiedJws::parse(&token).unwrap().verify(&VerifyingKey::new(jwk)).unwrap()
    }

    fn judge(payload: &str) -> Result<VerifiedClaims, Refusal> {
        accept(signed(Some("at+jwt"), payload), &policy(), NOW)
    }

    fn with(name: &str, value: Value) -> Result<VerifiedClaims, Refusal> {
        let mut claims = claims();
        claims[name] = value;
        judge(&claims.to_string())
    }

    #[test]
    fn an_accepted_token_tells_its_claims() {
        let verified = judge(&claims().to_string()).unwrap();
        assert_eq!((verified.subject(), verified.client_id(), verified.token_id()), ("user", "client", "id"));
        assert_eq!(verified.scopes().iter().collect::<Vec<_>>(), ["read", "write"]);
        assert_eq!(verified.expires_at(), NOW.plus(Duration::from_secs(300)));
        assert_eq!(verified.other("tenant"), Some(&json!("t")));
        assert_eq!((verified.auth_time(), verified.acr()), (None, None));
        let shown = verified.to_json();
        assert_eq!((&shown["aud"], &shown["scope"]), (&json!(["api"]), &json!("read write")));
    }

    #[test]
    fn every_claim_that_rfc_9068_asks_for_must_be_there() {
        for name in ["iss", "sub", "aud", "client_id", "jti", "iat", "exp"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            assert_eq!(judge(&claims.to_string()), Err(Refusal::Missing(name)));
            assert_eq!(with(name, Value::Null), Err(Refusal::Malformed(name)));
        }
    }

    #[test]
    fn times_are_judged_with_the_leeway() {
        let seconds = |offset: i64| json!(1_700_000_000 + offset);
        assert!(with("exp", seconds(-9)).is_ok());
        assert_eq!(with("exp", seconds(-10)), Err(Refusal::Expired));
        for name in ["nbf", "iat"] {
            assert!(with(name, seconds(10)).is_ok());
            assert_eq!(with(name, seconds(11)), Err(Refusal::NotYetValid));
        }
        assert!(with("exp", json!(1_700_000_000.5)).is_ok());
    }

    #[test]
    fn only_the_access_token_type_is_accepted() {
        let judge = |token_type| accept(signed(token_type, &claims().to_string()), &policy(), NOW);
        for token_type in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            assert!(judge(Some(token_type)).is_ok(), "{token_type}");
        }
        for token_type in ["JWT", "at+jwt ", "application/", "application/application/at+jwt", "", "aé", "logout+jwt"]
        {
            assert_eq!(judge(Some(token_type)), Err(Refusal::TokenType), "{token_type}");
        }
        assert_eq!(judge(None), Err(Refusal::TokenType));
    }

    #[test]
    fn policy_limits_algorithm_issuer_and_audience() {
        let judge = |policy: Policy| accept(signed(Some("at+jwt"), &claims().to_string()), &policy, NOW).err();
        assert_eq!(judge(Policy { algorithms: vec![Algorithm::Es256], ..policy() }), Some(Refusal::Algorithm));
        assert_eq!(judge(Policy { issuer: "https://issuer.example/".into(), ..policy() }), Some(Refusal::Issuer));
        let nobody = AcceptedAudiences::AnyOf(BTreeSet::new());
        assert_eq!(judge(Policy { audiences: nobody, ..policy() }), Some(Refusal::Audience));
        let danger = AcceptedAudiences::DangerAnyAudience;
        assert_eq!(judge(Policy { audiences: danger, ..policy() }), None);
    }
}
