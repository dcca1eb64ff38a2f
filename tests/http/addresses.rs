//! From where a request comes, behind proxies and balancers.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::support::application::{Application, TestClient};
use crate::support::commands::text;
use crate::support::requests::{self, Answer, FORM, basic, form, status};
use crate::support::server::Server;

/// A proxy's address, which is one of this machine's as well.
const PROXY: &str = "127.0.0.2";

/// A server that trusts the proxy, with these lines of `[server]` beside.
fn behind_proxy(lines: &str) -> (Server, TestClient) {
    let application = Application::new("");
    application.edit("\n[store]", &format!("trusted_proxies = [\"{PROXY}\"]\n{lines}\n\n[store]"));
    let server = application.serve();
    let app = server.add_client("app", "client_credentials", "read");
    (server, app)
}

/// Sends these bytes from an address, and reads to the end.
async fn talk(from: &str, to: SocketAddr, bytes: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks for a token from an address, behind these bytes and with these header lines.
async fn ask(server: &Server, app: &TestClient, from: &str, before: &[u8], headers: &str) -> u16 {
    let body = form(&[("grant_type", "client_credentials")]);
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n{headers}\
         Connection: close\r\n\r\n{body}",
        server.address(),
        basic(&app.id, &app.secret),
        body.len()
    );
    let answer = talk(from, server.listens_on(), &[before, request.as_bytes()].concat()).await;
    if answer.is_empty() { 0 } else { status(&answer) }
}

/// The addresses of the tokens that were issued, in order.
async fn recorded(server: &Server) -> Vec<String> {
    let records = server.audit().await;
    records.iter().filter(|record| record["event"] == "token.issued").map(|record| text(record, "address")).collect()
}

#[tokio::test]
async fn hazard_119_and_98_the_address_comes_from_a_trusted_proxy_alone() {
    let (server, app) = behind_proxy("");
    let forged = "X-Forwarded-For: 203.0.113.7\r\nForwarded: for=203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\n";
    for (from, headers, answer) in [
        ("127.0.0.1", forged, 200),
        (PROXY, "X-Forwarded-For: 203.0.113.7, 198.51.100.1\r\n", 200),
        (PROXY, "Forwarded: for=203.0.113.7, for=\"[2001:db8::7]:4711\";proto=https\r\n", 200),
        (PROXY, "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 198.51.100.2, 127.0.0.2\r\n", 200),
        (PROXY, "", 200),
        (PROXY, "X-Forwarded-For: 198.51.100.1\r\nForwarded: for=203.0.113.7\r\n", 400),
        (PROXY, "Forwarded: for=\"203.0.113.7, for=198.51.100.1\r\n", 400),
        // Of the host nobody is believed.
        (PROXY, "X-Forwarded-For: 198.51.100.3\r\nX-Forwarded-Host: evil.example\r\n", 200),
    ] {
        assert_eq!(ask(&server, &app, from, b"", headers).await, answer, "{from} {headers}");
    }
    let found = ["127.0.0.1", "198.51.100.1", "2001:db8::7", "198.51.100.2", PROXY, "198.51.100.3"];
    assert_eq!(recorded(&server).await, found);
}

#[tokio::test]
async fn hazard_119_a_balancer_speaks_the_proxy_protocol_and_nobody_else() {
    let (server, app) = behind_proxy("proxy_protocol = true");
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    binary.extend([198, 51, 100, 9, 127, 0, 0, 1, 0x12, 0x34, 1, 0xbb]);
    let line = b"PROXY TCP4 198.51.100.8 127.0.0.1 4711 443\r\n".to_vec();
    let of_a_proxy = format!("PROXY TCP4 {PROXY} 127.0.0.1 4711 443\r\n").into_bytes();
    let forwarded = "X-Forwarded-For: 203.0.113.7\r\n";
    for (from, before, headers, answer) in [
        (PROXY, &line, "", 200),
        (PROXY, &binary, "", 200),
        // Whom the balancer passes on is no trusted proxy, and one behind it is.
        (PROXY, &line, forwarded, 200),
        (PROXY, &of_a_proxy, forwarded, 200),
        // A balancer that says nothing is set up wrong; a stranger's header is no HTTP.
        (PROXY, &Vec::new(), "", 0),
        ("127.0.0.1", &line, "", 400),
        ("127.0.0.1", &Vec::new(), forwarded, 200),
    ] {
        assert_eq!(ask(&server, &app, from, before, headers).await, answer, "{from} {before:?} {headers}");
    }
    let found = ["198.51.100.8", "198.51.100.9", "198.51.100.8", "203.0.113.7", "127.0.0.1"];
    assert_eq!(recorded(&server).await, found);
}

