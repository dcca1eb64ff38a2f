//! The load: software and people who ask for tokens, and those who look at them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio::task::JoinSet;

use super::Stage;
use crate::support::application::{AUDIENCE, TestClient, TestUser};
use crate::support::codes::{Totp, YubiKey};
use crate::support::requests::Answer;

const STREAMS: usize = 4;
const PAUSE: Duration = Duration::from_millis(60);

/// A TOTP code serves once; the next one comes with the next step.
const STEP: Duration = Duration::from_secs(31);

/// What callers were answered.
#[derive(Default)]
pub(super) struct Ledger {
    counts: Mutex<BTreeMap<(&'static str, u16), u64>>,
    longest: Mutex<BTreeMap<&'static str, Duration>>,
    verified: AtomicU64,
    strange: Mutex<Vec<String>>,
    /// Held for reading while a person signs in, and for writing while modules spoil what they answer: nothing tells a
    /// spoilt MAC of a password hash or a code from a wrong password or code.
    pub(super) honest: RwLock<()>,
}

impl Ledger {
    /// Writes an answer down. Whether it is a 200.
    fn note(&self, what: &'static str, asked: Instant, answer: &Answer) -> bool {
        *self.counts.lock().unwrap().entry((what, answer.status)).or_default() += 1;
        let mut longest = self.longest.lock().unwrap();
        let longest = longest.entry(what).or_default();
        *longest = (*longest).max(asked.elapsed());
        let is_try_again = answer.status == 503 && answer.retry_after().is_some_and(|seconds| seconds >= 1);
        if answer.status != 200 && !is_try_again {
            self.strange(format!("{what}: {} {}", answer.status, answer.body));
        }
        answer.status == 200
    }

    fn strange(&self, text: String) {
        eprintln!("STRANGE {text}");
        self.strange.lock().unwrap().push(text);
    }

    fn sum(&self, status: u16) -> u64 {
        let counts = self.counts.lock().unwrap();
        counts.iter().filter(|((_, found), _)| *found == status).map(|(_, count)| count).sum()
    }

    pub(super) fn line(&self) -> String {
        let (strange, verified) = (self.strange.lock().unwrap().len(), self.verified.load(Ordering::Relaxed));
        format!(
            "{} answers of 200, {} of 503, {strange} others, {verified} tokens verified",
            self.sum(200),
            self.sum(503)
        )
    }

    pub(super) fn table(&self) -> String {
        let longest = self.longest.lock().unwrap();
        let counts = self.counts.lock().unwrap();
        let lines = counts.iter().map(|((what, status), count)| format!("{what} {status}: {count}"));
        let slowest = longest.iter().map(|(what, took)| format!("longest {what}: {took:.1?}"));
        lines.chain(slowest).collect::<Vec<_>>().join("\n")
    }

