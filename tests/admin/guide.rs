//! The guide's page, done as it says.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::process::feed;

/// The shell's part of a page.
fn shell_of(page: &str) -> String {
    let parts = page.split("```sh\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_guide_works_by_curl_as_it_stands() {
    let application = Application::new("");
    let server = application.serve();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/admin-api.md")).unwrap();
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(application.folder(), place.path().join("demo")).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-s"]).current_dir(place.path());
    // Answers come without a line end.
    let script = shell_of(&page).replace("$@\"; }", "$@\"; echo; }");
    assert!(script.contains("echo; }"), "the page's function has another end");
    let ran = feed(bash, &script);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answers: Vec<Value> = ran.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(answers.iter().all(|answer| answer["status"].is_null()), "a problem: {answers:#?}");
    assert_eq!(answers.len(), 16, "{answers:#?}");
    assert!(answers[1]["secret_base32"].is_string() && answers[2]["client_secret"].is_string(), "{answers:#?}");
    assert_eq!(answers[3]["items"][0]["name"], json!("ann"));
    assert_eq!(answers[7]["roles"], json!(["reader", "writer"]));
    assert_eq!(answers[8]["enabled"], json!(false));
    assert_eq!(answers[9]["scope"], json!("read write"));
    assert_eq!((&answers[10]["well"], &answers[11]["well"]), (&json!(true), &json!(true)), "{answers:#?}");
    assert_eq!(answers[13]["ok"], json!(true), "{:#?}", answers[13]);
    assert_eq!(answers[12]["nodes"][0]["state"], json!("serving"));
    assert_eq!((&answers[14]["items"], &answers[15]["intact"]), (&json!([]), &json!(true)), "{answers:#?}");
    for (file, last) in [("audit.jsonl", "checkpoint"), ("signet.backup", "statement")] {
        let text = fs::read_to_string(place.path().join(file)).unwrap();
        let closing: Value = serde_json::from_str(text.trim_end().lines().last().unwrap()).unwrap();
        assert!(closing[last].is_string(), "{file}: {closing}");
    }
    assert_eq!(application.json(&["user", "list"]), json!([]));
    server.stop();
}
