//! From where a request comes that a proxy passes on: what a trusted proxy says of it. Nobody else is believed, and a proxy is
//! believed the address alone: never the host, nor the scheme.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};

use crate::networks::{Network, among};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Which proxies are believed, and by which header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The networks that they are in; none where nobody is believed.
    pub trusted: Arc<[Network]>,
    /// The header that they write; either where none is named.
    pub header: Option<AddressHeader>,
}

/// A header in which proxies say for whom they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressHeader {
    /// RFC 7239.
    Forwarded,
    /// `X-Forwarded-For`, as most proxies write it.
    XForwardedFor,
}

const MALFORMED: &str = "the Forwarded header is malformed (RFC 7239)";
const TWO_ADDRESSES: &str = "Forwarded and X-Forwarded-For name different addresses; `server.address_header` says which of them the proxy writes";

impl Proxies {
    /// Whether an address is a proxy's that is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        among(self.trusted.iter(), address)
    }

    /// The address of a request: the one nearest to this server that no trusted proxy has. Where a proxy does not know it, it is the
    /// proxy's own.
    /// Errors: the headers can't be read, or contradict each other.
    pub fn address_of(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, &'static str> {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return Ok(peer);
        }
        let reads = |header| self.header.is_none_or(|named| named == header);
        let forwarded = match reads(AddressHeader::Forwarded) && headers.contains_key(header::FORWARDED) {
            true => Some(self.nearest(peer, &forwarded(headers).ok_or(MALFORMED)?)),
            false => None,
        };
        let x_forwarded_for = (reads(AddressHeader::XForwardedFor) && headers.contains_key(X_FORWARDED_FOR))
            .then(|| self.nearest(peer, &x_forwarded_for(headers)));
        match (forwarded, x_forwarded_for) {
            // One of them was sent by somebody who is not believed.
            (Some(one), Some(other)) if one != other => Err(TWO_ADDRESSES),
            (one, other) => Ok(one.or(other).unwrap_or(peer)),
        }
    }

    /// Goes from proxy to proxy, the last one first, for as long as they are trusted.
    fn nearest(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut nearest = peer;
        for hop in hops.iter().rev() {
            let Some(hop) = hop else { return nearest };
            nearest = *hop;
            if !self.trusts(nearest) {
                break;
            }
        }
        nearest
    }
}

/// The hops of `X-Forwarded-For`, of all its lines in order; none for one that is no address.
fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|hop| node(str::from_utf8(hop).ok()?.trim()))
        .collect()
}

/// The hops of `Forwarded`, of all its lines in order; none for one that names no address. `None` where a line is malformed.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let mut hops = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        let mut rest = line.to_str().ok()?;
        loop {
            let (hop, after) = element(rest)?;
            hops.push(hop);
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
    }
    Some(hops)
}

/// One element of `Forwarded` (RFC 7239 §4): the address that `for` names, and what stands after the comma.
fn element(text: &str) -> Option<(Option<IpAddr>, Option<&str>)> {
    let (mut hop, mut named, mut rest) = (None, false, text);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        // A list may have empty elements (RFC 9110 §5.6.1.2), and an element empty pairs.
        if !rest.starts_with([',', ';']) && !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let (value, after) = value(after)?;
            if name.eq_ignore_ascii_case("for") {
                if named {
                    return None;
                }
                (hop, named) = (node(&value), true);
            }
            rest = after.trim_start_matches([' ', '\t']);
        }
        match rest.chars().next() {
            None => return Some((hop, None)),
            Some(',') => return Some((hop, Some(&rest[1..]))),
            Some(';') => rest = &rest[1..],
            Some(_) => return None,
        }
    }
}

