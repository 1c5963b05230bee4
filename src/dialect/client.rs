//! What a verified application tells about its own client, in headers that its dialect names.

use std::net::IpAddr;

use http::HeaderMap;
use http::HeaderName;

/// Headers in which a verified application tells about its own client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHeaders {
    /// The header with the client's address.
    pub address: HeaderName,
    /// The header with the client's user agent.
    pub agent: HeaderName,
    /// Whether a request without them is refused.
    pub is_required: bool,
}

impl ClientHeaders {
    /// The address and the program that are told; none when they cannot be read in one way.
    pub fn read<'h>(&self, headers: &'h HeaderMap) -> Option<(IpAddr, &'h str)> {
        let address = single(headers, &self.address)?.trim().parse::<IpAddr>().ok()?;
        let agent = match single(headers, &self.agent) {
            Some(agent) if !agent.is_empty() => agent,
            _ if self.is_required => return None,
            _ => "",
        };
        Some((address.to_canonical(), agent))
    }
}

/// The value of a field that stands there once, as text.
pub fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(is_required: bool, lines: &[(&'static str, &'static str)]) -> Option<(String, String)> {
        let (address, agent) =
            (HeaderName::from_static("x-ip"), HeaderName::from_static("x-agent"));
        let told = ClientHeaders { address, agent, is_required };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        told.read(&headers).map(|(address, agent)| (address.to_string(), agent.to_owned()))
    }

    #[test]
    fn one_address_and_one_program_are_read() {
        let told = |address: &str, agent: &str| Some((address.to_owned(), agent.to_owned()));
        let both = [("x-ip", " ::ffff:192.0.2.7 "), ("x-agent", "a \"b")];
        assert_eq!(read(true, &both), told("192.0.2.7", "a \"b"));
        assert_eq!(read(false, &[("x-ip", "2001:db8::7")]), told("2001:db8::7", ""));
        for lacking in [
            &[("x-ip", "192.0.2.7")][..],
            &[("x-ip", "192.0.2.7"), ("x-agent", "")],
            &[("x-ip", "192.0.2.7"), ("x-agent", "a"), ("x-agent", "b")],
            &[("x-agent", "a")],
        ] {
            assert_eq!(read(true, lacking), None, "{lacking:?}");
        }
        for address in ["", "here", "192.0.2.7:80", "192.0.2.7, 192.0.2.8", "192.0.2.256"] {
            assert_eq!(read(false, &[("x-ip", address)]), None, "{address}");
        }
        assert_eq!(read(false, &[("x-ip", "192.0.2.7"), ("x-ip", "192.0.2.7")]), None);
    }
}
