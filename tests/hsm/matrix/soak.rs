//! Long runs, by hand: `cargo test --test suite hsm::matrix::soak -- --ignored --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::over_http::{Got, Stage};

/// How many tokens are asked for; `SIGNET_SOAK_TOKENS` says otherwise.
const TOKENS: u64 = 100_000;

const CONNECTIONS: usize = 32;

/// One signature in a hundred is wrong. Each token is verified by another library than the server's; one that does not
/// verify ends the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn hazard_67_of_a_hundred_thousand_tokens_with_flipped_bits_none_is_wrong() {
    let wanted = std::env::var("SIGNET_SOAK_TOKENS").map_or(TOKENS, |text| text.parse().unwrap());
    let stage = Arc::new(Stage::new("sessions = 2\ndeadline = \"1500ms\"").await);
    stage.module.order("C_Sign chance 0.01 seed 7 after flip");
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
