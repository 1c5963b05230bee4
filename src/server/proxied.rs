//! The PROXY protocol, inbound: a proxy that passes bytes on tells first for whom it does.
//!
//! Exactly the header is taken from the stream; what follows it is for whoever reads on. Both versions
//! are read strictly: two readings of who is calling would be worse than none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// For whom a proxy connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// For a client.
    Client(IpAddr),
    /// For itself, as when it looks whether we are well.
    Nobody,
}

/// Why a connection does not begin as it must.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxiedError {
    /// It ended or failed first.
    #[error("the connection ended within its PROXY header")]
    Ended(#[from] io::Error),
    /// What came is no header.
    #[error("the connection does not begin with a PROXY header")]
    Malformed,
}

/// Reads the header.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Told, ProxiedError> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        return read_v2(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(ProxiedError::Malformed);
    }
    let mut line = Vec::with_capacity(LONGEST_LINE);
    line.extend_from_slice(&start);
    // Byte by byte, since what follows the line is not ours; once for each connection.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_LINE {
            return Err(ProxiedError::Malformed);
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n"));
    text.and_then(of_line).ok_or(ProxiedError::Malformed)
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`, or `PROXY UNKNOWN` and anything.
fn of_line(line: &str) -> Option<Told> {
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Told::Nobody);
    }
    let mut words = rest.split(' ');
    let family = words.next()?;
    let mut address = || words.next()?.parse::<IpAddr>().ok();
    let (source, destination) = (address()?, address()?);
    let is_of_family = |address: IpAddr| match family {
        "TCP4" => address.is_ipv4(),
        "TCP6" => address.is_ipv6(),
        _ => false,
    };
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let has_ports = words.next().is_some_and(is_port) && words.next().is_some_and(is_port);
    let is_whole = has_ports && words.next().is_none();
    (is_whole && is_of_family(source) && is_of_family(destination)).then_some(Told::Client(source))
}

async fn read_v2<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Told, ProxiedError> {
    let (command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST_REST {
        return Err(ProxiedError::Malformed);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    let client: Option<IpAddr> = match (command, family) {
        (LOCAL, _) | (PROXY, UNSPECIFIED) => return Ok(Told::Nobody),
        (PROXY, TCP4) if length >= 12 => rest.first_chunk().map(|ip| Ipv4Addr::from(*ip).into()),
        (PROXY, TCP6) if length >= 36 => {
            rest.first_chunk::<16>().map(|ip| Ipv6Addr::from(*ip).into())
        }
        _ => None,
    };
    client.map(Told::Client).ok_or(ProxiedError::Malformed)
}

/// With what version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// Addresses and what a proxy adds to them, in version 2.
const LONGEST_REST: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is told, and what is left to read.
    fn outcome(bytes: &[u8]) -> (Option<Told>, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut stream = bytes;
        let told = runtime.block_on(read(&mut stream)).ok();
        (told, String::from_utf8_lossy(stream).into_owned())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, rest, b"GET /"].concat()
    }

    #[test]
    fn exactly_the_header_is_taken() {
        let told = |ip: &str| (Some(Told::Client(ip.parse().unwrap())), "GET /".to_owned());
        let nobody = || (Some(Told::Nobody), "GET /".to_owned());
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65535", told("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 ::1 0 443", told("2001:db8::1")),
            ("PROXY UNKNOWN", nobody()),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535", nobody()),
        ] {
            assert_eq!(outcome(format!("{line}\r\nGET /").as_bytes()), expected, "{line}");
        }
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
        let six = [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 32]].concat();
        assert_eq!(outcome(&v2(PROXY, TCP4, &four)), told("192.0.2.1"));
        assert_eq!(
            outcome(&v2(PROXY, TCP4, &[&four[..], &[4, 0, 1, 9]].concat())),
            told("192.0.2.1")
        );
        assert_eq!(outcome(&v2(PROXY, TCP6, &six)), told("2001:db8::"));
        assert_eq!(outcome(&v2(LOCAL, 0, &[])), nobody());
        assert_eq!(outcome(&v2(LOCAL, TCP4, &four)), nobody());
        assert_eq!(outcome(&v2(PROXY, UNSPECIFIED, &[0; 2048])), nobody());
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            "GET / HTTP/1.1",
            "PROXY",
            "PROXY ",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 +2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 ",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP4 ::1 ::1 1 2",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.1 ::1 1 2",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2",
            "PROXY TCP4 host 192.0.2.2 1 2",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2",
            "PROXY UNKNOWNX",
        ] {
            assert_eq!(outcome(format!("{line}\r\n\r\nGET /").as_bytes()).0, None, "{line}");
        }
        let unknown = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        assert_eq!(outcome(unknown(107).as_bytes()).0, Some(Told::Nobody));
        assert_eq!(outcome(unknown(108).as_bytes()).0, None);
        for (command, family, rest) in [
            (0x22, TCP4, &[0; 12][..]),
            (0x11, TCP4, &[0; 12]),
            (PROXY, TCP4, &[0; 11]),
            (PROXY, TCP6, &[0; 35]),
            (PROXY, 0x12, &[0; 12]),
            (PROXY, 0x31, &[0; 216]),
            (LOCAL, 0, &[0; 2049]),
        ] {
            assert_eq!(outcome(&v2(command, family, rest)).0, None, "{command:x} {family:x}");
        }
        assert_eq!(outcome(&v2(PROXY, TCP4, &[0; 12])[..20]).0, None, "cut short");
        assert_eq!(outcome(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2").0, None, "cut short");
    }
}
