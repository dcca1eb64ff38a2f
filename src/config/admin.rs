//! `[admin]`: how operators reach a server that runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::section::{Map, Section};
use super::server::{TLS_KEYS, TlsConfig, networks, proxy_protocol};
use super::{ConfigError, StoreConfig};
use signet_core::admin::{AdminScope, AdminScopes};
use signet_core::forwarded::Proxies;
use signet_core::networks::Network;

pub(super) const KEYS: &[&str] =
    &["socket", "group", "operators", "four_eyes", "listen", "allow_from", "proxy_protocol", "tls"];

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// `socket`: the Unix socket on which the server takes commands.
    pub socket: PathBuf,
    /// `group`: whose members may use it beside the server's own account and root.
    pub group: Option<String>,
    /// `[admin.operators]`: which scopes of the deployment an account has, by its name or number; all of them where it is not named.
    pub operators: BTreeMap<String, AdminScopes>,
    /// `four_eyes`: a factor that an operator adds for somebody, and settings, hold once another person has approved them.
    pub four_eyes: bool,
    /// `listen` and `[admin.tls]`: where operators of other machines ask, by tokens; nowhere where absent.
    pub listen: Option<AdminListen>,
}

/// A listener of the admin API's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminListen {
    /// `listen`: the address.
    pub address: SocketAddr,
    /// `allow_from`: the networks that requests may come from; any where there are none.
    pub allow_from: Vec<Network>,
    /// `proxy_protocol`: connections of `server.trusted_proxies` begin with the PROXY protocol.
    pub proxy_protocol: bool,
    /// `[admin.tls]`.
    pub tls: TlsConfig,
}

impl AdminConfig {
    pub(super) fn read(mut section: Section<'_>, store: &StoreConfig, proxies: &Proxies) -> Result<Self, ConfigError> {
        let socket = section.path("socket", "the path of a Unix socket")?;
        let socket = socket.unwrap_or_else(|| store.folder().join("admin.sock"));
        // `sun_path` with its NUL (unix(7)).
        if socket.as_os_str().len() > 107 {
            let problem = format!("{} is longer than the 107 bytes that a socket's path can have", socket.display());
            return Err(section.unusable("socket", problem));
        }
        let operators = section.map("operators")?;
        Ok(Self {
            four_eyes: section.flag("four_eyes")?.unwrap_or(false),
            listen: listen(&mut section, proxies)?,
            socket,
            group: section.text("group", "the name of a system group")?,
            operators: operators.map(operators_of).transpose()?.unwrap_or_default(),
        })
    }
}

fn listen(section: &mut Section<'_>, proxies: &Proxies) -> Result<Option<AdminListen>, ConfigError> {
    let expected = "an address with a port, e.g. \"0.0.0.0:9443\" or \"[::]:9443\",";
    let address: Option<SocketAddr> = section.parsed("listen", expected, |text| text.parse().ok())?;
    let proxy_protocol = proxy_protocol(section, proxies)?;
    let allow_from = networks(section, "allow_from")?;
    match (address, section.has("tls")) {
        (None, false) if section.has("proxy_protocol") || section.has("allow_from") => {
            let key = if section.has("allow_from") { "allow_from" } else { "proxy_protocol" };
            Err(section.unusable(key, "it is about the connections to `admin.listen`, which is absent"))
        }
        (None, false) => Ok(None),
        (Some(address), true) => {
            let tls = TlsConfig::read(&section.section("tls", TLS_KEYS)?)?;
            Ok(Some(AdminListen { address, allow_from, proxy_protocol, tls }))
        }
        (Some(_), false) => {
            Err(section.unusable("listen", "it needs `[admin.tls]`: tokens and secrets cross the network"))
        }
        (None, true) => Err(section.unusable("tls", "it is the certificate of `admin.listen`, which is absent")),
    }
}

fn operators_of(map: Map) -> Result<BTreeMap<String, AdminScopes>, ConfigError> {
    let lists = map.lists("a list of scopes, e.g. [\"admin:users\"],")?;
    let read =
        |(account, scopes): (String, Vec<String>)| match scopes.iter().find(|scope| AdminScope::named(scope).is_none())
        {
            None => Ok((account, AdminScopes::among(&scopes))),
            Some(unknown) => Err(ConfigError::Unusable {
                key: format!("`admin.operators.{account}`"),
                problem: format!("there is no scope `{unknown}` of the deployment; those that are begin with admin:"),
            }),
        };
    lists.into_iter().map(read).collect()
}
