//! Who is really at the other end, once trusted proxies are peeled off.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use http::header::HeaderName;
use ipnet::IpNet;

use crate::certificate::Certificate;

/// Whose word about clients is believed; nobody's unless named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Whether everybody at a Unix socket is one of them.
    is_local: bool,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An address.
    Address(IpAddr),
    /// A program on this machine, by way of a Unix socket: it has no address.
    Local,
}

impl TrustedProxies {
    /// Trusts exactly these networks.
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self { networks, is_local: false }
    }

    /// Trusts whoever may open our Unix socket as well.
    #[must_use]
    pub fn and_local(self) -> Self {
        Self { is_local: true, ..self }
    }

    /// Whether whoever may open our Unix socket is trusted.
    pub const fn has_local(&self) -> bool {
        self.is_local
    }

    /// Whether `address` lies in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether what comes from there is believed.
    pub fn trusts(&self, origin: Origin) -> bool {
        match origin {
            Origin::Address(address) => self.contains(address),
            Origin::Local => self.is_local,
        }
    }
}

impl Origin {
    /// The address; for want of one, that which is nobody's.
    pub const fn address(self) -> IpAddr {
        match self {
            Self::Address(address) => address,
            Self::Local => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the connection comes from.
    pub socket: Origin,
    /// The address of the client: the socket's, unless a trusted proxy told another one.
    pub client: IpAddr,
    /// Whether the socket is a trusted proxy's.
    pub is_trusted: bool,
    /// What the upstream is told under `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
    /// What the client proved to hold. None behind a trusted proxy: that one's own says nothing about
    /// the client.
    pub certificate: Option<Arc<Certificate>>,
}

impl Peer {
    /// A peer that is its own client.
    pub fn direct(socket: impl Into<Origin>) -> Self {
        let socket = socket.into();
        Self {
            socket,
            client: socket.address(),
            is_trusted: false,
            forwarded_for: text_of(socket),
            is_secure: false,
            certificate: None,
        }
    }

    /// The same at the other end of a TLS session, in which it showed this certificate or none.
    #[must_use]
    pub fn over_tls(self, certificate: Option<Arc<Certificate>>) -> Self {
        Self { is_secure: true, certificate, ..self }
    }

    /// A trusted proxy: the client is whom the last untrusted hop of its `X-Forwarded-For` names.
    ///
    /// Anything that is not an address ends the walk: what stands left of it was not written by a
    /// proxy of ours.
    pub fn behind_proxy(proxy: &Self, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let socket = proxy.socket;
        let mut client = socket.address();
        let mut chain = Vec::new();
        // One without an address leaves no trace of its own.
        if let Origin::Address(address) = socket {
            chain.push(address);
        }
        let fields = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.take(MOST_HOPS) {
            let Some(address) = address_of(hop) else { break };
            client = address;
            chain.push(address);
            if !trusted.contains(address) {
                break;
            }
        }
        let text: Vec<String> = chain.iter().rev().map(ToString::to_string).collect();
        let forwarded_for = HeaderValue::try_from(text.join(", "))
            .ok()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| text_of(socket));
        let is_secure = proxy.is_secure;
        Self { socket, client, is_trusted: true, forwarded_for, is_secure, certificate: None }
    }
}

fn address_of(hop: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(hop).ok()?.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn text_of(origin: Origin) -> HeaderValue {
    let text = match origin {
        Origin::Address(address) => HeaderValue::try_from(address.to_string()).ok(),
        Origin::Local => None,
    };
    text.unwrap_or_else(|| HeaderValue::from_static("unknown"))
}

/// The list of addresses a request came through.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Hops looked at; more than any real chain has.
const MOST_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(fields: &[&str]) -> String {
        client_behind("10.0.0.1".parse::<IpAddr>().unwrap().into(), fields)
    }

    fn client_behind(proxy: Origin, fields: &[&str]) -> String {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]).and_local();
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(field).unwrap());
        }
        let proxy = Peer::direct(proxy);
        let peer = Peer::behind_proxy(&proxy, &headers, &trusted);
        format!("{} [{}]", peer.client, peer.forwarded_for.to_str().unwrap())
    }

    #[test]
    fn the_client_is_the_last_hop_that_no_proxy_of_ours_is() {
        assert_eq!(client(&[]), "10.0.0.1 [10.0.0.1]");
        assert_eq!(client(&["192.0.2.7"]), "192.0.2.7 [192.0.2.7, 10.0.0.1]");
        assert_eq!(client(&["6.6.6.6, 192.0.2.7"]), "192.0.2.7 [192.0.2.7, 10.0.0.1]");
        assert_eq!(
            client(&["6.6.6.6, 192.0.2.7", "10.2.3.4"]),
            "192.0.2.7 [192.0.2.7, 10.2.3.4, 10.0.0.1]"
        );
        assert_eq!(client(&["192.0.2.7, unknown, 10.2.3.4"]), "10.2.3.4 [10.2.3.4, 10.0.0.1]");
        assert_eq!(client(&["::ffff:192.0.2.7"]), "192.0.2.7 [192.0.2.7, 10.0.0.1]");
    }

    #[test]
    fn a_proxy_at_a_unix_socket_is_no_hop() {
        let client = |fields: &[&str]| client_behind(Origin::Local, fields);
        assert_eq!(client(&[]), "0.0.0.0 [unknown]");
        assert_eq!(client(&["nonsense"]), "0.0.0.0 [unknown]");
        assert_eq!(client(&["192.0.2.7"]), "192.0.2.7 [192.0.2.7]");
        assert_eq!(client(&["6.6.6.6, 192.0.2.7, 10.2.3.4"]), "192.0.2.7 [192.0.2.7, 10.2.3.4]");
    }

    #[test]
    fn whoever_is_at_a_unix_socket_has_no_address_and_is_trusted_by_name_only() {
        let everybody = ["0.0.0.0/1", "128.0.0.0/1", "::/1"].map(|text| text.parse().unwrap());
        let trusted = TrustedProxies::new(everybody.to_vec());
        assert!(!trusted.trusts(Origin::Local));
        assert!(trusted.and_local().trusts(Origin::Local));
        let local = TrustedProxies::default().and_local();
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        assert!(!local.trusts(loopback.into()) && !local.trusts(Origin::Local.address().into()));
        let peer = Peer::direct(Origin::Local);
        assert!(peer.client.is_unspecified() && !peer.is_trusted);
        assert_eq!(peer.forwarded_for, "unknown");
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
        let mapped = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(mapped.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!mapped.contains("11.0.0.0".parse().unwrap()));
    }
}
