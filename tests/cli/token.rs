//! `signet token`: exit 0 for a good token and 1 for every other, with the JWKS from a URL or a file.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::application::{ALL_GRANTS, AUDIENCE, Application};
use crate::support::caller::Caller;
use crate::support::hsm::PROGRAM;
use crate::support::process::{Ran, feed};

/// Runs in a folder without a configuration: nothing but the JWKS is needed.
fn token(arguments: &[&str], input: &str) -> Ran {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(PROGRAM);
    command.args(arguments).env_remove("SIGNET_CONFIG").current_dir(nowhere.path());
    feed(command, input)
}

fn verify(jwks: &str, issuer: &str, audience: &str, input: &str) -> Ran {
    token(&["--json", "token", "verify", "--jwks", jwks, "--issuer", issuer, "--audience", audience], input)
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_8_a_token_is_verified_by_a_jwks_alone() {
    let deployment = Application::new("");
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let server = deployment.serve();
    let issuer = &*deployment.issuer();
    let caller = Caller::new(&server, &credentials);
    let good = caller.client_credentials().await.unwrap().text("access_token");
    let url = server.url("/oauth2/jwks");
    let by_url = verify(&url, issuer, AUDIENCE, &good).json();
    assert_eq!((&by_url["valid"], &by_url["claims"]["client_id"]), (&true.into(), &credentials.id.clone().into()));

    let file = deployment.file("jwks.json");
    std::fs::write(&file, caller.get("/oauth2/jwks").await.unwrap().body).unwrap();
    let file = file.to_str().unwrap();
    server.stop();
    assert_eq!(verify(file, issuer, AUDIENCE, &format!("  {good}\n")).json()["valid"], true);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{head}.{flipped}{}", &signature[1..]);
    for (issuer, audience, text) in [
        ("https://other.example", AUDIENCE, good.as_str()),
        (&format!("{issuer}/"), AUDIENCE, &good),
        (issuer, "https://other.example", &good),
        (issuer, AUDIENCE, &forged),
        (issuer, AUDIENCE, head),
        (issuer, AUDIENCE, "no token"),
    ] {
        let ran = verify(file, issuer, audience, text);
        ran.fails(1, &["\"valid\": false", "reason"]);
    }
    verify(&url, issuer, AUDIENCE, &good).fails(1, &["can't be fetched", &url]);
    verify("/nowhere.json", issuer, AUDIENCE, &good).fails(1, &["/nowhere.json", "can't be read"]);
    verify(file, issuer, AUDIENCE, "").fails(2, &["the token is expected on standard input"]);
    token(&["token", "verify", "--jwks", file, "--issuer", issuer], &good).fails(2, &["--audience"]);

    let shown = token(&["--json", "token", "inspect"], &forged).json();
    assert_eq!((&shown["verified"], &shown["header"]["typ"]), (&false.into(), &"at+jwt".into()), "{shown}");
    assert_eq!(shown["claims"]["iss"], issuer);
    let shown = token(&["token", "inspect"], &forged);
    assert!(shown.code == Some(0) && shown.stdout.contains("NOT VERIFIED"), "{shown:?}");
    token(&["token", "inspect"], "no token").fails(1, &["not a signed JWT"]);
    token(&["token", "inspect"], "").fails(2, &["standard input"]);
}

/// A proxy that opens one tunnel, and then tells what was asked of it.
async fn proxy() -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://name:word@{}", listener.local_addr().unwrap());
    let tunnel = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut asked = String::new();
        while !asked.ends_with("\r\n\r\n") {
            asked.push(char::from(client.read_u8().await.unwrap()));
        }
        let target = asked.split(' ').nth(1).unwrap().to_owned();
        let mut server = TcpStream::connect(target).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // How the two part is theirs.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        asked
    });
    (url, tunnel)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_over_tls_and_through_the_proxy_that_the_environment_names() {
    let server = Application::with_tls("").serve();
    let jwks = format!("{}/oauth2/jwks", server.issuer());
    let roots = server.folder().join("roots.pem");
    std::fs::write(&roots, server.certificate()).unwrap();
    let verify = |roots: Option<&Path>, proxy: Option<&str>| {
        let arguments = ["token", "verify", "--jwks", &jwks, "--issuer", "https://a.example", "--audience", "b"];
        let mut command = std::process::Command::new(PROGRAM);
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_DIR"] {
            command.env_remove(name);
        }
        command.envs(roots.map(|roots| ("SSL_CERT_FILE", roots))).envs(proxy.map(|proxy| ("HTTPS_PROXY", proxy)));
        command.args(arguments).env_remove("SIGNET_CONFIG");
        feed(command, "no token")
    };
    // The keys are there: the fault is the token's.
    verify(Some(&roots), None).fails(1, &["NOT valid", "not a compact JWS"]);
    verify(None, None).fails(1, &["can't be fetched", "certificate"]);
    let (url, tunnel) = proxy().await;
    verify(Some(&roots), Some(&url)).fails(1, &["NOT valid", "not a compact JWS"]);
    let asked = tunnel.await.unwrap();
    assert!(asked.starts_with(&format!("CONNECT {} ", server.address())), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("proxy-authorization: basic bmftztp3b3jk"), "{asked}");
    verify(Some(&roots), Some("socks5://127.0.0.1:1")).fails(1, &["can't be fetched", "proxy"]);
}
