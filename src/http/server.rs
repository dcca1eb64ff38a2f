//! Listens: TLS or plain, with limits on connections, headers and slow peers, and an orderly stop.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::{AddExtension, from_fn_with_state};
use axum::{Extension, Router};
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tower::Layer as _;

use super::address::{self, Peer};
use super::proxy_protocol;
use signet_core::forwarded::Proxies;

/// The limits on connections and requests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// The largest header, in bytes.
    pub header_bytes: usize,
    /// Connections at once; one more is closed at once.
    pub connections: usize,
    /// How long a peer may take to send a header or a body, or to read an answer.
    pub slow_peer: Duration,
    /// How long a connection may rest between two requests.
    pub idle: Duration,
    /// How long a request may take in all.
    pub request_deadline: Duration,
    /// How long requests that are under way are waited for at the end.
    pub drain: Duration,
}

/// Why the server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be had.
    #[error("can't listen on {address}: {problem}. Is another server running there? `{key}` says where to listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What of the configuration says it.
        key: &'static str,
        /// What the system answered.
        problem: std::io::Error,
    },
    /// Serving failed.
    #[error("the server failed: {0}")]
    Serve(std::io::Error),
}

/// How many connections may wait to be accepted while the server is busy.
const BACKLOG: i32 = 4096;

/// For whom connections may come that are another's.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// The proxies that are believed.
    pub proxies: Proxies,
    /// Whether their connections begin with the PROXY protocol.
    pub proxy_protocol: bool,
}

/// A listener that accepts connections once it is served.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Takes the address, which this key of the configuration says. Port 0 takes a free one.
    pub fn bind(address: SocketAddr, key: &'static str) -> Result<Self, ServeError> {
        let listen = || {
            let listener = TcpListener::bind(address)?;
            // Once more, with room for as many as the system allows: a full queue costs callers seconds of waiting.
            rustix::net::listen(&listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = listen().map_err(|problem| ServeError::Listen { address, key, problem })?;
        Ok(Self { listener, address })
    }

    /// The address listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `handle` is shut down.
    pub async fn serve(
        self,
        router: Router,
        tls: Option<RustlsConfig>,
        limits: Limits,
        forwarding: Forwarding,
        handle: Handle<SocketAddr>,
    ) -> Result<(), ServeError> {
        let service = router.layer(from_fn_with_state(forwarding.proxies.clone(), address::attach)).into_make_service();
        let guarded = Guarded {
            permits: Arc::new(Semaphore::new(limits.connections)),
            slow_peer: limits.slow_peer,
            idle: limits.idle,
            forwarding: Arc::new(forwarding),
        };
        let server = axum_server::from_tcp(self.listener).map_err(ServeError::Serve)?.handle(handle);
        let served = match tls {
            Some(config) => {
                let acceptor = RustlsAcceptor::new(config).handshake_timeout(limits.slow_peer).acceptor(guarded);
                let mut server = server.acceptor(acceptor);
                set_limits(server.http_builder(), limits);
                server.serve(service).await
            }
            None => {
                let mut server = server.acceptor(guarded);
                set_limits(server.http_builder(), limits);
                server.serve(service).await
            }
        };
        served.map_err(ServeError::Serve)
    }
}

fn set_limits(builder: &mut hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor>, limits: Limits) {
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.slow_peer)
        .max_buf_size(limits.header_bytes)
        .max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(128)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(limits.slow_peer)
        .keep_alive_timeout(limits.slow_peer);
}

/// Accepts so many connections at once, finds out from where each comes, and closes those whose peer does not read.
#[derive(Clone)]
struct Guarded {
    permits: Arc<Semaphore>,
    slow_peer: Duration,
    idle: Duration,
    forwarding: Arc<Forwarding>,
}

impl<S: Send + 'static> Accept<TcpStream, S> for Guarded {
    type Stream = Pin<Box<TimeoutStream<Counted>>>;
    type Service = AddExtension<S, Peer>;
    type Future = BoxFuture<'static, std::io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let guarded = self.clone();
        Box::pin(
            async move { guarded.admit(stream).await.map(|(stream, peer)| (stream, Extension(peer).layer(service))) },
        )
    }
}

impl Guarded {
    async fn admit(self, mut stream: TcpStream) -> std::io::Result<(Pin<Box<TimeoutStream<Counted>>>, Peer)> {
        let full = || std::io::Error::other("too many connections");
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| full())?;
        // Small answers in one segment: waiting for more of them helps nobody.
        stream.set_nodelay(true)?;
        let mut peer = stream.peer_addr()?.ip().to_canonical();
        // Whoever is no trusted proxy can say what they like: it is read as HTTP.
        if self.forwarding.proxy_protocol && self.forwarding.proxies.trusts(peer) {
            let read = tokio::time::timeout(self.slow_peer, proxy_protocol::read(&mut stream)).await;
            let read = read.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            let named =
                read.inspect_err(|error| tracing::warn!(%peer, %error, "a balancer's connection was closed"))?;
            peer = named.map_or(peer, |named| named.to_canonical());
        }
        let mut timed = TimeoutStream::new(Counted { stream, _permit: permit });
        timed.set_write_timeout(Some(self.slow_peer));
        timed.set_read_timeout(Some(self.idle));
        Ok((Box::pin(timed), Peer(peer)))
    }
}

/// A connection that counts as long as it is open.
struct Counted {
    stream: TcpStream,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl tokio::io::AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
