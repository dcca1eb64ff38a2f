//! HTTP as a client speaks it, and as one that breaks the rules does.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::application::TestClient;

/// One client for all tests. It keeps no connection: each test has a runtime of its own, and a connection would outlive
/// the runtime that drives it.
static HTTP: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap());

/// The one content type of requests.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// # Errors
    ///
    /// What breaks the connection before the end.
    pub(crate) async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.text().await? })
    }

    /// The answer itself, which must be a 200.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A member that is a text.
    pub(crate) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member}: {}", self.body)).to_owned()
    }

    pub(crate) fn access_token(&self) -> String {
        self.text("access_token")
    }

    pub(crate) fn refresh_token(&self) -> String {
        self.text("refresh_token")
    }

    /// Status and `error`, as the RFCs say them.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.text("error"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Retry-After` in seconds.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }

    /// A 503 that says when to come again.
    pub(crate) fn is_try_again(&self) -> bool {
        self.status == 503 && self.retry_after().is_some()
    }

    /// Whatever is answered, nothing of a token is in it.
    pub(crate) fn has_no_token(&self) -> bool {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body.get("access_token").is_none() && body.get("refresh_token").is_none()
    }

    /// Whatever a caller could tell two answers apart by: all but the moment and the request's own id.
    pub(crate) fn distinguishing(&self) -> (u16, Vec<(String, String)>, String) {
        let headers = self.headers.iter().filter(|(name, _)| *name != "date" && *name != "x-request-id");
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        (self.status, headers.collect(), self.body.clone())
    }
}

/// The form encoding of fields.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// `client_secret_basic` (RFC 6749 §2.3.1).
pub(crate) fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}

/// The request that posts form fields, with the client's credentials in the `Authorization` header.
pub(super) fn posted(
    http: &reqwest::Client,
    url: &str,
    client: Option<&TestClient>,
    fields: &[(&str, &str)],
) -> reqwest::RequestBuilder {
    let request = http.post(url).header(CONTENT_TYPE, FORM).body(form(fields));
    match client {
        Some(client) => request.header(AUTHORIZATION, basic(&client.id, &client.secret)),
        None => request,
    }
}

pub(crate) async fn post(url: &str, client: Option<&TestClient>, fields: &[(&str, &str)]) -> Answer {
    send(|http| posted(http, url, client, fields)).await
}

pub(crate) async fn get(url: &str) -> Answer {
    send(|http| http.get(url)).await
}

/// A request of any other kind.
pub(crate) async fn send(build: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder) -> Answer {
    Answer::read(build(&HTTP).send().await.unwrap()).await.unwrap()
}

/// How long a raw exchange may take: longer than any time limit of the server that a test waits for.
const RAW_PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes as they are; gives all that comes back until the server closes.
pub(crate) fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(RAW_PATIENCE)).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    read_all(&mut stream)
}

/// What comes until the other side closes, or breaks, the connection.
pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let (mut told, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => told.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&told)),
        }
    }
    String::from_utf8_lossy(&told).into_owned()
}

/// The status of a raw answer.
pub(crate) fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status line: {answer:?}"))
}

/// Whether `/readyz` says 200. A server with TLS is asked whether it takes connections: the workers' start precedes that.
pub(crate) fn is_ready(address: SocketAddr, tls: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    if tls {
        return true;
    }
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    // Whoever listens there may be somebody else, who says nothing.
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let exchanged = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    exchanged.is_ok() && answer.starts_with("HTTP/1.1 200")
}