#[tokio::test]
async fn a_client_and_the_tenant_are_for_their_networks_alone() {
    let (server, app) = behind_proxy("");
    let near = "X-Forwarded-For: 10.1.2.3\r\n";
    let far = "X-Forwarded-For: 203.0.113.9\r\n";
    let made =
        server.json(&["client", "add", "near", "--grant", "client_credentials", "--allow-from", "10.0.0.0/8", "::1"]);
    assert_eq!(made["allow_from"], serde_json::json!(["10.0.0.0/8", "::1"]));
    let own =
        TestClient { name: "near".to_owned(), id: text(&made, "client_id"), secret: text(&made, "client_secret") };
    for (client, headers, answer) in [(&own, near, 200), (&own, far, 400), (&own, "", 400), (&app, far, 200)] {
        assert_eq!(ask(&server, client, PROXY, b"", headers).await, answer, "{} {headers}", client.name);
    }
    let refused = server.audit().await.into_iter().find(|record| record["reason"] == "address_not_allowed").unwrap();
    assert_eq!((text(&refused, "address"), text(&refused, "client")), ("203.0.113.9".to_owned(), own.id.clone()));
    let bad = server.run(&["client", "set", "near", "--allow-from", "10.0.0.5/8"]);
    assert!(bad.code == Some(1) && bad.stderr.contains("did you mean 10.0.0.0/8"), "{bad:?}");
    server.json(&["client", "set", "near", "--allow-from-anywhere"]);
    assert_eq!(ask(&server, &own, PROXY, b"", far).await, 200);
    // What is stated is exported, and the other way round.
    server.json(&["client", "set", "near", "--allow-from", "192.0.2.0/24", "--origin", "https://app.example"]);
    let exported = server.run(&["export"]).ok().stdout;
    assert!(
        exported.contains("allow_from = [\"192.0.2.0/24\"]") && exported.contains("https://app.example"),
        "{exported}"
    );
    server.state("[[clients]]\nname = \"near\"\ngrants = [\"client_credentials\"]\nallow_from = [\"10.0.0.0/8\"]");
    assert_eq!(ask(&server, &own, PROXY, b"", near).await, 200);
    assert_eq!(ask(&server, &own, PROXY, b"", far).await, 400);
    // The tenant's own list is everybody's, and keys and probes are for all.
    server.state("[policy]\nallow_from = [\"10.0.0.0/8\"]");
    assert_eq!(ask(&server, &app, PROXY, b"", near).await, 200);
    assert_eq!(ask(&server, &app, PROXY, b"", far).await, 403);
    for (path, status) in [("/login", 403), ("/wsapi/2.0/verify?id=1", 403), ("/oauth2/jwks", 200), ("/healthz", 200)] {
        assert_eq!(server.get(path).await.status, status, "{path}");
    }
    let records = server.audit().await;
    let refused = records.iter().find(|record| record["event"] == "request.refused").unwrap();
    assert_eq!((text(refused, "address"), text(refused, "detail")), ("203.0.113.9".to_owned(), "tenant".to_owned()));
}

#[tokio::test]
async fn scripts_read_a_token_where_the_client_may_be_used_alone() {
    let (server, app) = behind_proxy("");
    server.json(&["client", "set", &app.name, "--origin", "https://app.example"]);
    let ask = async |method: reqwest::Method, origin: &str, fields: &[(&str, &str)]| {
        let (authorization, body) = (basic(&app.id, &app.secret), form(fields));
        requests::send(|http| {
            let request = http.request(method, server.url("/oauth2/token")).header("origin", origin);
            request.header("authorization", authorization).header("content-type", FORM).body(body)
        })
        .await
    };
    let readable = |answer: &Answer| answer.header("access-control-allow-origin").map(str::to_owned);
    let own = "https://app.example";
    let token = ask(reqwest::Method::POST, own, &[("grant_type", "client_credentials")]).await.ok();
    assert_eq!((readable(&token).as_deref(), token.header("access-control-allow-credentials")), (Some(own), None));
    let wrong = ask(reqwest::Method::POST, own, &[("grant_type", "password")]).await;
    assert_eq!((wrong.status, readable(&wrong).as_deref()), (400, Some(own)), "a script may read why");
    let other = ask(reqwest::Method::POST, "https://evil.example", &[("grant_type", "client_credentials")]).await;
    assert_eq!((other.status, readable(&other)), (200, None));
    let preflight = ask(reqwest::Method::OPTIONS, own, &[]).await;
    let asked = preflight.header("access-control-allow-headers").unwrap_or_default().to_owned();
    assert!(preflight.status == 200 && asked.contains("authorization") && asked.contains("content-type"), "{asked}");
}
