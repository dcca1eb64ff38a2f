//! A deployment that moves from one algorithm to the next: tokens of each verify by somebody else's code.

use std::sync::Arc;

use super::token::verified;
use crate::support::application::{AUDIENCE, Application};

#[tokio::test]
async fn every_algorithm_signs_tokens_that_others_verify() {
    // Its keys are all new, so that no verifier can keep a JWKS that lacks the next one's.
    let application = Application::with_own_keys();
    let app = application.add_client("app", "client_credentials", "read");
    let mut tokens = Vec::new();
    for (algorithm, options) in [
        ("ES256", None),
        ("ES384", Some(&["--algorithm", "ES384"][..])),
        ("EdDSA", Some(&["--algorithm", "EdDSA"])),
        ("RS256", Some(&["--algorithm", "RS256", "--bits", "2048"])),
        ("PS256", Some(&["--algorithm", "PS256", "--bits", "2048"])),
    ] {
        if let Some(options) = options {
            let made = application.json(&[&["key", "generate"], options].concat());
            assert_eq!(made["algorithm"], algorithm);
        }
        application.reconfigure(&format!("[tokens]\nalgorithm = \"{algorithm}\""));
        let server = Arc::clone(&application).serve();
        let token = server.token(&app, &[("grant_type", "client_credentials")]).await.ok().access_token();
        assert_eq!(format!("{:?}", jsonwebtoken::decode_header(&token).unwrap().alg), algorithm);
        tokens.push(token);
        for token in &tokens {
            verified(&server, token, AUDIENCE).await;
            assert!(server.is_active(&app, token).await, "a token of an earlier key stays good");
        }
    }
}
