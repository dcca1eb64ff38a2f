//! What clients find out by themselves: RFC 8414 metadata and OpenID Connect Discovery 1.0.

use serde_json::{Value, json};

use super::GrantType;
use signet_jose::Algorithm;
use signet_verify::Level;

/// The metadata document of an issuer. Both well-known addresses serve it.
pub fn metadata(issuer: &str, algorithms: &[Algorithm], scopes: &[String]) -> Value {
    let methods = ["client_secret_basic", "client_secret_post"];
    let mut document = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "piv_challenge_endpoint": format!("{issuer}/oauth2/challenge"),
        "jwks_uri": format!("{issuer}/oauth2/jwks"),
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "grant_types_supported": GrantType::ALL.map(GrantType::name),
        // RFC 8414 asks for the member, and for none without elements (§3.2): there is no authorization endpoint to answer.
        "response_types_supported": ["none"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "scope", "roles", "auth_time", "acr", "amr",
            "authenticator",
        ],
        "acr_values_supported": Level::ALL.map(Level::acr),
    });
    // "Claims with zero elements MUST be omitted from the response."
    let algorithms: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
    for (member, list) in
        [("id_token_signing_alg_values_supported", json!(algorithms)), ("scopes_supported", json!(scopes))]
    {
        if list != json!([]) {
            document[member] = list;
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_is_empty() {
        for (algorithms, scopes) in [(&[][..], &[][..]), (&[Algorithm::Es256], &["read".to_owned()])] {
            let document = metadata("https://id.example", algorithms, scopes);
            let lists = || {
                document.as_object().into_iter().flatten().filter_map(|(name, value)| Some((name, value.as_array()?)))
            };
            assert!(lists().all(|(_, list)| !list.is_empty()), "{document}");
            assert_eq!(lists().any(|(name, _)| name == "scopes_supported"), !scopes.is_empty());
            assert_eq!(document["response_types_supported"], json!(["none"]));
        }
    }
}
