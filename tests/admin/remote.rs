//! Operators of other machines: the listener of the admin API's own, and `--server`.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::operators::{ROLES, admin_client, operator, token};
use super::with_json;
use crate::support::application::{Application, PASSWORD};
use crate::support::hsm::PROGRAM;
use crate::support::process::{Ran, feed, signal};
use crate::support::requests::Answer;
use crate::support::write_secret;

/// A deployment whose admin API listens on the network, and where.
fn listening() -> (Arc<Application>, u16) {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let application = Application::new(&format!(
        "{ROLES}\n[admin]\nlisten = \"127.0.0.1:{free}\"\n[admin.tls]\ncertificate = \"admin.pem\"\nkey = \"admin-key.pem\""
    ));
    certify(&application);
    (application, free)
}

/// A new certificate in the listener's files, by itself its CA; returns it.
fn certify(application: &Application) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    write_secret(&application.file("admin-key.pem"), &made.signing_key.serialize_pem());
    let certificate = made.cert.pem();
    std::fs::write(application.file("admin.pem"), &certificate).unwrap();
    certificate
}

/// What trusts this certificate alone.
fn https(certificate: &str) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([root]).timeout(Duration::from_secs(30)).build().unwrap()
}

#[tokio::test]
async fn operators_ask_from_their_networks_alone() {
    let (application, port) = listening();
    application.edit("[admin]\n", "[admin]\nallow_from = [\"127.0.0.3\", \"10.0.0.0/8\"]\n");
    let server = application.serve();
    let root = reqwest::Certificate::from_pem(&std::fs::read(application.file("admin.pem")).unwrap()).unwrap();
    let ask = async |from: &str| {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([root.clone()]);
        let http = http.local_address(from.parse::<std::net::IpAddr>().unwrap()).build().unwrap();
        let asked = http.get(format!("https://127.0.0.1:{port}/api/v1/users")).header("x-forwarded-for", "10.0.0.1");
        Answer::read(asked.send().await.unwrap()).await.unwrap().status
    };
    assert_eq!((ask("127.0.0.1").await, ask("127.0.0.3").await), (403, 401));
    let records = server.audit().await;
    let refused = records.iter().find(|record| record["event"] == "request.refused").unwrap();
    assert_eq!((&refused["address"], &refused["detail"]), (&json!("127.0.0.1"), &json!("admin API")));
}

