//! The head of a request over HTTP/2, brought into the shape that the decision knows.
//!
//! Refuses nothing: what h2 let through and is wrong still is the decision's to refuse.

use http::HeaderValue;
use http::header;
use http::request::Parts;

/// Writes one `Host` and one `Cookie`, as a request over HTTP/1.1 has them.
pub(super) fn settle(parts: &mut Parts) {
    // A `Host` beside `:authority` stays: the decision holds them against each other.
    if !parts.headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    join_crumbs(parts);
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