/// A token or a quoted string (RFC 9110 §5.6.2, §5.6.4), and what stands after it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Proxies write addresses without the quotation marks that IPv6 ones and ports need.
        let end = text.find(|letter: char| !letter.is_ascii() || !is_bare(letter as u8)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let (mut value, mut letters) = (String::new(), quoted.char_indices());
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[place + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_bare(byte: u8) -> bool {
    is_token(byte) || b":[]".contains(&byte)
}

/// The address of a node (RFC 7239 §6), with or without a port: none for `unknown`, for a name that a proxy made up, and for what is
/// no address at all.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let is_port = |port: &str| {
        let digits = port.strip_prefix('_').unwrap_or(port);
        !digits.is_empty() && port.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let (address, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, after) = bracketed.split_once(']')?;
            (IpAddr::V6(address.parse().ok()?), after.strip_prefix(':').or_else(|| after.is_empty().then_some("0"))?)
        }
        None => {
            let (address, port) = text.split_once(':')?;
            (IpAddr::V4(address.parse().ok()?), port)
        }
    };
    is_port(port).then(|| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(header: Option<AddressHeader>) -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|text| text.parse().unwrap());
        Proxies { trusted: trusted.into(), header }
    }

    fn asked(proxies: &Proxies, peer: &str, lines: &[(&str, &str)]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        proxies.address_of(peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    fn address(peer: &str, lines: &[(&str, &str)]) -> Result<String, &'static str> {
        asked(&proxies(None), peer, lines)
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        for header in [("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=\"")]
        {
            assert_eq!(address("203.0.113.9", &[header]).unwrap(), "203.0.113.9", "{header:?}");
            let nobody = asked(&Proxies::default(), "10.0.0.1", &[header]);
            assert_eq!(nobody.unwrap(), "10.0.0.1", "{header:?}");
        }
        assert_eq!(address("10.0.0.1", &[]).unwrap(), "10.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.1")]).unwrap(), "198.51.100.1");
    }

    #[test]
    fn the_nearest_address_that_is_no_trusted_proxys_counts() {
        for (lines, found) in [
            (&[("x-forwarded-for", "198.51.100.1")][..], "198.51.100.1"),
            (&[("x-forwarded-for", "1.1.1.1, 198.51.100.1")], "198.51.100.1"),
            (&[("x-forwarded-for", "1.1.1.1, 198.51.100.1, 10.9.9.9")], "198.51.100.1"),
            (&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.1,10.9.9.9")], "198.51.100.1"),
            (&[("x-forwarded-for", "198.51.100.1:4711")], "198.51.100.1"),
            (&[("x-forwarded-for", "[2001:db8::7]:4711")], "2001:db8::7"),
            (&[("x-forwarded-for", "2001:db8::7")], "2001:db8::7"),
            (&[("x-forwarded-for", "::ffff:198.51.100.1")], "198.51.100.1"),
            (&[("x-forwarded-for", "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
            // What the nearest proxy does not know nobody else can say.
            (&[("x-forwarded-for", "1.1.1.1, unknown")], "10.0.0.1"),
            (&[("x-forwarded-for", "1.1.1.1, , 10.3.3.3")], "10.3.3.3"),
            (&[("x-forwarded-for", "1.1.1.1, 10.3.3.3.")], "10.0.0.1"),
            (&[("forwarded", "for=198.51.100.1")], "198.51.100.1"),
            (&[("forwarded", "For=\"198.51.100.1:4711\";proto=https;by=203.0.113.43")], "198.51.100.1"),
            (&[("forwarded", "for=1.1.1.1, for=\"[2001:db8::7]:80\" ; host=\"a,b;c\"")], "2001:db8::7"),
            (&[("forwarded", "for=198.51.100.1:80")], "198.51.100.1"),
            (&[("forwarded", "for=1.1.1.1"), ("forwarded", "for=198.51.100.1,for=10.4.4.4")], "198.51.100.1"),
            (&[("forwarded", "for=1.1.1.1, for=_hidden")], "10.0.0.1"),
            (&[("forwarded", "for=1.1.1.1, proto=https")], "10.0.0.1"),
            (&[("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "1.1.1.1, 198.51.100.1")], "198.51.100.1"),
        ] {
            assert_eq!(address("10.0.0.1", lines).as_deref(), Ok(found), "{lines:?}");
        }
    }

    #[test]
    fn what_is_malformed_or_says_two_things_is_refused() {
        for line in [
            // A quotation mark that a client left open would swallow what the proxy adds.
            "for=\"x, for=198.51.100.1",
            "for=1.1.1.1;by=\", for=\"[2001:db8::7]\"",
            "for=1.1.1.1 for=198.51.100.1",
            "for=1.1.1.1;for=198.51.100.1",
            "198.51.100.1",
            "for=",
            "=1.1.1.1",
            "f r=1.1.1.1",
        ] {
            assert_eq!(address("10.0.0.1", &[("forwarded", line)]), Err(MALFORMED), "{line}");
        }
        let two = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "198.51.100.1")];
        assert_eq!(address("10.0.0.1", &two), Err(TWO_ADDRESSES));
        let by = |header| asked(&proxies(Some(header)), "10.0.0.1", &two);
        assert_eq!(by(AddressHeader::XForwardedFor).as_deref(), Ok("198.51.100.1"));
        assert_eq!(by(AddressHeader::Forwarded).as_deref(), Ok("1.1.1.1"));
        let broken = [("forwarded", "for=\""), ("x-forwarded-for", "198.51.100.1")];
        let found = asked(&proxies(Some(AddressHeader::XForwardedFor)), "10.0.0.1", &broken);
        assert_eq!(found.as_deref(), Ok("198.51.100.1"));
    }
}
