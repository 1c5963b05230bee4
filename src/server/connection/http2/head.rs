//! The head of a request over HTTP/2, brought into the shape that the decision knows.
//!
//! Refuses nothing: what h2 let through and is wrong still is the decision's to refuse.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::Method;
use http::header;
use http::request::Parts;
use hyper::ext::Protocol;

use crate::gateway::SocketOnly;

/// Writes one `Host`, one `Cookie` and the opening of a WebSocket as a request over HTTP/1.1 has them.
pub(super) fn settle(parts: &mut Parts) {
    // A `Host` beside `:authority` stays: the decision holds them against each other.
    if !parts.headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    join_crumbs(parts);
    let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
    if parts.method == Method::CONNECT && protocol == Some("websocket") {
        open_websocket(parts);
    }
}

/// RFC 8441 §5: over HTTP/2 the opening has no key, whose only use is that no answer from a cache is
/// taken for an agreement; the upstream's is held against this one.
fn open_websocket(parts: &mut Parts) {
    let mut key = [0; 16];
    let key = rand::fill(&mut key).ok().and_then(|()| STANDARD.encode(key).parse().ok());
    // Without one it stays a CONNECT, which is refused.
    let Some(key) = key else { return };
    parts.method = Method::GET;
    let headers = &mut parts.headers;
    headers.insert(header::SEC_WEBSOCKET_KEY, key);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    parts.extensions.insert(SocketOnly);
}

/// RFC 9113 §8.2.3: a cookie may come in pieces, and leaves HTTP/2 in one.
fn join_crumbs(parts: &mut Parts) {
    let mut crumbs = parts.headers.get_all(header::COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        parts.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Two values that may stand in a header may stand in one.
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice())) {
        parts.headers.insert(header::COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn settled(request: http::request::Builder) -> Parts {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        settle(&mut parts);
        parts
    }

    fn values(parts: &Parts, name: header::HeaderName) -> Vec<&str> {
        parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn the_authority_becomes_the_host_unless_there_is_one() {
        let parts = settled(Request::builder().uri("http://a.test:81/x"));
        assert_eq!(values(&parts, header::HOST), ["a.test:81"]);
        let parts = settled(Request::builder().uri("http://a.test/x").header("host", "b.test"));
        assert_eq!(values(&parts, header::HOST), ["b.test"], "for the decision to refuse");
        let parts = settled(Request::builder().uri("/x"));
        assert_eq!(values(&parts, header::HOST), [""; 0]);
    }

    #[test]
    fn a_tunnel_for_a_websocket_becomes_its_opening_and_no_other_does() {
        let connect = |protocol: &'static str| {
            let request = Request::builder().method("CONNECT").uri("https://a.test/x");
            settled(
                request.extension(Protocol::from_static(protocol)).header("sec-websocket-key", "x"),
            )
        };
        let (one, other) = (connect("websocket"), connect("websocket"));
        assert_eq!((one.method, one.uri.path()), (Method::GET, "/x"));
        let upgrade = one.headers.get(header::UPGRADE);
        assert_eq!(upgrade, Some(&HeaderValue::from_static("websocket")));
        let key = |headers: &http::HeaderMap| headers.get(header::SEC_WEBSOCKET_KEY).cloned();
        assert_eq!(key(&one.headers).unwrap().len(), 24);
        assert_ne!(key(&one.headers), key(&other.headers));
        for protocol in ["WebSocket", "connect-udp", ""] {
            let parts = connect(protocol);
            assert_eq!(parts.method, Method::CONNECT, "{protocol}");
            assert!(!parts.headers.contains_key(header::UPGRADE));
        }
        let get = Request::builder().extension(Protocol::from_static("websocket"));
        assert!(!settled(get).headers.contains_key(header::UPGRADE));
    }

    #[test]
    fn crumbs_become_one_cookie_in_their_order() {
        let crumbs = Request::builder().header("cookie", "a=1").header("cookie", "b=2; c=3");
        assert_eq!(
            values(&settled(crumbs.header("cookie", "d=4")), header::COOKIE),
            ["a=1; b=2; c=3; d=4"]
        );
        let one = Request::builder().header("cookie", "a=1;b=2");
        assert_eq!(values(&settled(one), header::COOKIE), ["a=1;b=2"]);
        assert_eq!(values(&settled(Request::builder()), header::COOKIE), [""; 0]);
    }
}
