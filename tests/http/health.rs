//! `GET /healthz`, `GET /readyz`.

use serde_json::json;

use super::Stage;
use crate::support::application::Application;

#[tokio::test]
async fn a_ready_server_says_so() {
    let stage = Stage::shared();
    stage.get("/healthz").await.ok();
    let ready = stage.get("/readyz").await.ok();
    let expected = json!({
        "ready": true,
        "issuance": { "ready": true },
        "verification": { "ready": true },
        "hsm": { "primary": "ok" },
        "store": "ok",
        "clock": "ok",
        "secrets": "ok",
        "audit": "ok",
    });
    assert_eq!(ready.json(), expected);
    assert_eq!(ready.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn the_worker_is_a_process_of_its_own() {
    let stage = Stage::shared();
    let workers = stage.workers();
    assert_eq!(workers.len(), 1);
    let command = std::fs::read(format!("/proc/{}/cmdline", workers[0])).unwrap();
    assert!(String::from_utf8_lossy(&command).contains("hsm-worker"));
}

#[test]
fn a_taken_address_is_told() {
    let application = Application::new("");
    let taken = application.address();
    let _listener = std::net::TcpListener::bind(taken).unwrap();
    let output = application.run(&["serve"]);
    let told = output.stderr;
    assert!(output.code != Some(0) && told.contains("server.listen") && told.contains(&taken.to_string()), "{told}");
    assert_ne!(application.serve().address(), taken, "the test application finds another one");
}
