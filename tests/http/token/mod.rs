//! `POST /oauth2/token`.

mod client_credentials;
mod one_time_codes;
mod overtaken;
mod password;
mod piv;
mod policy;
mod recovery;
mod refresh;
mod same_work;
mod storm;
mod throttle;
mod yubico;
mod yubico_remote;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, TokenData, Validation};
use serde_json::Value;

use crate::support::server::Server;

/// Verifies a token with the published keys, by somebody else's code.
pub(super) async fn verified(server: &Server, token: &str, audience: &str) -> TokenData<Value> {
    let keys: JwkSet = serde_json::from_str(&server.get("/oauth2/jwks").await.ok().body).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).expect("the token's key is published");
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[server.issuer()]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = 0;
    jsonwebtoken::decode(token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap()
}
