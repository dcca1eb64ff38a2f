//! What the features `jwks` and `introspection` ask by: HTTP/1.1 to one origin, bounded in time and size; no redirect is
//! followed. TLS is rustls with aws-lc and the system's roots, or those that `SSL_CERT_FILE` names.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The most of an answer's head that is read, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// A client for one origin. Connections are kept for the next request.
#[derive(Debug, Clone)]
pub(crate) struct HttpsClient(Client<HttpsConnector<Route>, Full<Bytes>>);

/// Why there is no answer.
pub(crate) enum Failure {
    /// The body is longer than is read.
    TooLarge,
    /// What went wrong, with its causes.
    Failed(String),
}

/// Whether keys and secrets may travel to and from there: by https, or by http on loopback. A user name or password in
/// the address would end up in logs.
pub(crate) fn is_private(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_loopback = host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback());
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    let is_private = is_https || (uri.scheme() == Some(&Scheme::HTTP) && is_loopback);
    is_private && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
}

impl HttpsClient {
    /// A client for the origin of an address that [`is_private`]. To https it goes through the proxy that the environment
    /// names (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`); to http never: a proxy would be somebody else who could answer.
    pub(crate) fn for_origin_of(uri: &Uri) -> Result<Self, String> {
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        let proxy = if is_https { Matcher::from_env().intercept(uri) } else { None };
        let route = match proxy {
            None => Route::Direct(direct),
            Some(proxy) if proxy.uri().scheme() == Some(&Scheme::HTTP) => {
                let tunnel = Tunnel::new(proxy.uri().clone(), direct);
                Route::Tunnel(match proxy.basic_auth() {
                    Some(credentials) => tunnel.with_auth(credentials.clone()),
                    None => tunnel,
                })
            }
            Some(_) => return Err("the proxy that the environment names is not an http:// one".to_owned()),
        };
        let tls = tls(is_https).map_err(|error| causes(&*error))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).http1_max_buf_size(MAX_HEAD);
        Ok(Self(builder.build(connector.wrap_connector(route))))
    }

    /// Sends a request, and reads an answer whose body has at most `max_body` bytes, until `deadline`.
    pub(crate) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        max_body: usize,
        deadline: Instant,
    ) -> Result<Response<Bytes>, Failure> {
        let exchange = async {
            let answer = self.0.request(request).await.map_err(|error| Failure::Failed(causes(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, max_body).collect().await.map_err(|error| match error.downcast_ref() {
                Some(LengthLimitError { .. }) => Failure::TooLarge,
                None => Failure::Failed(causes(&*error)),
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let late = |_| Failure::Failed("no whole answer came in time".to_owned());
        tokio::time::timeout_at(deadline, exchange).await.map_err(late)?
    }
}

/// Only where https is spoken are the system's roots read.
fn tls(with_roots: bool) -> Result<ClientConfig, BoxError> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config =
        if with_roots { config.with_native_roots()? } else { config.with_root_certificates(RootCertStore::empty()) };
    Ok(config.with_no_client_auth())
}

/// How the origin is reached.
#[derive(Debug, Clone)]
enum Route {
    Direct(HttpConnector),
    /// By a proxy's CONNECT.
    Tunnel(Tunnel<HttpConnector>),
}

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Direct(direct) => direct.poll_ready(context).map_err(Into::into),
            Self::Tunnel(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Direct(direct) => {
                let connecting = direct.call(uri);
                Box::pin(async { Ok(connecting.await?) })
            }
            Self::Tunnel(tunnel) => {
                let connecting = tunnel.call(uri);
                Box::pin(async { Ok(connecting.await?) })
            }
        }
    }
}

/// An error with its causes: the library's own text says only that the request failed.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_keys_travel_by_https_or_within_this_machine() {
        for uri in ["https://a.example/jwks", "http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://LOCALHOST/"] {
            assert!(is_private(&uri.parse().unwrap()), "{uri}");
        }
        for uri in [
            "http://a.example/",
            "http://10.0.0.1/",
            "https://user@a.example/",
            "http://localhost.a.example/",
            "ftp://localhost/",
            "/jwks",
        ] {
            assert!(!is_private(&uri.parse().unwrap()), "{uri}");
        }
    }
    #[tokio::test]
    async fn who_does_not_answer_is_not_waited_for() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let uri: Uri = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let client = HttpsClient::for_origin_of(&uri).unwrap();
        let request = Request::get(&uri).body(Full::default()).unwrap();
        let deadline = Instant::now() + std::time::Duration::from_millis(20);
        let answer = client.exchange(request, 1, deadline).await;
        assert!(matches!(answer, Err(Failure::Failed(reason)) if reason.contains("in time")));
    }
}
