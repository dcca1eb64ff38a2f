//! From where a request comes: the address at the other end of the connection, or what a trusted proxy says of it. Nobody else is
//! believed, and a proxy is believed the address alone: never the host, nor the scheme.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{Extensions, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::oauth_error;
use signet_core::forwarded::Proxies;

/// The address at the other end of a connection, or that which the PROXY protocol names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The address that a request comes from, as [`attach`] judged it.
#[derive(Debug, Clone, Copy)]
struct Address(IpAddr);

/// The address that a request comes from; none on a Unix socket.
pub(super) fn of(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Address>().map(|address| address.0)
}

/// Puts the address that a request comes from beside it. What can't be read, or says two things, is refused: a proxy that is set up
/// right writes neither, whatever it is sent.
pub(super) async fn attach(State(proxies): State<Proxies>, mut request: Request, next: Next) -> Response {
    if let Some(Peer(peer)) = request.extensions().get().copied() {
        match proxies.address_of(peer, request.headers()) {
            Ok(address) => request.extensions_mut().insert(Address(address)),
            Err(text) => {
                tracing::info!(%peer, "{text}");
                let mut response = oauth_error::plain(StatusCode::BAD_REQUEST, "invalid_request", text);
                response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
                return response;
            }
        };
    }
    next.run(request).await
}
