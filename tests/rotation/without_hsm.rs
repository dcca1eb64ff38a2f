//! A server whose HSM token is not there: it verifies, introspects and publishes, and heals by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::application::{ALL_GRANTS, Application, TestClient};
use crate::support::caller::Caller;
use crate::support::process::{signal, wait_for};
use crate::support::server::Server;

/// A deployment whose module is a file of its own, so that it can be taken away.
fn with_own_module() -> (Arc<Application>, PathBuf) {
    let deployment = Application::uninitialised("");
    let module = deployment.hsm_token().module().to_str().unwrap().to_owned();
    let own = deployment.file("module.so");
    std::os::unix::fs::symlink(&module, &own).unwrap();
    deployment.edit(&module, own.to_str().unwrap());
    assert_eq!(deployment.run(&["init"]).code, Some(0));
    (deployment, own)
}

/// All that needs no HSM is answered as ever, and issuance with a 503.
async fn serves_without(server: &Server, credentials: &TestClient, token: &str) {
    let caller = Caller::new(server, credentials);
    let refused = caller.client_credentials().await.unwrap();
    assert!(refused.is_try_again() && refused.has_no_token(), "{refused:?}");
    assert_eq!(caller.introspect(token).await.unwrap().json()["active"], true);
    assert!(caller.verifier().await.verify(token).await.is_ok());
    for (path, status) in [
        ("/oauth2/jwks", 200),
        ("/.well-known/openid-configuration", 200),
        ("/healthz", 200),
        ("/readyz", 503),
        ("/readyz/issuance", 503),
        ("/readyz?for=issuance", 503),
        ("/readyz/verification", 200),
        ("/readyz?for=verification", 200),
        ("/readyz?for=fun", 400),
    ] {
        assert_eq!(caller.get(path).await.unwrap().status, status, "{path}");
    }
    let report = caller.get("/readyz").await.unwrap().json();
    assert_eq!((&report["issuance"]["ready"], &report["verification"]["ready"]), (&false.into(), &true.into()));
    // A wrong secret is judged without the HSM too.
    let stranger = Caller::new(server, &TestClient { secret: "wrong".to_owned(), ..credentials.clone() });
    assert_eq!(stranger.introspect(token).await.unwrap().status, 401);
}

async fn heals(server: &Server, credentials: &TestClient) {
    let caller = Caller::new(server, credentials);
    let until = Instant::now() + Duration::from_secs(30);
    while caller.client_credentials().await.unwrap().status != 200 {
        assert!(Instant::now() < until, "it does not sign again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::task::block_in_place(|| wait_for("the worker", || (!server.workers().is_empty()).then_some(())));
    // The next checkpoint of the audit log is a second away.
    while caller.get("/readyz").await.unwrap().status != 200 {
        assert!(Instant::now() < until, "it is not ready again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_token(deployment: &Arc<Application>) -> (TestClient, String) {
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let token = Caller::new(&server, &credentials).client_credentials().await.unwrap().text("access_token");
    server.stop();
    (credentials, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_61_a_server_starts_without_its_module_and_heals() {
    let (deployment, module) = with_own_module();
    let (credentials, token) = a_token(&deployment).await;
    let away = deployment.file("module.away");
    std::fs::rename(&module, &away).unwrap();
    let server = deployment.start_serving();
    serves_without(&server, &credentials, &token).await;
    std::fs::rename(&away, &module).unwrap();
    heals(&server, &credentials).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_61_a_server_starts_without_its_token_and_heals() {
    let deployment = Application::new("");
    let (credentials, token) = a_token(&deployment).await;
    let (tokens, away) = (deployment.file("tokens"), deployment.file("away"));
    std::fs::rename(&tokens, &away).unwrap();
    let server = deployment.start_serving();
    serves_without(&server, &credentials, &token).await;
    std::fs::rename(&away, &tokens).unwrap();
    heals(&server, &credentials).await;
    server.stop();
}

/// What a server does with every HSM token gone, for so long; gives the number of requests and of errors.
async fn outage(lasts: Duration) -> (u64, u64) {
    let deployment =
        Application::with_hsm("sessions = 2\nlongest_token = \"1d\"", "[tokens]\naccess_lifetime = \"1d\"");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let token = caller.client_credentials().await.unwrap().text("access_token");
    let (tokens, away) = (deployment.file("tokens"), deployment.file("away"));
    std::fs::rename(&tokens, &away).unwrap();
    signal(server.workers()[0], "KILL");
    let (mut asked, mut wrong) = (0, 0);
    let until = Instant::now() + lasts;
    while Instant::now() < until {
        let introspected = caller.introspect(&token).await.is_ok_and(|answer| answer.json()["active"] == true);
        let verified = caller.verifier().await.verify(&token).await.is_ok();
        let discovered = caller.get("/.well-known/openid-configuration").await.is_ok_and(|answer| answer.status == 200);
        let refused = caller.client_credentials().await.is_ok_and(|answer| answer.is_try_again());
        asked += 4;
        wrong += [introspected, verified, discovered, refused].into_iter().filter(|well| !well).count() as u64;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::rename(&away, &tokens).unwrap();
    heals(&server, &credentials).await;
    server.stop();
    (asked, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_with_every_hsm_token_gone_verification_and_introspection_make_no_error() {
    let (asked, wrong) = outage(Duration::from_secs(8)).await;
    assert!(asked > 100 && wrong == 0, "{wrong} of {asked} were wrong");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes; prints the figure of docs/evidence/performance.md"]
async fn ten_minutes_with_every_hsm_token_gone() {
    let (asked, wrong) = outage(Duration::from_secs(600)).await;
    println!("ten minutes without an HSM token: {asked} requests, {wrong} errors");
    assert_eq!(wrong, 0);
}
