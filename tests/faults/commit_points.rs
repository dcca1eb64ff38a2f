//! The server ends as by `kill -9` at each point of a commit, under load, on both engines: what was answered holds, and what had
//! ended stays ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::server_killed::{Family, assert_recorded};
use crate::support::application::{ALL_GRANTS, Application, PASSWORD, TestUser};
use crate::support::caller::Caller;

const POINTS: [&str; 3] = ["begun", "before_commit", "committed"];
/// The commits of a start, and some of the load's.
const FIRST: u64 = 60;
/// How long the load lasts at most.
const PATIENCE: Duration = Duration::from_secs(120);
const SECTIONS: &str = "[tokens]\nrefresh_retry_window = \"60s\"";

/// What clients hold of a deployment, and what they know to have ended.
struct Held {
    families: Vec<Family>,
    ended: Vec<String>,
    /// Codes that were accepted, each with its user.
    spent: Vec<(TestUser, String)>,
    /// Access tokens whose revocation was acknowledged.
    revoked: Vec<String>,
    /// Access tokens that software got.
    received: Vec<String>,
}

impl Held {
    async fn first(deployment: &Application, caller: &Caller) -> Self {
        let mut held = Self { families: vec![], ended: vec![], spent: vec![], revoked: vec![], received: vec![] };
        for name in ["ann", "bob"] {
            let user = deployment.add_user(name, "reader");
            for code in deployment.add_totp(&user, &[]).two_codes() {
                let answer = caller.sign_in(&user.name, PASSWORD, &code).await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                let received = vec![answer.text("access_token")];
                held.families.push(Family { held: answer.text("refresh_token"), received });
                held.spent.push((user.clone(), code));
            }
        }
        let family = held.families.pop().unwrap();
        assert_eq!(caller.revoke(&family.held).await.unwrap().status, 200);
        held.ended.push(family.held);
        held
    }

    /// Asks until the server is gone.
    async fn load(&mut self, caller: &Caller) {
        let mut storms = JoinSet::new();
        for family in self.families.drain(..) {
            storms.spawn(family.storm(caller.clone()));
        }
        let mut revoking = JoinSet::new();
        for _ in 0..4 {
            revoking.spawn(revoke_one_after_another(caller.clone()));
        }
        self.families = storms.join_all().await;
        for (received, revoked) in revoking.join_all().await {
            self.received.extend(received);
            self.revoked.extend(revoked);
        }
    }

    /// Nothing is lost and nothing revived.
    async fn assert_holds(&mut self, caller: &Caller, at: &str) {
        for family in &mut self.families {
            let answer = caller.refresh(&family.held).await.unwrap();
            assert_eq!(answer.status, 200, "{at}: a lost family: {answer:?}");
            family.take(&answer);
        }
        for ended in &self.ended {
            assert_eq!(caller.refresh(ended).await.unwrap().status, 400, "{at}: a revived family");
        }
        for token in self.revoked.iter().rev().take(20) {
            let answer = caller.introspect(token).await.unwrap();
            assert_eq!(answer.json()["active"], false, "{at}: a revived token");
        }
    }
}

/// Software that gets a token and revokes it, until the server is gone.
async fn revoke_one_after_another(caller: Caller) -> (Vec<String>, Vec<String>) {
    let (mut received, mut revoked) = (Vec::new(), Vec::new());
    while let Ok(answer) = caller.client_credentials().await {
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer.text("access_token");
        received.push(token.clone());
        match caller.revoke(&token).await {
            Ok(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
            // Whether it was revoked nobody was told.
            Err(_) => break,
        }
        revoked.push(token);
    }
    (received, revoked)
}

async fn killed_at_each_point(deployment: Arc<Application>) {
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let mut held = Held::first(&deployment, &Caller::new(&server, &credentials)).await;
    server.stop();
    for (round, point) in POINTS.into_iter().cycle().take(2 * POINTS.len()).enumerate() {
        let order = format!("{point}:{}", FIRST + 17 * u64::try_from(round).unwrap());
        let mut command = deployment.command(&["serve"]);
        command.env("SIGNET_FAILPOINT", &order).stdin(Stdio::null()).stdout(Stdio::null());
        let server = deployment.serve_by(command);
        let caller = Caller::new(&server, &credentials);
        tokio::time::timeout(PATIENCE, held.load(&caller)).await.unwrap_or_else(|_| panic!("{order} was not reached"));
        assert_eq!(server.ended().signal(), Some(9), "{order}: it ended otherwise");
        let server = deployment.serve();
        held.assert_holds(&Caller::new(&server, &credentials), &order).await;
        server.stop();
    }
    assert!(held.revoked.len() > 20, "only {} revocations", held.revoked.len());
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    for (user, code) in &held.spent {
        assert_eq!(caller.sign_in(&user.name, PASSWORD, code).await.unwrap().status, 400, "a code counted twice");
    }
    server.stop();
    let of_families = held.families.iter().flat_map(|family| &family.received);
    assert_recorded(&deployment, of_families.chain(&held.received));
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_74_kill_9_at_each_point_of_a_commit_loses_and_revives_nothing() {
    killed_at_each_point(Application::new(SECTIONS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_74_kill_9_at_each_point_of_a_commit_on_postgresql_loses_and_revives_nothing() {
    killed_at_each_point(Application::on_postgres(SECTIONS)).await;
}
