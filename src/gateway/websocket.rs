//! Whether a request opens a WebSocket (RFC 6455 §4.2.1): only such a one may become a tunnel.

use http::HeaderMap;
use http::HeaderName;
use http::Method;
use http::Version;
use http::header;
use http::request::Parts;

/// Stands beside a request that asks for a tunnel and for nothing else (RFC 8441): any other answer that
/// is a success would be taken for one.
#[derive(Clone, Copy, Debug)]
pub struct SocketOnly;

impl SocketOnly {
    /// Whether it stands beside this one.
    pub fn is_beside(parts: &Parts) -> bool {
        parts.version == Version::HTTP_2 && parts.extensions.get::<Self>().is_some()
    }
}

/// Anything short of a whole opening is a request like any other, and loses its `Upgrade`.
pub(super) fn is_opening(parts: &Parts) -> bool {
    let headers = &parts.headers;
    parts.method == Method::GET
        && (parts.version == Version::HTTP_11 || SocketOnly::is_beside(parts))
        && has_token(headers, &header::UPGRADE, b"websocket")
        && has_token(headers, &header::CONNECTION, b"upgrade")
        && only(headers, &header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == b"13")
        && only(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(is_key)
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && only(headers, &header::CONTENT_LENGTH).is_none_or(|length| length == b"0")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token))
}

/// The value of a field that stands there once; an empty one where it stands there more often.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(if values.next().is_some() { b"" } else { first.as_bytes() })
}

/// 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.strip_suffix(b"==").is_some_and(|text| text.iter().all(is_letter))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const OPENING: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn judged(method: &str, fields: &[(&str, &str)], more: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in fields.iter().chain(more) {
            request = request.header(*name, *value);
        }
        is_opening(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_whole_opening_is_one_and_nothing_less() {
        assert!(judged("GET", &OPENING, &[]));
        assert!(judged(
            "GET",
            &OPENING,
            &[("content-length", "0"), ("sec-websocket-protocol", "a")]
        ));
        assert!(!judged("POST", &OPENING, &[]));
        for left_out in 0..OPENING.len() {
            let mut fields = OPENING.to_vec();
            let (name, _) = fields.remove(left_out);
            assert!(!judged("GET", &fields, &[]), "{name}");
        }
    }

    #[test]
    fn an_opening_that_two_servers_could_read_in_two_ways_is_none() {
        for more in [
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
        ] {
            assert!(!judged("GET", &OPENING, &[more]), "{more:?}");
        }
        for (at, value) in [
            (0, "keep-alive"),
            (1, "h2c"),
            (1, "websockets"),
            (2, "8"),
            (3, "dGhlIHNhbXBsZSBub25jZQ="),
            (3, "dGhlIHNhbXBsZSBub25jZQ==="),
            (3, "dGhlIHNhbXBsZSBub25j:Q=="),
        ] {
            let mut fields = OPENING;
            fields[at].1 = value;
            assert!(!judged("GET", &fields, &[]), "{value}");
        }
    }
}
