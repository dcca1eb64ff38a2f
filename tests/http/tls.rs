//! TLS, and where plain HTTP is refused.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::application::Application;
use crate::support::process::signal;
use crate::support::requests::{Answer, FORM, basic, form};
use crate::support::server::Server;

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
fn a_tls_key_that_others_can_read_stops_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let application = Application::with_tls("");
    for mode in [0o640, 0o604, 0o660, 0o644] {
        let key = application.folder().join("key.pem");
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = application.run(&["serve"]);
        assert!(refused.code != Some(0) && refused.stderr.contains("chmod 0600"), "{mode:o}: {}", refused.stderr);
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

/// A certificate of its own for this address, with its key, in the deployment's files; returns it.
fn renew(application: &Application, not_after: (i32, u8, u8), key_of_another: bool) -> String {
    let (key, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut parameters = rcgen::CertificateParams::new([application.address().ip().to_string()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
    let certificate = parameters.self_signed(&key).unwrap().pem();
    std::fs::write(application.file("certificate.pem"), &certificate).unwrap();
    let key = if key_of_another { other } else { key };
    crate::support::write_secret(&application.file("key.pem"), &key.serialize_pem());
    certificate
}

/// Whether the server shows this certificate.
async fn shows(server: &Server, certificate: &str) -> bool {
    let root = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let https = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    https.get(format!("{}/healthz", server.issuer())).send().await.is_ok_and(|answer| answer.status() == 200)
}

async fn until_shown(server: &Server, certificate: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while !shows(server, certificate).await {
        assert!(Instant::now() < until, "it is not served: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_said(server: &Server, text: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while !server.log().contains(text) {
        assert!(Instant::now() < until, "{text}: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_bad_one_is_refused() {
    let server = Application::with_tls("").serve();
    let first = server.certificate().to_owned();
    assert!(shows(&server, &first).await);
    // Its files change.
    let second = renew(&server, (2090, 1, 1), false);
    until_shown(&server, &second).await;
    assert!(!shows(&server, &first).await);
    for (not_after, key_of_another, why) in
        [((2090, 1, 1), true, "can't be used (server.tls)"), ((2021, 1, 1), false, "it expired on 2021-01-01")]
    {
        let bad = renew(&server, not_after, key_of_another);
        signal(server.id(), "HUP");
        until_said(&server, why).await;
        assert!(shows(&server, &second).await && !shows(&server, &bad).await, "{why}");
    }
    assert!(server.log().contains("is refused, and the one before is served on"), "{}", server.log());
    // Asked for, it is read at once.
    let third = renew(&server, (2091, 1, 1), false);
    signal(server.id(), "HUP");
    until_shown(&server, &third).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_differs_in_the_file_is_said_on_sighup_by_its_key_alone() {
    let server = Application::new("[admin]\ngroup = \"nogroup\"").serve();
    server.edit("group = \"nogroup\"", "group = \"another-group\"\nfour_eyes = true");
    signal(server.id(), "HUP");
    until_said(&server, "not taken over before the server's next start: admin.four_eyes, admin.group").await;
    assert!(!server.log().contains("another-group"));
    server.stop();
}
