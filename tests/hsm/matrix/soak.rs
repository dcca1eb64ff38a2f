//! Long runs, by hand: `cargo test --test suite hsm::matrix::soak -- --ignored --nocapture`. `SIGNET_SOAK` says how many
//! instead of those below.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use signet_core::keys::Signer as _;
use signet_jose::{Algorithm, VerifyingKey};

use super::over_http::{Got, Stage};
use crate::support::fault::FaultModule;
use crate::support::hsm::{pair, started};

const SIGNATURES: u64 = 100_000;
const TOKENS: u64 = 10_000;

const CONNECTIONS: u64 = 32;

const FLIPS: &str = "C_Sign chance 0.01 seed 7 after flip";

fn wanted(usual: u64) -> u64 {
    std::env::var("SIGNET_SOAK").map_or(usual, |text| text.parse().unwrap())
}

/// One signature in a hundred is wrong. What comes through the check, which is the one way to see a signature's bytes, is
/// verified by another library; the first that is wrong ends the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute or more"]
async fn hazard_67_of_a_hundred_thousand_signatures_with_flipped_bits_none_wrong_is_released() {
    let module = FaultModule::new();
    let (group, _events) = started(module.config()).await;
    let key = Arc::new(pair(&group, Algorithm::Es256).await);
    let jwk = serde_json::from_value(key.public.as_ref().unwrap().to_json()).unwrap();
    let other = Arc::new(DecodingKey::from_jwk(&jwk).unwrap());
    module.order(FLIPS);
    let (wanted, begun) = (wanted(SIGNATURES), Instant::now());
    let asking = (0..CONNECTIONS).map(|connection| {
        let (group, key, other) = (Arc::clone(&group), Arc::clone(&key), Arc::clone(&other));
        tokio::spawn(async move {
            let public = VerifyingKey::new(key.public.clone().unwrap());
            let (mut released, mut withheld) = (0_u64, 0_u64);
            for number in 0..wanted.div_ceil(CONNECTIONS) {
                let message = format!("header.{connection}-{number}").into_bytes();
                let raw = group.sign(&key, Algorithm::Es256, message.clone()).await.unwrap();
                let Ok(signature) = raw.check(&public, &message) else {
                    withheld += 1;
                    continue;
                };
                let text = URL_SAFE_NO_PAD.encode(signature.as_bytes());
                let is_right = jsonwebtoken::crypto::verify(&text, &message, &other, jsonwebtoken::Algorithm::ES256);
                assert!(is_right.unwrap(), "a wrong signature was released: {text}");
                released += 1;
            }
            (released, withheld)
        })
    });
    let (mut released, mut withheld) = (0, 0);
    for one in asking.collect::<Vec<_>>() {
        let (more, fewer) = one.await.unwrap();
        (released, withheld) = (released + more, withheld + fewer);
    }
    let flipped = module.records_since().len() as u64;
    eprintln!(
        "{} signatures, {flipped} flipped, {withheld} withheld, {released} released, 0 of them wrong, {:.0?}",
        released + withheld,
        begun.elapsed()
    );
    // An ECDSA signature may be flipped into another one that is right only by a chance that nobody lives to see.
    assert_eq!(withheld, flipped);
    assert!(flipped >= wanted / 200);
    group.shutdown().await;
}

/// The same through the whole server, where each wrong signature costs the token its workers. Each token is verified by
/// another library than the server's; one that does not verify ends the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn hazard_67_of_ten_thousand_tokens_with_flipped_bits_none_is_wrong() {
    let wanted = wanted(TOKENS);
    let stage = Arc::new(Stage::new("sessions = 2\ndeadline = \"1500ms\"").await);
    stage.module.order(FLIPS);
    let (issued, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let asking = (0..CONNECTIONS).map(|_| {
        let (stage, issued, refused) = (Arc::clone(&stage), Arc::clone(&issued), Arc::clone(&refused));
        tokio::spawn(async move {
            while issued.load(Ordering::Relaxed) < wanted {
                match stage.ask().await {
                    Got::Token => {
                        issued.fetch_add(1, Ordering::Relaxed);
                    }
                    Got::Unavailable => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        })
    });
    for one in asking.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    let flipped = stage.module.records_since().len();
    eprintln!(
        "{} tokens, each verified, {flipped} signatures flipped, {} answers of 503, 0 wrong, {:.0?}",
        issued.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed),
        begun.elapsed()
    );
    assert!(flipped as u64 >= wanted / 200, "{flipped} flips");
}
