//! Both discovery documents.

use serde_json::json;

use super::Stage;

#[tokio::test]
async fn both_documents_say_the_same_and_what_they_say_is_there() {
    let stage = Stage::shared();
    let openid = stage.get("/.well-known/openid-configuration").await.ok();
    let oauth = stage.get("/.well-known/oauth-authorization-server").await.ok();
    assert_eq!(openid.body, oauth.body);
    assert!(openid.header("content-type").unwrap().starts_with("application/json"));
    let document = openid.json();
    assert_eq!(document["issuer"], stage.issuer());
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
    for (member, status) in
        [("token_endpoint", 405), ("introspection_endpoint", 405), ("revocation_endpoint", 405), ("jwks_uri", 200)]
    {
        let path = document[member].as_str().unwrap().strip_prefix(&stage.issuer()).unwrap();
        assert_eq!(stage.get(path).await.status, status, "{member}");
    }
    let grants = document["grant_types_supported"].as_array().unwrap();
    for grant in ["password", "client_credentials", "refresh_token"] {
        assert!(grants.contains(&json!(grant)), "{grant}");
    }
    assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["client_secret_basic", "client_secret_post"]));
}

#[tokio::test]
async fn scopes_and_algorithms_follow_the_deployment() {
    let stage = Stage::new("[roles]\nreader = [\"read\"]\neditor = [\"read\", \"write\"]");
    let document = stage.get("/.well-known/openid-configuration").await.ok().json();
    assert_eq!(document["scopes_supported"], json!(["read", "write"]));
    stage.json(&["key", "generate", "--algorithm", "EdDSA"]);
    // The JWKS reads what is new; the document then says it too.
    stage.get("/oauth2/jwks").await.ok();
    let document = stage.get("/.well-known/openid-configuration").await.ok().json();
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256", "EdDSA"]));
}
