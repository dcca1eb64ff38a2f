//! Verifications a second in one thread, beside the bare library's on the same token.

use std::time::{Duration, Instant};

use serde_json::Value;
use signet_verify::Verifier;

use crate::deployment::{AUDIENCE, Deployment};
use crate::{Failure, load};

/// Measures both for each algorithm, in turns, so that a change of the machine's pace meets both.
pub(crate) fn measure(deployment: &Deployment, time: Duration) -> Result<(), Failure> {
    println!("\n| algorithm | verifications | /s | ratio to the bare library |\n|---|---|---|---|");
    for algorithm in ["ES256", "RS256"] {
        let server = deployment.serve(algorithm)?;
        let token = token(&load::ask_once(deployment.port, &deployment.token_request())?)?;
        let jwks = format!("GET /oauth2/jwks HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", deployment.port);
        let jwks = body(&load::ask_once(deployment.port, jwks.as_bytes())?)?.to_owned();
        drop(server);
        let verifier = Verifier::builder(deployment.issuer()).audience(AUDIENCE).build_from_text(&jwks)?;
        let bare = Bare::new(deployment, &jwks, &token, algorithm)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            theirs.push(rate(time / 6, || bare.verify(&token))?);
            ours.push(rate(time / 6, || verifier.verify_now(&token).is_ok())?);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("| {algorithm} | jsonwebtoken (aws-lc-rs), `decode` | {theirs:.0} | 1 |");
        println!("| {algorithm} | `Verifier::verify_now` | {ours:.0} | {:.3} |", ours / theirs);
    }
    Ok(())
}

/// The bare library with the checks that it offers: signature, `exp`, `nbf`, `iss`, `aud`.
struct Bare {
    key: jsonwebtoken::DecodingKey,
    validation: jsonwebtoken::Validation,
}

impl Bare {
    fn new(deployment: &Deployment, jwks: &str, token: &str, algorithm: &str) -> Result<Self, Failure> {
        let key_id = jsonwebtoken::decode_header(token)?.kid.ok_or("a token without kid")?;
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(jwks)?;
        let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&key_id).ok_or("an unknown kid")?)?;
        let mut validation = jsonwebtoken::Validation::new(algorithm.parse()?);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[deployment.issuer()]);
        validation.validate_nbf = true;
        Ok(Self { key, validation })
    }

    fn verify(&self, token: &str) -> bool {
        jsonwebtoken::decode::<Value>(token, &self.key, &self.validation).is_ok()
    }
}

fn rate(time: Duration, mut verify: impl FnMut() -> bool) -> Result<f64, Failure> {
    let (started, mut count) = (Instant::now(), 0_u64);
    while started.elapsed() < time {
        if !verify() {
            return Err("a good token did not verify".into());
        }
        count += 1;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn body(answer: &str) -> Result<&str, Failure> {
    Ok(answer.split_once("\r\n\r\n").ok_or("an answer without a body")?.1)
}

fn token(answer: &str) -> Result<String, Failure> {
    let answer: Value = serde_json::from_str(body(answer)?)?;
    Ok(answer["access_token"].as_str().ok_or("no token was issued")?.to_owned())
}
