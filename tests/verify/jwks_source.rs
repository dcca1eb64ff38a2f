//! Keys from a file and from a real HTTP server: when they are read again, and what an outage does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use signet_jose::Algorithm;
use signet_verify::{JwksError, JwksSource, Verifier, VerifyError};
use tokio::sync::Semaphore;

use crate::issuer::{SoftKey, builder, set};

const LONG: Duration = Duration::from_secs(600);

/// An issuer's JWKS endpoint whose answers the test chooses.
struct Endpoint {
    url: String,
    state: Arc<Answers>,
}

struct Answers {
    hits: AtomicUsize,
    answer: Mutex<(StatusCode, HeaderName, String, String)>,
    /// Each answer spends a permit; with none left, answers wait.
    gate: Semaphore,
}

impl Endpoint {
    async fn start(keys: &[&SoftKey]) -> Self {
        let answer = (StatusCode::OK, CACHE_CONTROL, "max-age=3600".to_owned(), document(keys));
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        let state = Arc::new(Answers { hits: AtomicUsize::new(0), answer: Mutex::new(answer), gate });
        let app = Router::new().route("/jwks", get(answer_request)).with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, state }
    }

    fn publish(&self, keys: &[&SoftKey], cache_control: &str) {
        self.answer(StatusCode::OK, CACHE_CONTROL, cache_control, document(keys));
    }

    fn answer(&self, status: StatusCode, header: HeaderName, value: &str, body: String) {
        *self.state.answer.lock().unwrap() = (status, header, value.to_owned(), body);
    }

    fn hold_answers(&self) {
        self.state.gate.forget_permits(usize::MAX);
    }

    fn release_answers(&self) {
        self.state.gate.add_permits(1000);
    }

    fn hits(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }

    async fn verifier(&self, interval: Duration) -> Result<Verifier, JwksError> {
        builder().refresh_interval(interval).build(self.url.parse()?).await
    }
}

async fn answer_request(State(state): State<Arc<Answers>>) -> (StatusCode, [(HeaderName, String); 1], String) {
    state.hits.fetch_add(1, Ordering::SeqCst);
    state.gate.acquire().await.unwrap().forget();
    let (status, header, value, body) = state.answer.lock().unwrap().clone();
    (status, [(header, value)], body)
}

fn document(keys: &[&SoftKey]) -> String {
    set(keys.iter().copied()).to_json().to_string()
}

fn key() -> SoftKey {
    SoftKey::generate(Algorithm::EdDsa)
}

/// Waits for a condition that another task brings about, or fails after ten seconds.
async fn until(mut condition: impl FnMut() -> bool) {
    let patience = tokio::time::timeout(Duration::from_secs(10), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    patience.await.expect("the condition is met within ten seconds");
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_at_most_once_an_interval() {
    let (first, next, unknown) = (key(), key(), key());
    let endpoint = Endpoint::start(&[&first]).await;
    let verifier = endpoint.verifier(LONG).await.unwrap();
    verifier.verify(&first.honest()).await.unwrap();
    endpoint.publish(&[&first, &next], "max-age=3600");
    for _ in 0..20 {
        assert_eq!(verifier.verify(&unknown.honest()).await, Err(VerifyError::UnknownKey));
    }
    // The keys were read when the verifier was built, within this interval: not again, however many ask.
    assert_eq!(endpoint.hits(), 1);
    assert_eq!(verifier.verify(&next.honest()).await, Err(VerifyError::UnknownKey));
}

#[tokio::test]
async fn waiting_requests_share_one_refresh_and_then_know_the_new_key() {
    let (first, next) = (key(), key());
    let endpoint = Endpoint::start(&[&first]).await;
    let verifier = Arc::new(endpoint.verifier(Duration::ZERO).await.unwrap());
    endpoint.publish(&[&next], "max-age=3600");
    endpoint.hold_answers();
    let token = next.honest();
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (Arc::clone(&verifier), token.clone());
            tokio::spawn(async move { verifier.verify(&token).await.map(|claims| claims.subject().to_owned()) })
        })
        .collect();
    until(|| endpoint.hits() == 2).await;
    // The endpoint does not answer yet, and known keys verify meanwhile.
    verifier.verify(&first.honest()).await.unwrap();
    endpoint.release_answers();
    for request in waiting {
        assert_eq!(request.await.unwrap(), Ok("user".to_owned()));
    }
    assert_eq!(endpoint.hits(), 2);
    // The first key is no longer published: it verifies nothing any more.
    assert_eq!(verifier.verify_now(&first.honest()), Err(VerifyError::UnknownKey));
}

#[tokio::test]
async fn an_outage_leaves_the_last_good_keys() {
    let (first, unknown) = (key(), key());
    let endpoint = Endpoint::start(&[&first]).await;
    endpoint.publish(&[&first], "max-age=0");
    let verifier = endpoint.verifier(Duration::from_millis(20)).await.unwrap();
    let outages = [
        (StatusCode::SERVICE_UNAVAILABLE, "no-store", document(&[&unknown])),
        (StatusCode::OK, "no-store", "<html>".to_owned()),
        (StatusCode::OK, "no-store", format!("{}{}", document(&[&unknown]), " ".repeat(1 << 20))),
    ];
    for (status, cache_control, body) in outages {
        endpoint.answer(status, CACHE_CONTROL, cache_control, body);
        let before = endpoint.hits();
        // Two full readings after the change: at least one of them saw it from beginning to end.
        until(|| endpoint.hits() >= before + 3).await;
        verifier.verify_now(&first.honest()).unwrap();
        assert_eq!(verifier.verify_now(&unknown.honest()), Err(VerifyError::UnknownKey));
    }
    endpoint.publish(&[&unknown], "no-store");
    until(|| verifier.verify_now(&unknown.honest()).is_ok()).await;
}

