//! What the server says on standard error.

use serde_json::Value;

use crate::support::application::Application;
use crate::support::requests;

/// Every line of a log in JSON.
#[track_caller]
fn lines(log: &str) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(line).collect()
}

#[tokio::test]
async fn the_log_in_json_is_so_from_its_first_line_and_has_one_for_each_request() {
    let application = Application::new("[log]\nformat = \"json\"\nlevel = \"debug\"");
    let server = application.serve();
    let app = server.add_client("app", "client_credentials", "read");
    let jwks = server.get("/oauth2/jwks").await.ok();
    let nowhere = server.get("/nowhere/s3cret?token=s3cret").await;
    let token = server.token(&app, &[("grant_type", "client_credentials")]).await.ok();
    let page = requests::send(|http| http.post(server.url("/account/factors/s3cret/name"))).await;
    let log = server.log();
    assert!(!log.contains("s3cret"), "neither paths nor queries are logged");
    let lines_so_far = lines(&log);
    assert!(lines_so_far.iter().any(|line| line["message"] == "serving" && line["address"].is_string()), "{log}");
    for line in &lines_so_far {
        let is_flat = ["timestamp", "level", "target", "message"].iter().all(|member| line[member].is_string());
        assert!(is_flat && line["fields"].is_null() && !line["target"].as_str().unwrap().starts_with("sqlx"), "{line}");
    }
    let requests: Vec<&Value> = lines_so_far.iter().filter(|line| line["target"] == "signet::access").collect();
    for (answer, method, route) in [
        (&jwks, "GET", "/oauth2/jwks"),
        (&nowhere, "GET", "-"),
        (&token, "POST", "/oauth2/token"),
        (&page, "POST", "/account/factors/{id}/name"),
    ] {
        let id = answer.header("x-request-id").unwrap();
        let of: Vec<&&Value> = requests.iter().filter(|line| line["request_id"] == id).collect();
        assert_eq!(of.len(), 1, "{route}: {requests:?}");
        assert_eq!(
            (&of[0]["method"], &of[0]["route"], &of[0]["status"]),
            (&method.into(), &route.into(), &answer.status.into())
        );
        assert!(of[0]["ms"].as_f64().is_some() && of[0]["address"] == "127.0.0.1", "{}", of[0]);
    }
    assert!(requests.iter().any(|line| line["route"] == "/api/v1/clients" && line["method"] == "POST"), "{requests:?}");
    server.stop();
    lines(&application.log());
    // What ends a start is told alike, also where the configuration can't be used.
    application.edit("public_url = \"http:", "public_url = \"ftp:");
    let refused = application.run(&["serve"]);
    assert_eq!(refused.code, Some(1));
    let told = lines(&refused.stderr);
    assert!(told.len() == 1 && told[0]["level"] == "ERROR", "{told:?}");
    assert!(told[0]["message"].as_str().unwrap().contains("server.public_url"), "{told:?}");
    application.edit("public_url = \"ftp:", "public_url = \"http:");
    application.edit("[store]", "[server.tls]\ncertificate = \"none.pem\"\nkey = \"none.pem\"\n\n[store]");
    application.edit("public_url = \"http:", "public_url = \"https:");
    let unreadable = lines(&application.run(&["serve"]).stderr);
    assert!(unreadable.last().unwrap()["message"].as_str().unwrap().contains("server.tls"), "{unreadable:?}");
}
