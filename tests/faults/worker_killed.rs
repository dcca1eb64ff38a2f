//! The worker dies or hangs under load: nothing but 503 for less than a second, and whoever verifies notices nothing.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::caller::Caller;
use crate::support::process::{signal, wait_for};
use crate::support::requests::Answer;
use crate::support::server::Server;

const CONNECTIONS: usize = 8;

/// How the outage looked from outside.
struct Outage {
    asked: Vec<(Instant, Answer)>,
    killed_at: Instant,
}

impl Outage {
    /// From the blow until the last answer without a token.
    fn length(&self) -> Duration {
        let last = self.asked.iter().filter(|(_, answer)| answer.status != 200).map(|(at, _)| *at).max();
        last.map_or(Duration::ZERO, |last| last - self.killed_at)
    }

    fn refused(&self) -> usize {
        self.asked.iter().filter(|(_, answer)| answer.status != 200).count()
    }

    fn has_only_tokens_and_try_again(&self) {
        for (_, answer) in &self.asked {
            assert!(answer.status == 200 || answer.is_try_again(), "{answer:?}");
            assert!(answer.status == 200 || answer.has_no_token(), "{answer:?}");
        }
        let (first, last) = (self.asked.iter().map(|(at, _)| *at).min(), self.asked.iter().map(|(at, _)| *at).max());
        assert!(first.unwrap() < self.killed_at && last.unwrap() > self.killed_at + Duration::from_millis(1500));
        let tokens_after = self.asked.iter().filter(|(at, answer)| *at > self.killed_at && answer.status == 200);
        assert!(tokens_after.count() > CONNECTIONS, "tokens again");
    }
}

/// Streams requests on eight connections, strikes after a while, and goes on until there are tokens again for long
/// enough. Meanwhile introspection, the JWKS and verification in process are used all the time.
async fn strike(server: &Server, caller: &Caller, blow: impl FnOnce()) -> Outage {
    let stop = Arc::new(AtomicBool::new(false));
    let mut streams = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (caller, stop) = (caller.clone(), Arc::clone(&stop));
        streams.spawn(async move {
            let mut asked = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = caller.client_credentials().await.unwrap();
                asked.push((Instant::now(), answer));
            }
            asked
        });
    }
    let watching = tokio::spawn(verify_until(caller.clone(), Arc::clone(&stop)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let known = server.workers();
    let killed_at = Instant::now();
    blow();
    tokio::task::block_in_place(|| server.new_worker(&known));
    tokio::time::sleep(Duration::from_millis(2000)).await;
    stop.store(true, Ordering::Relaxed);
    let asked = streams.join_all().await.into_iter().flatten().collect();
    assert!(watching.await.unwrap() > 20, "verification went on");
    Outage { asked, killed_at }
}

/// Rust takes the first SIGSEGV to look whether a stack has overflown, and has the fault happen again.
fn kill(worker: u32, blow: &str) {
    wait_for("the worker's end", || {
        let status =
            Command::new("kill").arg(format!("-{blow}")).arg(worker.to_string()).stderr(Stdio::null()).status();
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        (!status.unwrap().success() || stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

/// Uses everything that needs no HSM; gives how often.
async fn verify_until(caller: Caller, stop: Arc<AtomicBool>) -> usize {
    let token = caller.client_credentials().await.unwrap().text("access_token");
    let verifier = caller.verifier().await;
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        let introspected = caller.introspect(&token).await.unwrap();
        assert_eq!((introspected.status, &introspected.json()["active"]), (200, &true.into()), "{introspected:?}");
        let jwks = caller.get("/oauth2/jwks").await.unwrap();
        assert_eq!((jwks.status, jwks.json()["keys"].as_array().map(Vec::len)), (200, Some(1)), "{jwks:?}");
        verifier.verify(&token).await.unwrap();
        rounds += 1;
    }
    rounds
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_66_a_killed_worker_costs_503s_for_less_than_a_second() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    for blow in ["KILL", "SEGV"] {
        let worker = server.workers()[0];
        let outage = strike(&server, &caller, || kill(worker, blow)).await;
        outage.has_only_tokens_and_try_again();
        assert!(outage.length() < Duration::from_secs(1), "SIG{blow}: {:?}", outage.length());
    }
    server.stop();
}

/// With two workers the other one goes on, and its tokens with it.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_66_one_of_two_workers_killed_leaves_the_other_signing() {
    let deployment = Application::with_hsm("sessions = 2\nworkers = 2", "");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let workers = wait_for("two workers", || Some(server.workers()).filter(|ids| ids.len() == 2));
    // Both are at work before one is struck: a worker that only starts carries nothing.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let outage = strike(&server, &caller, || signal(workers[1], "KILL")).await;
    outage.has_only_tokens_and_try_again();
    assert!(outage.length() < Duration::from_millis(500), "{:?}", outage.length());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_65_a_worker_that_hangs_is_answered_for_within_the_deadline_and_replaced() {
    let deployment = Application::with_hsm("sessions = 2\ndeadline = \"300ms\"", "");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let worker = server.workers()[0];
    let outage = strike(&server, &caller, || signal(worker, "STOP")).await;
    outage.has_only_tokens_and_try_again();
    assert!(outage.refused() > 0);
    // The deadline, a second's grace before silence counts as a hang, and a start.
    assert!(outage.length() < Duration::from_millis(2500), "{:?}", outage.length());
    let mut last = outage.killed_at;
    let mut answered: Vec<_> = outage.asked.iter().map(|(at, _)| *at).filter(|at| *at > outage.killed_at).collect();
    answered.sort();
    for at in answered {
        assert!(at - last < Duration::from_millis(800), "nobody waits past the deadline: {:?}", at - last);
        last = at;
    }
    assert!(!server.workers().contains(&worker), "the hanging worker is gone");
    server.stop();
}