#[tokio::test]
async fn on_the_network_it_is_tls_and_tokens_alone() {
    let (application, port) = listening();
    let server = application.serve();
    let http = https(&std::fs::read_to_string(application.file("admin.pem")).unwrap());
    let base = format!("https://127.0.0.1:{port}/api/v1");
    let get = async |path: &str, token: Option<&str>| {
        let request = http.get(format!("{base}{path}"));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        Answer::read(request.send().await.unwrap()).await.unwrap()
    };
    // Nobody is an account here, whatever they claim.
    let nobody = get("/users", None).await;
    assert_eq!((nobody.status, nobody.header("www-authenticate")), (401, Some("Bearer realm=\"signet-admin\"")));
    let claimed =
        http.get(format!("{base}/users")).header("signet-operator", "root").header("origin", "https://evil.example");
    let claimed = Answer::read(claimed.send().await.unwrap()).await.unwrap();
    assert_eq!(claimed.status, 401);
    for absent in ["access-control-allow-origin", "set-cookie"] {
        assert_eq!(claimed.header(absent), None, "{absent}");
    }
    let plain =
        reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://127.0.0.1:{port}/api/v1/users"));
    assert!(plain.send().await.is_err(), "plain HTTP is answered");
    assert_eq!(get("/users", Some("x")).await.status, 401);
    // A person is who the token says, from where the connection comes.
    let hal = operator(&application, "hal", "helpdesk");
    let token = token(&server, &admin_client(&application, "laptop"), &hal).await;
    assert_eq!(get("/users", Some(&token)).await.ok().header("cache-control"), Some("no-store"));
    assert_eq!(get("/stock", Some(&token)).await.status, 403);
    let new = json!({"name": "ann", "roles": ["reader"], "password": PASSWORD});
    let added = with_json(http.post(format!("{base}/users")).bearer_auth(&token), &new).send().await.unwrap();
    assert_eq!(added.status(), 201);
    let records = application.audit().await;
    let told = records.iter().rfind(|record| record["change"] == "added").unwrap();
    assert!(told["operator"].as_str().unwrap().starts_with("hal by laptop (user "), "{told}");
    assert_eq!(told["address"], "127.0.0.1");
    // The service's limits are its limits.
    let long = json!({"name": "x".repeat(100_000), "password": PASSWORD});
    let long = with_json(http.post(format!("{base}/users")).bearer_auth(&token), &long).send().await.unwrap();
    assert_eq!(long.status(), 413);
    // Its certificate is renewed without a restart, and a bad one is refused.
    let renewed = certify(&application);
    signal(server.id(), "HUP");
    until("the new certificate is served", async || https(&renewed).get(&base).send().await.is_ok()).await;
    std::fs::write(application.file("admin.pem"), "no certificate").unwrap();
    signal(server.id(), "HUP");
    until("it is refused", async || application.log().contains("can't be used (admin.tls)")).await;
    assert!(https(&renewed).get(&base).send().await.is_ok(), "the one before is served on");
    let read = |record: &&Value| record["event"] == "certificate.read";
    until("both are on the record", async || {
        let records = application.audit().await;
        let outcomes: Vec<_> = records.iter().filter(read).map(|record| record["outcome"].clone()).collect();
        outcomes == [json!("done"), json!("refused")]
    })
    .await;
    server.stop();
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn another_machine_needs_a_sign_in_and_no_configuration() {
    let (application, port) = listening();
    let server = application.serve();
    let hal = operator(&application, "hal", "helpdesk,watcher");
    let laptop = admin_client(&application, "laptop");
    // Another machine: nothing of the deployment is there but a CA's certificate and the client's secret.
    let home = tempfile::tempdir().unwrap();
    std::fs::copy(application.file("admin.pem"), home.path().join("ca.pem")).unwrap();
    write_secret(&home.path().join("secret"), &laptop.secret);
    let url = format!("https://127.0.0.1:{port}");
    let run = |arguments: &[&str], input: &str| -> Ran {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(home.path()).env_remove("SIGNET_CONFIG").env("XDG_STATE_HOME", home.path());
        command.env("SIGNET_SERVER", &url).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
        feed(command, input)
    };
    let there =
        |arguments: &[&str], input: &str| run(&[arguments, &["--server-ca", "ca.pem", "--json"]].concat(), input);
    there(&["user", "list"], "").fails(1, &["nobody is signed in", "signet login"]);
    let issuer = server.issuer();
    let login =
        ["login", "--issuer", &issuer, "--client-id", &laptop.id, "--client-secret-file", "secret", "--user", "hal"];
    let signed_in = run(&[&login[..], &["--credentials-stdin"]].concat(), &format!("{PASSWORD}\n{}\n", hal.1.code()));
    assert_eq!(signed_in.code, Some(0), "{signed_in:?}");
    let listed = there(&["user", "list"], "");
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert_eq!(serde_json::from_str::<Value>(&listed.stdout).unwrap()[0]["name"], "hal");
    let added = there(&["user", "add", "ann", "--roles", "reader", "--password-stdin"], PASSWORD);
    assert_eq!(added.code, Some(0), "{added:?}");
    run(&["user", "list"], "").fails(1, &["not trusted", "--server-ca"]);
    there(&["factor", "stock"], "").fails(1, &["lacks the scope admin:stock:read"]);
    there(&["user", "set-roles", "ann", "--roles", "chief"], "").fails(1, &["may do what you may not"]);
    there(&["serve"], "").fails(2, &["own machine", "--server"]);
    let told = there(&["doctor"], "");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(["\"server\"", "\"keys\"", "on that machine"].iter().all(|word| told.stdout.contains(word)), "{told:?}");
    for (command, scope) in [
        (&["key", "list"][..], "admin:keys:read"),
        (&["audit", "export"], "admin:audit:read"),
        (&["audit", "verify"], "admin:audit:read"),
        (&["backup", "a.backup"], "admin:backups"),
    ] {
        there(command, "").fails(1, &["lacks the scope", scope]);
    }
    run(&["--server", "http://127.0.0.1:1", "user", "list"], "").fails(2, &["https://"]);
    // It ends with the person.
    application.json(&["user", "disable", "hal"]);
    there(&["user", "list"], "").fails(1, &["does not hold", "signet login"]);
    server.stop();
}
