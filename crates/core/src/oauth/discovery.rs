//! What clients find out by themselves: RFC 8414 metadata and OpenID Connect Discovery 1.0.

use serde_json::{Value, json};

use super::GrantType;
use signet_jose::Algorithm;
use signet_verify::Level;

/// The metadata document of an issuer. Both well-known addresses serve it.
pub fn metadata(issuer: &str, algorithms: &[Algorithm], scopes: &[String]) -> Value {
    let methods = ["client_secret_basic", "client_secret_post"];
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "piv_challenge_endpoint": format!("{issuer}/oauth2/challenge"),
        "jwks_uri": format!("{issuer}/oauth2/jwks"),
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "grant_types_supported": GrantType::ALL.map(GrantType::name),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>(),
        "scopes_supported": scopes,
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "scope", "roles", "auth_time", "acr", "amr",
            "authenticator",
        ],
        "acr_values_supported": Level::ALL.map(Level::acr),
    })
}
