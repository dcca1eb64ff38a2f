//! `GET /oauth2/jwks`.

use std::collections::BTreeSet;

use super::Stage;
use super::token::verified;
use crate::support::application::AUDIENCE;
use crate::support::requests;

#[tokio::test]
async fn the_set_is_public_cacheable_and_holds_nothing_private() {
    let stage = Stage::shared();
    let answer = stage.get("/oauth2/jwks").await.ok();
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    let caching = answer.header("cache-control").unwrap();
    assert!(caching.contains("public") && caching.contains("max-age="), "{caching}");
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 1);
    for key in &keys {
        let members: BTreeSet<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        let public = ["alg", "crv", "e", "kid", "kty", "n", "use", "x", "y", "key_ops"];
        assert!(members.is_subset(&BTreeSet::from(public)), "{members:?}");
        assert_eq!(key["alg"], "ES256");
    }
    let tag = answer.header("etag").unwrap();
    let url = format!("{}/oauth2/jwks", stage.issuer());
    let unchanged = requests::send(|http| http.get(url).header("if-none-match", tag)).await;
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));
}

/// A key that a command makes while the server runs is published at once, and does not sign before its turn.
#[tokio::test]
async fn a_generated_key_is_published_at_once() {
    let stage = Stage::new("");
    let before = stage.client_token().await;
    let signing = jsonwebtoken::decode_header(&before).unwrap().kid.unwrap();
    let made = stage.json(&["key", "generate", "--algorithm", "ES256"]);
    let kids: BTreeSet<String> = stage.get("/oauth2/jwks").await.ok().json()["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kids, BTreeSet::from([signing.clone(), made["kid"].as_str().unwrap().to_owned()]));
    let after = stage.client_token().await;
    assert_eq!(jsonwebtoken::decode_header(&after).unwrap().kid.unwrap(), signing);
    verified(&stage, &before, AUDIENCE).await;
}
