//! Header fields on their way through: hop-by-hop out, the way here in.
//!
//! Runs after the decision, so that nothing a client nominates under `Connection` can hide a
//! credential from it; identity is written later still, by the pass itself.

use std::net::IpAddr;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::inquiry::Peer;

/// The way a request came, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'w> {
    /// The other end of the connection, and who it speaks for.
    pub(super) peer: &'w Peer,
    /// The address of its client that a verified application told.
    pub(super) client: Option<IpAddr>,
    /// The host that was judged.
    pub(super) host: Option<&'w HeaderValue>,
}

impl Way<'_> {
    /// Who comes first stands left; the application that told of its client is the next hop.
    fn addresses(&self) -> HeaderValue {
        let known = &self.peer.forwarded_for;
        let told = self.client.and_then(|client| {
            HeaderValue::try_from(format!("{client}, {}", known.to_str().ok()?)).ok()
        });
        told.unwrap_or_else(|| known.clone())
    }
}

/// Takes out of a request what concerns one connection only, and what an upstream could mistake for
/// the way here or for another request; hands the way here to `add`.
pub(super) fn forward_request(
    headers: &mut HeaderMap,
    way: &Way<'_>,
    mut add: impl FnMut(HeaderName, HeaderValue),
) {
    let Way { peer, host, .. } = *way;
    let wants_trailers = drop_hop_by_hop(headers);
    if headers.keys().any(|name| is_way(name) || is_rewriting(name)) {
        let written: Vec<HeaderName> =
            headers.keys().filter(|name| is_way(name) || is_rewriting(name)).cloned().collect();
        for name in written {
            // A trusted proxy in front knows the scheme and host that the client used.
            if !(peer.is_trusted && (name == FORWARDED_PROTO || name == FORWARDED_HOST)) {
                headers.remove(name);
            }
        }
    }
    add(FORWARDED_FOR, way.addresses());
    if !(peer.is_trusted && headers.contains_key(FORWARDED_PROTO)) {
        let scheme = if peer.is_secure { "https" } else { "http" };
        add(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if let Some(host) = host
        && !(peer.is_trusted && headers.contains_key(FORWARDED_HOST))
    {
        add(FORWARDED_HOST, host.clone());
    }
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes out of an answer's trailers what may stand in a head only.
pub(super) fn forward_trailers(trailers: &mut HeaderMap) {
    let of_head: Vec<HeaderName> =
        trailers.keys().filter(|name| is_of_head(name)).cloned().collect();
    for name in of_head {
        trailers.remove(name);
    }
}

/// Whether a field may stand in a head only (RFC 9110 §6.5.1): it frames or routes the message, proves
/// who calls, or tells the way here.
pub(super) fn is_of_head(name: &HeaderName) -> bool {
    is_hop_by_hop(name) || HEAD_ONLY.contains(name) || is_way(name) || is_rewriting(name)
}

/// Takes out of an answer what concerns one connection only.
pub(super) fn forward_response(headers: &mut HeaderMap) {
    drop_hop_by_hop(headers);
}

/// Whether a request is a call of gRPC. What browsers send in its place is answered as HTTP.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = content.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// RFC 9110 §7.6.1. Tells whether the sender wants trailers.
fn drop_hop_by_hop(headers: &mut HeaderMap) -> bool {
    // One look at each name that is there costs less than a search for each that might be.
    let present: Vec<HeaderName> =
        headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    let mut wants_trailers = false;
    for name in present {
        if name == header::CONNECTION {
            for nominated in nominated(headers) {
                headers.remove(nominated);
            }
        }
        let value = headers.remove(&name);
        wants_trailers |= name == header::TE && value.is_some_and(|te| has_token(&te, b"trailers"));
    }
    wants_trailers
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    // By length first: most names differ in it from all of these.
    match name.as_str().len() {
        2 => *name == header::TE,
        10 | 6 | 7 | 14 | 16..=19 => *name == header::CONNECTION || HOP_BY_HOP.contains(name),
        _ => false,
    }
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // The two usual options are no names of fields that would not go anyway.
        .filter(|name| !name.eq_ignore_ascii_case(b"close"))
        .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // The target and the framing are not the connection's to drop.
        .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::TRAILER].contains(name))
        .collect()
}

fn has_token(value: &HeaderValue, token: &[u8]) -> bool {
    let tokens = value.as_bytes().split(|byte| matches!(byte, b',' | b';'));
    tokens.map(<[u8]>::trim_ascii).any(|found| found.eq_ignore_ascii_case(token))
}

/// Names that tell the way a request came, in every spelling that upstreams fold together.
fn is_way(name: &HeaderName) -> bool {
    let bytes = name.as_str().as_bytes();
    match bytes.first() {
        Some(b'f') => bytes == b"forwarded",
        Some(b'x') => {
            let letters = || bytes.iter().filter(|byte| byte.is_ascii_alphanumeric());
            let starts = |known: &&str| letters().take(known.len()).eq(known.as_bytes());
            // Most names are told apart by their second letter.
            letters().nth(1).is_some_and(|second| matches!(second, b'f' | b'r' | b'c'))
                && WAYS.iter().any(starts)
        }
        _ => false,
    }
}

fn is_rewriting(name: &HeaderName) -> bool {
    let letters = || name.as_str().bytes().filter(u8::is_ascii_alphanumeric);
    // Most names are told apart by their first or second letter.
    letters().next() == Some(b'x')
        && letters().nth(1).is_some_and(|second| matches!(second, b'o' | b'r' | b'h' | b'm'))
        && REWRITING.iter().any(|known| letters().eq(known.bytes()))
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Beside `Connection` and `TE`. `Expect` is answered by us: the decision comes before the body.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::UPGRADE,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Beside those of one connection and those that tell the way.
const HEAD_ONLY: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::TRAILER,
    header::AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
    header::CACHE_CONTROL,
    header::MAX_FORWARDS,
];

/// How names begin that tell the way here; letters only.
const WAYS: [&str; 3] = ["xforwarded", "xrealip", "xclientip"];

/// Fields with which frameworks let a request pass for one of another path or method than was
/// judged; letters only, since upstreams that make variables of names fold `-` and `_` together.
const REWRITING: [&str; 8] = [
    "xoriginalurl",
    "xoriginaluri",
    "xrewriteurl",
    "xhttpmethodoverride",
    "xhttpmethod",
    "xmethodoverride",
    "xoriginalmethod",
    // Ours names the line of the log.
    "xrequestid",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Ours beside what stays of theirs: none of ours may be there already.
    fn forwarded(headers: &mut HeaderMap, way: &Way<'_>) {
        let mut ours = Vec::new();
        forward_request(headers, way, |name, value| ours.push((name, value)));
        for (name, value) in ours {
            assert_eq!(headers.insert(name, value), None);
        }
    }

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn takes_out_what_concerns_one_connection() {
        let mut headers = map(&[
            ("connection", "close, x-internal, host, Keep-Alive"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("te", "gzip, trailers;q=0.5"),
            ("upgrade", "h2c"),
            ("x-internal", "1"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("proxy-authorization", "Basic eDp5"),
            ("host", "a"),
            ("accept", "*/*"),
        ]);
        let peer = Peer::direct("192.0.2.1".parse::<IpAddr>().unwrap());
        forwarded(&mut headers, &Way { peer: &peer, client: None, host: None });
        let expected = ["accept", "host", "te", "x-forwarded-for", "x-forwarded-proto"];
        assert_eq!(names(&headers), expected);
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn what_an_untrusted_peer_says_of_the_way_is_replaced() {
        let forged = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded.for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-original-url", "/admin"),
            ("x-http-method-override", "DELETE"),
        ];
        let mut headers = map(&forged);
        let peer = Peer::direct("192.0.2.1".parse::<IpAddr>().unwrap());
        let host = HeaderValue::from_static("a");
        let client = "198.51.100.7".parse().ok();
        forwarded(&mut headers, &Way { peer: &peer, client, host: Some(&host) });
        let expected = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
        assert_eq!(names(&headers), expected);
        assert_eq!(headers["x-forwarded-for"], "198.51.100.7, 192.0.2.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "a");
    }

    #[test]
    fn calls_of_grpc_are_known_by_their_content() {
        let is = |content: &str| is_grpc(&map(&[("content-type", content)]));
        for content in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
            assert!(is(content), "{content}");
        }
        for content in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is(content), "{content}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn neighbours_of_these_names_stay() {
        for name in ["x-forward", "x-real", "forwarded-by", "x-client", "xforward", "x-request-id"]
        {
            assert!(!is_way(&HeaderName::from_bytes(name.as_bytes()).unwrap()), "{name}");
        }
    }
}
