//! Rotation under load, with verifiers that keep the JWKS for as long as they may and ask nobody else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use signet_verify::{Verifier, inspect};
use tokio::task::JoinSet;

use super::{cka_id, in_hsm, in_stage, quick, wait_long};
use crate::support::application::{ALL_GRANTS, Application, PASSWORD};
use crate::support::caller::Caller;

/// What `Cache-Control` allows.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How long tokens last.
const LIFETIME: Duration = Duration::from_secs(10);
const LOAD: Duration = Duration::from_secs(14);

/// A verifier that fetches the JWKS when its copy is too old, and never because it does not know a key.
struct Strict {
    caller: Caller,
    copy: Option<(Instant, Verifier)>,
}

impl Strict {
    fn new(caller: Caller) -> Self {
        Self { caller, copy: None }
    }

    async fn accepts(&mut self, token: &str) -> Result<(), String> {
        if self.copy.as_ref().is_none_or(|(fetched, _)| fetched.elapsed() >= MAX_AGE) {
            let verifier = self.caller.verifier().await;
            // The age counts from when the answer was there: the worst that a cache may do.
            self.copy = Some((Instant::now(), verifier));
        }
        let (fetched, verifier) = self.copy.as_ref().unwrap();
        let age = fetched.elapsed();
        verifier.verify(token).await.map(drop).map_err(|error| format!("{error}, by a copy of {age:?}"))
    }
}

fn key_of(token: &str) -> String {
    inspect(token).unwrap().unverified_header["kid"].as_str().unwrap().to_owned()
}

/// One client after another's heart: asks, verifies at once, and verifies what it holds again until it expires.
async fn client(asks: Caller, verifies: Caller, refresh: Option<String>, until: Instant) -> BTreeSet<String> {
    let (mut strict, mut refresh) = (Strict::new(verifies), refresh);
    let (mut held, mut keys): (Vec<(Instant, String)>, _) = (Vec::new(), BTreeSet::new());
    while Instant::now() < until {
        let asked = Instant::now();
        let answer = match &refresh {
            Some(token) => asks.refresh(token).await.unwrap(),
            None => asks.client_credentials().await.unwrap(),
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        if refresh.is_some() {
            refresh = Some(answer.text("refresh_token"));
        }
        let token = answer.text("access_token");
        keys.insert(key_of(&token));
        held.push((asked, token));
        // A token carries whole seconds.
        held.retain(|(asked, _)| asked.elapsed() + Duration::from_secs(2) < LIFETIME);
        let newest = held.last().unwrap();
        for (asked, token) in held.iter().step_by(20).chain([newest]) {
            let verdict = strict.accepts(token).await;
            assert!(verdict.is_ok(), "a token {:?} old of key {}: {verdict:?}", asked.elapsed(), key_of(token));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_6_rotation_under_load_breaks_nobody() {
    let deployment = Application::on_postgres(&quick("3s"));
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let ann = deployment.add_user("ann", "reader");
    let totp = deployment.add_totp(&ann, &[]);
    let first = in_stage(&deployment, "active").remove(0);
    let first_id = cka_id(&deployment, &first);
    // Two nodes: their snapshots differ, and one of them rotates.
    let servers = [deployment.serve(), deployment.another_node().serve()];
    let callers = servers.each_ref().map(|server| Caller::new(server, &credentials));
    let signed_in = callers[0].sign_in("ann", PASSWORD, &totp.code()).await.unwrap();
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    let until = Instant::now() + LOAD;
    let mut clients = JoinSet::new();
    for number in 0..4 {
        // Issued by one server, verified by the JWKS of the other.
        let (asks, verifies) = (callers[number % 2].clone(), callers[(number + 1) % 2].clone());
        let refresh = (number == 0).then(|| signed_in.text("refresh_token"));
        clients.spawn(client(asks, verifies, refresh, until));
    }
    let mut keys = BTreeSet::new();
    while let Some(used) = clients.join_next().await {
        keys.extend(used.unwrap());
    }
    assert!(keys.len() >= 4, "several rotations: {keys:?}");
    // The first key goes when its last token has expired, out of the JWKS and then out of the HSM.
    tokio::task::block_in_place(|| {
        wait_long("the first key's end", || in_stage(&deployment, "destroyed").contains(&first).then_some(()));
    });
    assert!(!in_hsm(&deployment).contains(&first_id), "destroyed in the HSM too");
    assert_eq!(in_stage(&deployment, "active").len(), 1);
    let [one, two] = servers;
    one.stop();
    two.stop();
    assert_eq!(deployment.run(&["audit", "verify"]).code, Some(0));
}
