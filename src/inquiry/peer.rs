//! Who is really at the other end, once trusted proxies are peeled off.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use http::header::HeaderName;
use ipnet::IpNet;

use crate::certificate::Certificate;

/// The networks whose `X-Forwarded-*` is believed; empty means nobody.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts exactly these networks.
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `address` lies in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of the socket.
    pub socket: IpAddr,
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
    pub fn direct(socket: IpAddr) -> Self {
        let socket = socket.to_canonical();
        Self {
            socket,
            client: socket,
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
        let mut client = socket;
        let mut chain = vec![socket];
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
        let forwarded_for =
            HeaderValue::try_from(text.join(", ")).unwrap_or_else(|_| text_of(socket));
        let is_secure = proxy.is_secure;
        Self { socket, client, is_trusted: true, forwarded_for, is_secure, certificate: None }
    }
}

fn address_of(hop: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(hop).ok()?.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn text_of(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The list of addresses a request came through.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Hops looked at; more than any real chain has.
const MOST_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(fields: &[&str]) -> String {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(field).unwrap());
        }
        let proxy = Peer::direct("10.0.0.1".parse().unwrap());
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
    fn nobody_is_trusted_by_default() {
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
        let mapped = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(mapped.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!mapped.contains("11.0.0.0".parse().unwrap()));
    }
}