    /// Nothing but 200, and 503 with `Retry-After`; what asks no HSM was never refused.
    pub(super) fn check(&self) {
        let strange = self.strange.lock().unwrap();
        assert!(strange.is_empty(), "{} strange answers, {:?}", strange.len(), strange.first());
        for ((what, status), count) in self.counts.lock().unwrap().iter() {
            let asks_hsm = !matches!(*what, "introspection" | "jwks");
            assert!(asks_hsm || *status == 200, "{what}: {count} answers of {status}");
        }
        for what in ["software", "introspection", "jwks", "sign-in", "refresh"] {
            assert!(self.counts.lock().unwrap().contains_key(&(what, 200)), "no {what}");
        }
    }
}

/// Who asks.
pub(super) struct Callers(Arc<Shared>, Vec<(TestUser, YubiKey)>, Vec<(TestUser, Totp)>);

struct Shared {
    stage: Arc<Stage>,
    ledger: Arc<Ledger>,
    client: TestClient,
    keys: JwkSet,
    /// The token that was issued last.
    token: Mutex<String>,
}

/// Makes client and users while nothing fails yet.
pub(super) async fn prepare(stage: &Arc<Stage>, ledger: &Arc<Ledger>) -> Callers {
    let server = &stage.server;
    let client = server.add_client("app", "client_credentials,password,refresh_token", "read");
    let keys = serde_json::from_value(server.get("/oauth2/jwks").await.ok().json()).unwrap();
    let pressing = ["ann", "ben"].iter().enumerate().map(|(number, name)| {
        let user = server.add_user(name, "reader");
        let key = server.add_yubico(&user, ["ccccccbcgujh", "ccccccbcgujk"][number]);
        (user, key)
    });
    let pressing = pressing.collect();
    let typing = ["cat", "dan"].iter().map(|name| {
        let user = server.add_user(name, "reader");
        let totp = server.add_totp(&user, &[]);
        (user, totp)
    });
    let typing = typing.collect();
    let token = server.token(&client, &[("grant_type", "client_credentials"), ("scope", "read")]).await;
    let token = Mutex::new(token.ok().access_token());
    let shared = Shared { stage: Arc::clone(stage), ledger: Arc::clone(ledger), client, keys, token };
    Callers(Arc::new(shared), pressing, typing)
}

impl Callers {
    /// All ask until the end.
    pub(super) fn start(self, end: Instant) -> JoinSet<()> {
        let Self(shared, pressing, typing) = self;
        let mut set = JoinSet::new();
        for _ in 0..STREAMS {
            set.spawn(Arc::clone(&shared).software(end));
        }
        set.spawn(Arc::clone(&shared).onlookers(end));
        for (user, key) in pressing {
            let shared = Arc::clone(&shared);
            set.spawn(async move {
                shared.person(end, &user, Duration::from_secs(2), || key.press()).await;
            });
        }
        for (user, totp) in typing {
            let shared = Arc::clone(&shared);
            set.spawn(async move {
                shared.person(end, &user, STEP, || totp.code()).await;
            });
        }
        set
    }
}

impl Shared {
    /// Software that wants a token again and again.
    async fn software(self: Arc<Self>, end: Instant) {
        while Instant::now() < end {
            let asked = Instant::now();
            let fields = [("grant_type", "client_credentials"), ("scope", "read")];
            let answer = self.stage.server.token(&self.client, &fields).await;
            self.note_token("software", asked, &answer);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Those who look at tokens and keys.
    async fn onlookers(self: Arc<Self>, end: Instant) {
        while Instant::now() < end {
            let token = self.token.lock().unwrap().clone();
            let asked = Instant::now();
            let answer = self.stage.server.introspect(&self.client, &token).await;
            if self.ledger.note("introspection", asked, &answer) && answer.json()["active"] != true {
                self.ledger.strange(format!("a token is inactive: {}", answer.body));
            }
            let asked = Instant::now();
            self.ledger.note("jwks", asked, &self.stage.server.get("/oauth2/jwks").await);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A person who signs in, and whose client refreshes for a while.
    async fn person(&self, end: Instant, user: &TestUser, pause: Duration, code: impl Fn() -> String) {
        while Instant::now() < end {
            let honest = self.ledger.honest.read().await;
            // The pause begins with the code: the next one is another.
            let begun = Instant::now();
            let answer = self.stage.server.sign_in(&self.client, user, &code()).await;
            let mut shown = self.note_token("sign-in", begun, &answer).then(|| answer.refresh_token());
            drop(honest);
            while begun.elapsed() < pause && Instant::now() < end {
                tokio::time::sleep(5 * PAUSE).await;
                let Some(token) = &shown else { continue };
                let asked = Instant::now();
                let answer = self.stage.server.refresh(&self.client, token).await;
                // After a 503 the same token is shown again, and serves.
                if self.note_token("refresh", asked, &answer) {
                    shown = Some(answer.refresh_token());
                }
            }
        }
    }

    /// Writes the answer to a request for a token down. A token verifies by another library than the server's, by the
    /// keys that were published before the first fault.
    fn note_token(&self, what: &'static str, asked: Instant, answer: &Answer) -> bool {
        if !self.ledger.note(what, asked, answer) {
            return false;
        }
        let token = answer.access_token();
        match self.verify(&token) {
            Ok(_) => {
                self.ledger.verified.fetch_add(1, Ordering::Relaxed);
                *self.token.lock().unwrap() = token;
            }
            Err(error) => self.ledger.strange(format!("WRONG: {error}: {token}")),
        }
        true
    }

    fn verify(&self, token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
        let header = decode_header(token)?;
        let key = header.kid.as_deref().and_then(|key_id| self.keys.find(key_id));
        let key = key.ok_or(jsonwebtoken::errors::ErrorKind::InvalidSignature)?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[self.stage.server.issuer()]);
        Ok(decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims)
    }
}
