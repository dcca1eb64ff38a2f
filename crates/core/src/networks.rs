//! Networks, as lists of addresses name them: which addresses a proxy may speak for, and from where somebody may ask.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3), or one address. IPv4 addresses that are written as IPv6 ones count as
/// what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

/// A text that names no network, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// It is neither an address nor one with the length of a prefix.
    #[error("`{0}` is no network: write e.g. 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7")]
    Unreadable(String),
    /// Its address has bits beyond the prefix, so that one of both is a slip.
    #[error("`{given}` has bits beyond its prefix: did you mean {network}, or the address alone?")]
    BitsBeyond {
        /// What was written.
        given: String,
        /// The network that the prefix names.
        network: Network,
    },
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| BadNetwork::Unreadable(text.to_owned()))?;
        if network.trunc() != network {
            return Err(BadNetwork::BitsBeyond { given: text.to_owned(), network: Self(network.trunc()) });
        }
        // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
        let mapped = match network {
            IpNet::V6(mapped) if mapped.prefix_len() >= 96 => {
                mapped.addr().to_ipv4_mapped().map(|address| (address, mapped.prefix_len() - 96))
            }
            _ => None,
        };
        let mapped = mapped.and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok());
        Ok(Self(mapped.unwrap_or(network)))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One address is written as such.
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(formatter)
        } else {
            self.0.fmt(formatter)
        }
    }
}

impl Network {
    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether every address of a family lies in it.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

/// Whether an address lies in one of the networks.
pub fn among<'n>(networks: impl IntoIterator<Item = &'n Network>, address: IpAddr) -> bool {
    networks.into_iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_network_holds_its_addresses_however_they_are_written() {
        for (text, address, is_in) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("0.0.0.0/0", "::1", false),
        ] {
            assert_eq!(network(text).contains(address.parse().unwrap()), is_in, "{text} {address}");
        }
        assert!(network("::/0").is_everything() && network("0.0.0.0/0").is_everything());
    }

    #[test]
    fn a_network_is_told_as_it_may_be_written() {
        for text in ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"] {
            assert_eq!(network(text).to_string(), text);
        }
    }

    #[test]
    fn slips_are_refused_and_told() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "10.0.0.1/", "10.0.0.0/8 ", "10.0.0.0-10.0.0.9"] {
            assert!(matches!(text.parse::<Network>(), Err(BadNetwork::Unreadable(_))), "{text}");
        }
        let slip = "10.0.0.5/8".parse::<Network>().unwrap_err().to_string();
        assert!(slip.contains("did you mean 10.0.0.0/8"), "{slip}");
    }
}
