//! TLS, and where plain HTTP is refused.

use std::time::Duration;

use serde_json::json;

use crate::support::application::Application;
use crate::support::requests::{Answer, FORM, basic, form};

#[tokio::test]
async fn tokens_are_served_over_tls() {
    let server = Application::with_tls("").serve();
    let app = server.add_client("app", "client_credentials", "read");
    let root = reqwest::Certificate::from_pem(server.certificate().as_bytes()).unwrap();
    let https = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let metadata = https.get(format!("{}/.well-known/openid-configuration", server.issuer())).send().await.unwrap();
    let metadata = Answer::read(metadata).await.unwrap().ok().json();
    assert_eq!(metadata["issuer"], server.issuer());
    assert!(server.issuer().starts_with("https://"));
    let token = https
        .post(metadata["token_endpoint"].as_str().unwrap())
        .header("authorization", basic(&app.id, &app.secret))
        .header("content-type", FORM)
        .body(form(&[("grant_type", "client_credentials")]));
    let token = Answer::read(token.send().await.unwrap()).await.unwrap().ok();
    assert_eq!(token.json()["token_type"], json!("Bearer"));
    // A client that trusts other roots does not get through, and neither does plain text.
    let stranger = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    assert!(stranger.get(format!("{}/healthz", server.issuer())).send().await.is_err());
    let plain = format!("http://{}/healthz", server.address());
    assert!(stranger.get(plain).send().await.is_err());
    let exceptions = &server.json(&["custody"])["exceptions"];
    assert!(exceptions.to_string().contains("TLS key"), "the one key outside the HSM is named: {exceptions}");
}

#[test]
fn plain_http_off_loopback_is_refused() {
    let application = Application::new("");
    let issuer = application.issuer();
    let path = application.configuration();
    let good = std::fs::read_to_string(&path).unwrap();
    for (public_url, told) in [
        ("http://id.example.org", "https"),
        ("http://10.0.0.1:8080", "https"),
        ("http://localhost.example.org", "https"),
        ("ftp://127.0.0.1", "https"),
        ("https://id.example.org/?x=1", "query"),
        ("not a url", "https"),
    ] {
        std::fs::write(&path, good.replacen(&issuer, public_url, 1)).unwrap();
        let output = application.run(&["serve"]);
        let error = output.stderr;
        assert!(
            output.code != Some(0) && error.contains("public_url") && error.contains(told),
            "{public_url}: {error}"
        );
    }
}

#[test]
fn a_tls_key_that_does_not_belong_stops_the_start() {
    let application = Application::with_tls("");
    let other = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    crate::support::write_secret(&application.folder().join("key.pem"), &other.signing_key.serialize_pem());
    let output = application.run(&["serve"]);
    let error = output.stderr;
    assert!(output.code != Some(0) && error.contains("server.tls"), "{error}");
}
