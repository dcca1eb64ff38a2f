//! From where a request comes, behind proxies and balancers.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::support::application::{Application, TestClient};
use crate::support::commands::text;
use crate::support::requests::{FORM, basic, form, status};
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
