//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>): what a balancer that passes
//! connections on says first of whose each is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// The longest header of version 2 that is read, in bytes: addresses, and whatever a balancer adds of TLS.
const LONGEST: usize = 4096;

/// Reads what stands before the connection's own bytes, and not one byte more: the address that the connection is from, or `None`
/// where the balancer asks for itself or does not know.
/// Errors: it is no such header, or the connection fails.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    // No header is shorter.
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_binary(stream).await;
    }
    if !start.starts_with(WORD) {
        return Err(malformed());
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(malformed());
        }
        line.push(stream.read_u8().await?);
    }
    let line = str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n"));
    line.and_then(of_line).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the connection of a balancer does not begin with the PROXY protocol")
}

/// What a line of version 1 says; `None` where it is malformed.
fn of_line(line: &str) -> Option<Option<IpAddr>> {
    let fields: Vec<&str> = line.split(' ').collect();
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
    match fields.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", family, from, to, from_port, to_port] if is_port(from_port) && is_port(to_port) => match *family {
            "TCP4" => to.parse::<Ipv4Addr>().and(from.parse::<Ipv4Addr>()).ok().map(|address| Some(address.into())),
            "TCP6" => to.parse::<Ipv6Addr>().and(from.parse::<Ipv6Addr>()).ok().map(|address| Some(address.into())),
            _ => None,
        },
        _ => None,
    }
}

/// The rest of version 2, after its signature.
async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let (command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST {
        return Err(malformed());
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    match command {
        // LOCAL: the balancer asks for itself.
        0x20 => Ok(None),
        0x21 => of_block(family, &block).ok_or_else(malformed),
        _ => Err(malformed()),
    }
}

/// What the addresses of version 2 say, both of them with their ports before anything else; `None` where they are too short.
fn of_block(family: u8, block: &[u8]) -> Option<Option<IpAddr>> {
    match family {
        // TCP over IPv4.
        0x11 => block.get(..12)?.first_chunk::<4>().map(|address| Some(Ipv4Addr::from(*address).into())),
        // TCP over IPv6.
        0x21 => block.get(..36)?.first_chunk::<16>().map(|address| Some(Ipv6Addr::from(*address).into())),
        // Unix sockets, datagrams, and what is not known: the connection goes on under the balancer's address.
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the header says, and what is left of the connection.
    async fn read_all(bytes: &[u8]) -> Result<(Option<String>, Vec<u8>), io::ErrorKind> {
        let mut stream = bytes;
        let address = read(&mut stream).await.map_err(|error| error.kind())?;
        Ok((address.map(|address| address.to_string()), stream.to_vec()))
    }

    fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block, b"GET"].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_address_and_leave_the_rest() {
        let v4 = [[198, 51, 100, 1], [10, 0, 0, 1], [1, 2, 3, 4]].concat();
        let v6 = [&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets()[..], &[0; 16], &[1, 2, 3, 4]].concat();
        let with_more = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        for (bytes, found) in [
            (b"PROXY TCP4 198.51.100.1 10.0.0.1 4711 443\r\nGET".to_vec(), Some("198.51.100.1")),
            (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\nGET".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\nGET".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET".to_vec(), None),
            (binary(0x21, 0x11, &v4), Some("198.51.100.1")),
            (binary(0x21, 0x11, &with_more), Some("198.51.100.1")),
            (binary(0x21, 0x21, &v6), Some("2001:db8::7")),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &v4), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            assert_eq!(read_all(&bytes).await, Ok((found.map(str::to_owned), b"GET".to_vec())), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_such_header_ends_the_connection() {
        let longest = format!("PROXY TCP4 {}\r\n", "1".repeat(100));
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.1 10.0.0.1 4711\r\nGET".to_vec(),
            b"PROXY TCP4 198.51.100.1 10.0.0.1 04711 443\r\nGET".to_vec(),
            b"PROXY TCP4 2001:db8::7 10.0.0.1 4711 443\r\nGET".to_vec(),
            b"PROXY TCP4 198.51.100.1  10.0.0.1 4711 443\r\nGET".to_vec(),
            b"PROXY TCP5 198.51.100.1 10.0.0.1 4711 443\r\nGET".to_vec(),
            longest.into_bytes(),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x11, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 12]),
            binary(0x21, 0x11, &[0; LONGEST + 1]),
        ] {
            assert_eq!(read_all(&bytes).await, Err(io::ErrorKind::InvalidData), "{bytes:?}");
        }
        assert_eq!(read_all(b"PROXY TCP4 1").await, Err(io::ErrorKind::UnexpectedEof));
    }
}
