//! `[server]`: under which name Signet is known, and where it listens.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::ConfigError;
use super::section::Section;
use signet_core::forwarded::{AddressHeader, Proxies};
use signet_core::networks::{BadNetwork, Network};

pub(super) const KEYS: &[&str] =
    &["public_url", "listen", "behind_proxy", "trusted_proxies", "address_header", "proxy_protocol", "tls", "limits"];
pub(super) const TLS_KEYS: &[&str] = &["certificate", "key"];
pub(super) const LIMITS_KEYS: &[&str] = &[
    "max_body_bytes",
    "max_header_bytes",
    "max_connections",
    "header_timeout",
    "idle_timeout",
    "request_timeout",
    "password_concurrency",
];

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// `public_url`: the issuer of the default tenant.
    pub public_url: PublicUrl,
    /// `listen`: the address and port to listen on.
    pub listen: SocketAddr,
    /// `behind_proxy`: a proxy ends TLS, so that plain HTTP is served also off loopback.
    pub behind_proxy: bool,
    /// `trusted_proxies`, `address_header`: whose word is taken for whom they ask, and by which header.
    pub proxies: Proxies,
    /// `proxy_protocol`: connections of those proxies begin with the PROXY protocol.
    pub proxy_protocol: bool,
    /// `[server.tls]`: absent where a proxy ends TLS, or on loopback.
    pub tls: Option<TlsConfig>,
    /// `[server.limits]`.
    pub limits: Limits,
}

/// `[server.tls]`: both files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// `certificate`: the certificate, then its chain.
    pub certificate: PathBuf,
    /// `key`: its private key, in a file that others can't read. The one private key outside an HSM.
    pub key: PathBuf,
}

/// `[server.limits]`: what a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `max_body_bytes`: a longer request body is answered with 413.
    pub max_body_bytes: usize,
    /// `max_header_bytes`: longer request headers are answered with 431.
    pub max_header_bytes: usize,
    /// `max_connections`: one more connection is closed at once.
    pub max_connections: usize,
    /// `header_timeout`: how long a client may take to send a request's headers.
    pub header_timeout: Duration,
    /// `idle_timeout`: how long a client may keep a connection on which it neither reads nor writes.
    pub idle_timeout: Duration,
    /// `request_timeout`: how long a request may take from its headers to its answer.
    pub request_timeout: Duration,
    /// `password_concurrency`: password hashes computed at once, 19 MiB of memory and a core each.
    pub password_concurrency: usize,
}

/// An absolute URL without query, fragment, user name or trailing slash: https, or http on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: Url,
    text: String,
}

impl PublicUrl {
    const EXPECTED: &str = "an https URL without query, fragment and user name, e.g. \"https://id.example.org\"; \
                            http is accepted on loopback only (127.0.0.1, [::1], localhost)";

    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let plain =
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        let safe = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
        let text = url.as_str().trim_end_matches('/').to_owned();
        (plain && safe).then_some(Self { url, text })
    }

    /// The text, without a trailing slash: the `iss` of tokens.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether clients come by TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Whether a URL's host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

impl ServerConfig {
    pub(super) fn read(mut section: Section<'_>) -> Result<Self, ConfigError> {
        let public_url = section.required_text("public_url", PublicUrl::EXPECTED, PublicUrl::parse)?;
        let expected = "an address with a port, e.g. \"127.0.0.1:8080\" or \"[::]:8443\",";
        let listen = section.parsed("listen", expected, |text| text.parse().ok())?;
        let listen = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        if !public_url.is_https() && !listen.ip().is_loopback() {
            let problem = "public_url is plain http, which is accepted on loopback only: passwords would cross the network \
                           in clear. Listen on 127.0.0.1, or serve https";
            return Err(section.unusable("listen", problem));
        }
        let tls = if section.has("tls") { Some(TlsConfig::read(&section.section("tls", TLS_KEYS)?)?) } else { None };
        if tls.is_some() && !public_url.is_https() {
            return Err(section.unusable("public_url", "it begins with http, but [server.tls] is set: write https"));
        }
        let behind_proxy = section.flag("behind_proxy")?.unwrap_or(false);
        if tls.is_none() && !listen.ip().is_loopback() && !behind_proxy {
            let problem = "plain HTTP is served on loopback only: passwords would cross the network in clear. Name a certificate in \
                           [server.tls], listen on 127.0.0.1, or say `server.behind_proxy = true` where a proxy ends TLS and nobody \
                           else reaches this address";
            return Err(section.unusable("listen", problem));
        }
        let proxies = proxies(&section)?;
        let proxy_protocol = proxy_protocol(&section, &proxies)?;
        let limits = Limits::read(&section.section("limits", LIMITS_KEYS)?)?;
        Ok(Self { public_url, listen, behind_proxy, proxies, proxy_protocol, tls, limits })
    }
}