/// Whoever revokes every key says so by an empty set.
#[tokio::test]
async fn hazard_107_a_set_without_keys_is_an_answer() {
    let first = key();
    let endpoint = Endpoint::start(&[&first]).await;
    endpoint.publish(&[&first], "max-age=0");
    let verifier = endpoint.verifier(Duration::from_millis(20)).await.unwrap();
    verifier.verify_now(&first.honest()).unwrap();
    endpoint.publish(&[], "max-age=0");
    until(|| verifier.verify_now(&first.honest()) == Err(VerifyError::UnknownKey)).await;
    endpoint.publish(&[&first], "max-age=0");
    until(|| verifier.verify_now(&first.honest()).is_ok()).await;
}

/// Whoever keeps the answer away keeps no revoked key alive for ever.
#[tokio::test]
async fn hazard_107_keys_that_can_not_be_read_again_are_not_used_for_ever() {
    let first = key();
    let endpoint = Endpoint::start(&[&first]).await;
    endpoint.publish(&[&first], "max-age=0");
    let build = async |longest: Option<Duration>| {
        let builder = builder().refresh_interval(Duration::from_millis(20)).longest_use(longest);
        builder.build(endpoint.url.parse().unwrap()).await.unwrap()
    };
    let (bounded, unbounded) = (build(Some(Duration::from_millis(500))).await, build(None).await);
    bounded.verify_now(&first.honest()).unwrap();
    endpoint.answer(StatusCode::SERVICE_UNAVAILABLE, CACHE_CONTROL, "no-store", String::new());
    until(|| bounded.verify_now(&first.honest()) == Err(VerifyError::UnknownKey)).await;
    unbounded.verify_now(&first.honest()).unwrap();
    endpoint.publish(&[&first], "max-age=0");
    until(|| bounded.verify_now(&first.honest()).is_ok()).await;
}

#[tokio::test]
async fn keys_are_read_again_when_they_are_stale_without_being_asked_for() {
    let (first, next) = (key(), key());
    let endpoint = Endpoint::start(&[&first]).await;
    endpoint.publish(&[&first], "max-age=0");
    let verifier = endpoint.verifier(Duration::from_millis(20)).await.unwrap();
    endpoint.publish(&[&next], "max-age=0");
    until(|| verifier.verify_now(&next.honest()).is_ok()).await;
}

#[tokio::test]
async fn a_caller_who_goes_away_ends_no_refresh() {
    let (first, next) = (key(), key());
    let endpoint = Endpoint::start(&[&first]).await;
    let verifier = Arc::new(endpoint.verifier(Duration::ZERO).await.unwrap());
    endpoint.publish(&[&next], "max-age=3600");
    endpoint.hold_answers();
    let caller = tokio::spawn({
        let (verifier, token) = (Arc::clone(&verifier), next.honest());
        async move { verifier.verify(&token).await.is_ok() }
    });
    until(|| endpoint.hits() == 2).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    endpoint.release_answers();
    until(|| verifier.verify_now(&next.honest()).is_ok()).await;
    assert_eq!(endpoint.hits(), 2);
}

#[tokio::test]
async fn what_can_not_be_used_at_the_start_is_an_error() {
    let endpoint = Endpoint::start(&[]).await;
    assert!(matches!(endpoint.verifier(LONG).await, Err(JwksError::NoUsableKey(_))));
    endpoint.answer(StatusCode::OK, CACHE_CONTROL, "", " ".repeat((1 << 20) + 1));
    assert!(matches!(endpoint.verifier(LONG).await, Err(JwksError::TooLarge)));
    endpoint.answer(StatusCode::OK, CACHE_CONTROL, "", "[]".to_owned());
    assert!(matches!(endpoint.verifier(LONG).await, Err(JwksError::Document(_))));
    endpoint.answer(StatusCode::NOT_FOUND, CACHE_CONTROL, "", document(&[&key()]));
    assert!(matches!(endpoint.verifier(LONG).await, Err(JwksError::Fetch { .. })));
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let elsewhere = Endpoint::start(&[&key()]).await;
    let endpoint = Endpoint::start(&[]).await;
    endpoint.answer(StatusCode::FOUND, LOCATION, &elsewhere.url, String::new());
    assert!(matches!(endpoint.verifier(LONG).await, Err(JwksError::Fetch { .. })));
    assert_eq!((endpoint.hits(), elsewhere.hits()), (1, 0));
}

#[tokio::test]
async fn redirects_within_the_origin_are_followed_three_times_at_most() {
    let endpoint = Endpoint::start(&[]).await;
    endpoint.answer(StatusCode::FOUND, LOCATION, "/jwks", String::new());
    let circle = endpoint.verifier(LONG).await;
    assert!(matches!(circle, Err(JwksError::Fetch { reason, .. }) if reason == "too many redirects"));
    assert_eq!(endpoint.hits(), 4);
}

#[tokio::test]
async fn a_file_is_read_again_when_an_unknown_key_is_named() {
    let (first, next) = (key(), key());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, document(&[&first])).unwrap();
    let source = JwksSource::File(path.clone());
    let verifier = builder().refresh_interval(Duration::ZERO).build(source).await.unwrap();
    verifier.verify(&first.honest()).await.unwrap();
    std::fs::write(&path, document(&[&next])).unwrap();
    verifier.verify(&next.honest()).await.unwrap();
    assert_eq!(verifier.verify(&first.honest()).await, Err(VerifyError::UnknownKey));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(verifier.verify(&first.honest()).await, Err(VerifyError::UnknownKey));
    verifier.verify(&next.honest()).await.unwrap();
    let missing = builder().build(JwksSource::File(path)).await;
    assert!(matches!(missing, Err(JwksError::Read { .. })));
}
