//! The PROXY protocol, outbound: before its first request a connection tells for whom it is opened.

use std::net::IpAddr;

use crate::config::ProxyHeader;

/// The header for a client, or for ourselves.
///
/// Which address of ours the client connected to is not known here, and its port is not kept: both are
/// told as unspecified. A client of which no address is known is none.
pub(super) fn header(version: ProxyHeader, client: Option<IpAddr>) -> Vec<u8> {
    match (version, client.filter(|client| !client.is_unspecified())) {
        (ProxyHeader::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyHeader::V1, Some(IpAddr::V4(ip))) => {
            format!("PROXY TCP4 {ip} 0.0.0.0 0 0\r\n").into_bytes()
        }
        (ProxyHeader::V1, Some(IpAddr::V6(ip))) => {
            format!("PROXY TCP6 {ip} :: 0 0\r\n").into_bytes()
        }
        (ProxyHeader::V2, None) => [SIGNATURE, &[LOCAL, UNSPECIFIED, 0, 0]].concat(),
        (ProxyHeader::V2, Some(IpAddr::V4(ip))) => {
            [SIGNATURE, &[PROXY, TCP4, 0, 12], &ip.octets(), &[0; 8]].concat()
        }
        (ProxyHeader::V2, Some(IpAddr::V6(ip))) => {
            [SIGNATURE, &[PROXY, TCP6, 0, 36], &ip.octets(), &[0; 20]].concat()
        }
    }
}

/// With what version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_of_the_client() {
        let told = |version, client: &str| header(version, client.parse().ok());
        let text = |client| String::from_utf8(told(ProxyHeader::V1, client)).unwrap();
        assert_eq!(text("192.0.2.7"), "PROXY TCP4 192.0.2.7 0.0.0.0 0 0\r\n");
        assert_eq!(text("2001:db8::7"), "PROXY TCP6 2001:db8::7 :: 0 0\r\n");
        assert_eq!(text(""), "PROXY UNKNOWN\r\n");
        assert_eq!(text("0.0.0.0"), "PROXY UNKNOWN\r\n");
        let four = told(ProxyHeader::V2, "192.0.2.7");
        assert_eq!(four[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        assert_eq!(four[16..], [192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
        let six = told(ProxyHeader::V2, "2001:db8::7");
        assert_eq!((six.len(), &six[12..18]), (16 + 36, &[0x21, 0x21, 0, 36, 0x20, 1][..]));
        assert_eq!(told(ProxyHeader::V2, ""), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