fn proxies(section: &Section<'_>) -> Result<Proxies, ConfigError> {
    let trusted = networks(section, "trusted_proxies")?;
    if let Some(everybody) = trusted.iter().find(|network| network.is_everything()) {
        let problem = format!("{everybody} is everybody: then whoever asks chooses the address that the audit log has");
        return Err(section.unusable("trusted_proxies", problem));
    }
    let words = [
        ("either", None),
        ("forwarded", Some(AddressHeader::Forwarded)),
        ("x-forwarded-for", Some(AddressHeader::XForwardedFor)),
    ];
    Ok(Proxies { trusted: trusted.into(), header: section.word("address_header", &words, None)? })
}

/// A list of networks; empty where it is absent.
pub(super) fn networks(section: &Section<'_>, key: &str) -> Result<Vec<Network>, ConfigError> {
    let expected = "a list of networks, e.g. [\"10.0.0.0/8\", \"2001:db8::5\"],";
    let named = section.list(key, expected)?.unwrap_or_default();
    let read = |text: &String| {
        text.parse().map_err(|error: BadNetwork| match error {
            // What is no network at all may be a secret in the wrong place.
            BadNetwork::Unreadable(_) => section.unusable(key, format!("{expected} is expected")),
            BadNetwork::BitsBeyond { .. } => section.unusable(key, error.to_string()),
        })
    };
    named.iter().map(read).collect()
}

/// Whether connections of the trusted proxies to a listener begin with the PROXY protocol.
pub(super) fn proxy_protocol(section: &Section<'_>, proxies: &Proxies) -> Result<bool, ConfigError> {
    let is_spoken = section.flag("proxy_protocol")?.unwrap_or(false);
    if is_spoken && proxies.trusted.is_empty() {
        return Err(section.unusable("proxy_protocol", "`server.trusted_proxies` has to name who speaks it"));
    }
    Ok(is_spoken)
}

impl TlsConfig {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let file = |key| {
            let expected = "the path of a PEM file";
            section.required(key, section.path(key, expected)?, expected)
        };
        Ok(Self { certificate: file("certificate")?, key: file("key")? })
    }
}

impl Limits {
    fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let seconds = |key, default| {
            let bounds = Duration::from_secs(1)..=Duration::from_secs(120);
            section.duration(key, bounds, Duration::from_secs(default))
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self {
            max_body_bytes: bytes(section, "max_body_bytes", 64 * 1024)?,
            max_header_bytes: bytes(section, "max_header_bytes", 16 * 1024)?,
            max_connections: section.integer("max_connections", 1..=1_000_000, 10_240_u32)? as usize,
            header_timeout: seconds("header_timeout", 10)?,
            idle_timeout: seconds("idle_timeout", 10)?,
            request_timeout: seconds("request_timeout", 15)?,
            password_concurrency: section.integer("password_concurrency", 1..=256, cores)?,
        })
    }
}

fn bytes(section: &Section<'_>, key: &str, default: u32) -> Result<usize, ConfigError> {
    Ok(section.integer(key, 8 * 1024..=1024 * 1024, default)? as usize)
}
