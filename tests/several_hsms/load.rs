//! A steady load of token requests, and what came of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signet_verify::inspect;
use tokio::task::JoinSet;

use crate::support::caller::Caller;
use crate::support::process::PATIENCE;
use crate::support::requests::Answer;

const CONNECTIONS: usize = 8;

/// Requests that go on until they are stopped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    streams: JoinSet<Vec<Asked>>,
}

/// One request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) answer: Answer,
}

/// All that was answered.
pub(super) struct Answers(pub(super) Vec<Asked>);

/// Asks for tokens until so many keys have signed one.
pub(super) async fn until_signed_by(keys: usize, caller: &Caller) {
    let until = Instant::now() + PATIENCE;
    let mut seen = BTreeSet::new();
    while seen.len() < keys {
        assert!(Instant::now() < until, "only {seen:?} sign");
        seen.insert(key_of(&caller.client_credentials().await.unwrap()));
    }
}

/// The key that signed the answered token.
fn key_of(answer: &Answer) -> String {
    let token = answer.text("access_token");
    inspect(&token).unwrap().unverified_header["kid"].as_str().unwrap().to_owned()
}

impl Load {
    pub(super) fn start(caller: &Caller) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut streams = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (caller, stop) = (caller.clone(), Arc::clone(&stop));
            streams.spawn(async move {
                let mut asked = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let answer = caller.client_credentials().await.unwrap();
                    asked.push(Asked { at, took: at.elapsed(), answer });
                }
                asked
            });
        }
        Self { stop, streams }
    }

    pub(super) async fn stop(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        Answers(self.streams.join_all().await.into_iter().flatten().collect())
    }
}

impl Answers {
    /// Asserts that every single request got its token.
    #[track_caller]
    pub(super) fn lost_none(&self) {
        let lost: Vec<_> = self.0.iter().filter(|asked| asked.answer.status != 200).collect();
        assert!(lost.is_empty(), "{} of {} requests were lost: {:?}", lost.len(), self.0.len(), lost.first());
        assert!(self.0.len() > 50, "{}", self.0.len());
    }

    pub(super) fn longest(&self) -> Duration {
        self.0.iter().map(|asked| asked.took).max().unwrap()
    }

    /// How many tokens each key signed, of the requests that began within this time.
    pub(super) fn by_key(&self, from: Instant, until: Instant) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for asked in self.0.iter().filter(|asked| asked.at >= from && asked.at < until && asked.answer.status == 200) {
            *counts.entry(key_of(&asked.answer)).or_default() += 1;
        }
        counts
    }
}
