//! The names under which the service may be asked. The issuer comes from the configuration, never from a `Host` or
//! `X-Forwarded-*` header; a request for another name is answered 421 (RFC 9110 §15.5.20).

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::{StatusCode, header, uri::Authority};
use axum::response::Response;
use url::{Host, Url};

use super::oauth_error;

/// The public name, and the address that is listened on.
#[derive(Debug)]
pub struct AcceptedHosts {
    public_host: String,
    public_port: u16,
    is_default_port: bool,
    listen: SocketAddr,
}

impl AcceptedHosts {
    /// The host of `public_url` and the address that the server listens on.
    pub fn new(public_url: &Url, listen: SocketAddr) -> Self {
        Self {
            public_host: public_url.host_str().unwrap_or_default().to_ascii_lowercase(),
            public_port: public_url.port_or_known_default().unwrap_or(0),
            is_default_port: public_url.port().is_none(),
            listen,
        }
    }

    /// Whether a request may name this authority (`host` or `host:port`).
    fn accepts(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        let host = authority.host().to_ascii_lowercase();
        // `Authority` gives no port also where it is malformed, and takes user information: then more stands there.
        let length = host.len() + authority.port().map_or(0, |port| 1 + port.as_str().len());
        if authority.as_str().len() != length {
            return false;
        }
        let (is_public_port, is_listen_port) = match authority.port_u16() {
            Some(port) => (port == self.public_port, port == self.listen.port()),
            None => (self.is_default_port, matches!(self.listen.port(), 80 | 443)),
        };
        (is_public_port && host == self.public_host) || (is_listen_port && self.is_here(&host))
    }

    /// Whether the host is the address listened on, or a loopback name where that is a loopback address.
    fn is_here(&self, host: &str) -> bool {
        let loopback = self.listen.ip().is_loopback();
        match Host::parse(host) {
            Ok(Host::Ipv4(address)) => self.listen.ip() == address || (loopback && address.is_loopback()),
            Ok(Host::Ipv6(address)) => self.listen.ip() == address || (loopback && address.is_loopback()),
            Ok(Host::Domain(name)) => loopback && name == "localhost",
            Err(_) => false,
        }
    }
}

/// The addresses that probes ask, which know no name.
const NAMELESS: [&str; 4] = ["/healthz", "/readyz", "/readyz/issuance", "/readyz/verification"];

/// Refuses a request that names another host, more than one, or none.
pub(super) fn refuse(accepted: &AcceptedHosts, request: &Request) -> Option<Response> {
    if NAMELESS.contains(&request.uri().path()) {
        return None;
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let authority = request.uri().authority().map(Authority::as_str);
    // A target that names a host names the one that is asked (RFC 9112 §3.2.2), and both must be right: who stands in between may
    // have gone by the other one.
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().map(|host| (host, authority.unwrap_or(host))),
        (None, None) => authority.map(|authority| (authority, authority)),
        _ => None,
    };
    let (status, text) = match named {
        Some((host, target)) if accepted.accepts(host) && accepted.accepts(target) => return None,
        Some(_) => (StatusCode::MISDIRECTED_REQUEST, "this service is not known under that host name"),
        None => (StatusCode::BAD_REQUEST, "exactly one Host header is needed"),
    };
    Some(oauth_error::plain(status, "invalid_request", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(public_url: &str, listen: &str) -> AcceptedHosts {
        AcceptedHosts::new(&public_url.parse().unwrap(), listen.parse().unwrap())
    }

    #[test]
    fn the_public_name_and_the_own_address_are_accepted() {
        let hosts = hosts("https://id.bank.example", "10.0.0.5:8443");
        for host in ["id.bank.example", "ID.bank.example:443", "10.0.0.5:8443"] {
            assert!(hosts.accepts(host), "{host}");
        }
        for host in [
            "evil.example",
            "id.bank.example:8443",
            "localhost:8443",
            "user@id.bank.example",
            "",
            "a b",
            "id.bank.example:",
            "127.0.0.1:8443",
        ] {
            assert!(!hosts.accepts(host), "{host}");
        }
    }

    #[test]
    fn loopback_names_are_one_another() {
        let hosts = hosts("http://127.0.0.1:8080", "127.0.0.1:8080");
        assert!(hosts.accepts("localhost:8080") && hosts.accepts("[::1]:8080") && hosts.accepts("127.0.0.1:8080"));
        assert!(!hosts.accepts("localhost") && !hosts.accepts("localhost.evil.example:8080"));
    }
}
