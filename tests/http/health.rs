//! `GET /healthz`, `GET /readyz`.

use serde_json::json;

use super::Stage;

#[tokio::test]
async fn a_ready_server_says_so() {
    let stage = Stage::shared();
    stage.get("/healthz").await.ok();
    let ready = stage.get("/readyz").await.ok();
    let expected = json!({ "ready": true, "hsm": { "primary": "ok" }, "store": "ok", "verification": true });
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
