//! An access token as it is issued (RFC 9068 §2).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::mfa::FactorKind;
use signet_jose::clock::Timestamp;
use signet_jose::{Algorithm, Header, KeyId, signing_input};
use signet_verify::ACCESS_TOKEN_TYPE;

/// The facts of one access token, before a key in the HSM signs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// `iss`: the tenant's issuer.
    pub issuer: String,
    /// `sub`: the user's id, or the client's where it acts for itself.
    pub subject: String,
    /// `aud`: who may accept the token. Written as a string where there is one.
    pub audiences: BTreeSet<String>,
    /// `iat` and `nbf`; tokens carry whole seconds.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
    /// `jti`: what revocation keys on.
    pub token_id: String,
    /// `client_id`: who asked.
    pub client_id: String,
    /// `scope`; left out where there is none.
    pub scopes: BTreeSet<String>,
    /// `roles`; left out where there is none.
    pub roles: BTreeSet<String>,
    /// How a person was authenticated; `None` where a client acts for itself.
    pub authenticated: Option<PersonFacts>,
}

/// How and when a person was authenticated (RFC 9068 §2.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonFacts {
    /// `auth_time`.
    pub auth_time: Timestamp,
    /// `acr`.
    pub acr: String,
    /// `amr`, in the words of RFC 8176.
    pub amr: Vec<String>,
    /// `authenticator`: what the person held, where the tenant's policy has tokens tell it.
    pub authenticator: Option<Authenticator>,
}

/// The authenticator that a person signed in with: a claim of Signet's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticator {
    /// The kind of factor, e.g. `totp` or `webauthn`.
    pub kind: FactorKind,
    /// The number that is printed on it.
    pub serial: Option<String>,
    /// The model of a WebAuthn authenticator, where it was told or attested: a UUID.
    pub aaguid: Option<String>,
}

impl Authenticator {
    fn claim(&self) -> Value {
        let mut claim = Map::from_iter([("kind".to_owned(), self.kind.name().into())]);
        for (name, value) in [("serial", &self.serial), ("aaguid", &self.aaguid)] {
            if let Some(value) = value {
                claim.insert(name.to_owned(), value.as_str().into());
            }
        }
        Value::Object(claim)
    }
}

impl AccessToken {
    /// The text that the key signs: header and claims (RFC 7515 §5.1).
    pub fn signing_input(&self, key_id: &KeyId, algorithm: Algorithm) -> String {
        let header = Header { algorithm, key_id: Some(key_id.clone()), token_type: Some(ACCESS_TOKEN_TYPE.to_owned()) };
        signing_input(&header, Value::Object(self.claims()).to_string().as_bytes())
    }

    fn claims(&self) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut claim = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        claim("iss", self.issuer.as_str().into());
        claim("sub", self.subject.as_str().into());
        claim("aud", one_or_many(&self.audiences));
        claim("exp", self.expires_at.unix_seconds().into());
        claim("iat", self.issued_at.unix_seconds().into());
        claim("nbf", self.issued_at.unix_seconds().into());
        claim("jti", self.token_id.as_str().into());
        claim("client_id", self.client_id.as_str().into());
        if !self.scopes.is_empty() {
            claim("scope", self.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ").into());
        }
        if !self.roles.is_empty() {
            claim("roles", self.roles.iter().map(String::as_str).collect());
        }
        if let Some(person) = &self.authenticated {
            claim("auth_time", person.auth_time.unix_seconds().into());
            claim("acr", person.acr.as_str().into());
            claim("amr", person.amr.iter().map(String::as_str).collect());
            if let Some(authenticator) = &person.authenticator {
                claim("authenticator", authenticator.claim());
            }
        }
        claims
    }
}

/// RFC 7519 §4.1.3: a string where there is one audience, an array otherwise.
fn one_or_many(audiences: &BTreeSet<String>) -> Value {
    match audiences.first() {
        Some(audience) if audiences.len() == 1 => audience.as_str().into(),
        _ => audiences.iter().map(String::as_str).collect(),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn set(items: &[&str]) -> BTreeSet<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn token() -> AccessToken {
        AccessToken {
            issuer: "https://issuer.example".into(),
            subject: "user".into(),
            audiences: set(&["https://api.example"]),
            issued_at: Timestamp::from_unix_millis(1_700_000_000_999),
            expires_at: Timestamp::from_unix_seconds(1_700_000_300),
            token_id: "id".into(),
            client_id: "client".into(),
            scopes: set(&["write", "read"]),
            roles: set(&["reader"]),
            authenticated: Some(PersonFacts {
                auth_time: Timestamp::from_unix_seconds(1_699_999_990),
                acr: "urn:signet:mfa".into(),
                amr: vec!["pwd".into(), "otp".into(), "mfa".into()],
                authenticator: Some(Authenticator {
                    kind: FactorKind::YubicoOtp,
                    serial: Some("7654321".into()),
                    aaguid: None,
                }),
            }),
        }
    }

    fn parts(token: &AccessToken) -> [Value; 2] {
        let input = token.signing_input(&KeyId::new("key"), Algorithm::Es256);
        let (header, claims) = input.split_once('.').unwrap();
        [header, claims].map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
    }

    #[test]
    fn a_persons_token_carries_every_claim_of_rfc_9068() {
        let [header, claims] = parts(&token());
        assert_eq!(header, json!({ "alg": "ES256", "typ": "at+jwt", "kid": "key" }));
        assert_eq!(
            claims,
            json!({
                "iss": "https://issuer.example", "sub": "user", "aud": "https://api.example",
                "exp": 1_700_000_300, "iat": 1_700_000_000, "nbf": 1_700_000_000, "jti": "id", "client_id": "client",
                "scope": "read write", "roles": ["reader"],
                "auth_time": 1_699_999_990, "acr": "urn:signet:mfa", "amr": ["pwd", "otp", "mfa"],
                "authenticator": { "kind": "yubico_otp", "serial": "7654321" },
            })
        );
    }

    #[test]
    fn a_clients_token_leaves_out_what_there_is_not() {
        let token = AccessToken {
            audiences: set(&["b", "a"]),
            scopes: set(&[]),
            roles: set(&[]),
            authenticated: None,
            ..token()
        };
        let [_, claims] = parts(&token);
        assert_eq!(claims["aud"], json!(["a", "b"]));
        for absent in ["scope", "roles", "auth_time", "acr", "amr"] {
            assert_eq!(claims.get(absent), None);
        }
    }
}
