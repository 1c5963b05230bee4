//! A request as a question, in the one canonical form that is judged and forwarded.
//!
//! A request that two readers could read differently has no canonical form and is refused here,
//! before anything is compared. No route, check or policy is known to this part.

mod host;
mod network;
mod path;
mod peer;

use http::HeaderMap;
use http::Method;
use http::Version;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;

pub use host::Host;
pub use network::Network;
pub use path::{CanonicalPath, canonical_segment};
pub use peer::{Origin, Peer, TrustedProxies};

/// What a decision may depend on, and nothing else.
#[derive(Debug)]
pub struct Inquiry<'r> {
    /// The method, case-sensitive.
    pub method: &'r Method,
    /// The host in lower case, without trailing dot and default port.
    pub host: Host<'r>,
    /// The path with every needless escape undone.
    pub path: CanonicalPath<'r>,
    /// The query as it came, without the question mark.
    pub query: Option<&'r str>,
    /// The header fields as they came.
    pub headers: &'r HeaderMap,
    /// Who is at the other end.
    pub peer: &'r Peer,
}

/// Sizes beyond which a request is not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest target, in bytes.
    pub target: usize,
    /// All header names and values together, with four bytes for each field.
    pub headers: usize,
    /// Number of header fields.
    pub header_count: usize,
}

/// Why a request has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InquiryError {
    /// RFC 9112 §3: only 1.0 and 1.1 are spoken here.
    #[error("unsupported HTTP version")]
    Version,
    /// RFC 9112 §3.2.4 and §3.2.3: `*` and `host:port` name no resource of an API.
    #[error("the target is not a path")]
    TargetForm,
    /// RFC 9110 §4.2.4.
    #[error("the target carries user information")]
    UserInfo,
    /// RFC 9112 §3.2: exactly one `Host`, equal to the target's when that has one.
    #[error("the Host header is missing, repeated or contradicted")]
    HostCount,
    /// Not a name or address with an optional port.
    #[error("the Host header is malformed")]
    HostForm,
    /// A byte that RFC 3986 does not allow in a path or query.
    #[error("the target has a byte that must be escaped")]
    RawByte,
    /// RFC 3986 §2.1: `%` and two hexadecimal digits.
    #[error("the path has a broken escape")]
    BrokenEscape,
    /// An escape that upstreams are known to read in two ways: slash, backslash, NUL, control, `;`, `#`.
    #[error("the path has an ambiguous escape")]
    AmbiguousEscape,
    /// `%25` and two digits: a second decoding would change the path.
    #[error("the path is escaped twice")]
    DoubleEscape,
    /// Escaped bytes that are not UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// `.` or `..` as a segment, escaped or not.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `//`, which some upstreams merge.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `;`, which some upstreams cut off with all that follows.
    #[error("the path has a parameter")]
    PathParameter,
    /// More segments than any route can have.
    #[error("the path has too many segments")]
    TooDeep,
    /// RFC 9112 §6.3: a length that is not one plain number.
    #[error("the Content-Length is malformed or repeated")]
    ContentLength,
    /// RFC 9112 §6.1: any coding but `chunked` alone.
    #[error("the Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// Beyond [`Bounds::target`].
    #[error("the target is too long")]
    TargetTooLong,
    /// Beyond [`Bounds::headers`] or [`Bounds::header_count`].
    #[error("the header is too large")]
    HeadersTooLarge,
}

impl<'r> Inquiry<'r> {
    /// Reads the head of a request that arrived on our own listener.
    pub fn of_request(
        parts: &'r Parts,
        peer: &'r Peer,
        bounds: Bounds,
    ) -> Result<Self, InquiryError> {
        check_sizes(parts, bounds)?;
        check_framing(&parts.headers)?;
        if !matches!(parts.version, Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2) {
            return Err(InquiryError::Version);
        }
        let host = host_of(parts)?;
        let target = parts.uri.path_and_query().ok_or(InquiryError::TargetForm)?;
        // `*` and an absolute form without a path would be given one by the `http` crate.
        if parts.method == Method::CONNECT || !target.as_str().starts_with('/') {
            return Err(InquiryError::TargetForm);
        }
        let query = target.query();
        if query.is_some_and(|query| !query.bytes().all(|byte| (0x21..0x7f).contains(&byte))) {
            return Err(InquiryError::RawByte);
        }
        let path = CanonicalPath::of(target.path())?;
        Ok(Self { method: &parts.method, host, path, query, headers: &parts.headers, peer })
    }

    /// The length of the body as announced; a number too large to count is the largest.
    pub fn content_length(&self) -> Option<u64> {
        let length = self.headers.get(header::CONTENT_LENGTH)?;
        Some(length.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
    }

    /// The target to send: what was judged, byte for byte.
    pub fn target(&self, original: &PathAndQuery) -> Result<PathAndQuery, InquiryError> {
        if self.path.is_as_written() {
            return Ok(original.clone());
        }
        match self.query {
            Some(query) => self.target_with_query(query),
            None => target_of(self.path.as_str().to_owned()),
        }
    }

    /// The target to send with another query, from which a credential was taken; empty for none.
    pub fn target_with_query(&self, query: &str) -> Result<PathAndQuery, InquiryError> {
        let path = self.path.as_str();
        target_of(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
    }
}

fn target_of(text: String) -> Result<PathAndQuery, InquiryError> {
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| InquiryError::TargetForm)
}

fn check_sizes(parts: &Parts, bounds: Bounds) -> Result<(), InquiryError> {
    // Over HTTP/2 the authority is no part of the target but a field of its own.
    let authority = parts.uri.authority().filter(|_| parts.version != Version::HTTP_2);
    let authority = authority.map_or(0, |authority| authority.as_str().len());
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target.saturating_add(authority) > bounds.target {
        return Err(InquiryError::TargetTooLong);
    }
    if parts.headers.len() > bounds.header_count {
        return Err(InquiryError::HeadersTooLarge);
    }
    let fields = parts.headers.iter();
    let size: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > bounds.headers { Err(InquiryError::HeadersTooLarge) } else { Ok(()) }
}

/// The message was already framed by the connection; what stands in the map must not say otherwise
/// to the next reader. `Transfer-Encoding: gzip, chunked` was framed by its last coding, and a
/// repeated equal length was collapsed: neither may go on.
fn check_framing(headers: &HeaderMap) -> Result<(), InquiryError> {
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING) {
        let alone = headers.get_all(header::TRANSFER_ENCODING).iter().nth(1).is_none();
        if !alone || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(InquiryError::TransferEncoding);
        }
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err(InquiryError::ContentLength);
        }
    }
    if let Some(length) = headers.get(header::CONTENT_LENGTH) {
        let alone = headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_none();
        let plain = match length.as_bytes() {
            [b'0'] => true,
            [first, rest @ ..] => {
                matches!(first, b'1'..=b'9') && rest.iter().all(u8::is_ascii_digit)
            }
            [] => false,
        };
        if !alone || !plain {
            return Err(InquiryError::ContentLength);
        }
    }
    Ok(())
}

/// RFC 9112 §3.2.2 lets the target overrule `Host`; a sender of both in disagreement is refused,
/// since the upstream might prefer the other one.
fn host_of(parts: &Parts) -> Result<Host<'_>, InquiryError> {
    let mut values = parts.headers.get_all(header::HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(InquiryError::HostCount);
    };
    let host = Host::parse(value.as_bytes())?;
    if let Some(authority) = parts.uri.authority() {
        if authority.as_str().contains('@') {
            return Err(InquiryError::UserInfo);
        }
        if Host::parse(authority.as_str().as_bytes())? != host {
            return Err(InquiryError::HostCount);
        }
        if !matches!(parts.uri.scheme_str(), Some("http" | "https")) {
            return Err(InquiryError::TargetForm);
        }
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const BOUNDS: Bounds = Bounds { target: 100, headers: 200, header_count: 5 };

    #[track_caller]
    #[expect(clippy::unwrap_in_result, reason = "only what is under test may fail")]
    fn read(request: http::request::Builder) -> Result<String, InquiryError> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let peer = Peer::direct("192.0.2.1".parse::<std::net::IpAddr>().unwrap());
        let inquiry = Inquiry::of_request(&parts, &peer, BOUNDS)?;
        let target = inquiry.target(parts.uri.path_and_query().unwrap())?;
        Ok(format!("{} {}", inquiry.host, target))
    }

    fn get(target: &str) -> http::request::Builder {
        Request::builder().uri(target)
    }

    #[test]
    fn judges_and_sends_the_same_target() {
        assert_eq!(read(get("/a?b=/../c").header("host", "A.test")).unwrap(), "a.test /a?b=/../c");
        assert_eq!(read(get("/%61%7e?x").header("host", "a.test:80")).unwrap(), "a.test /a~?x");
        assert_eq!(read(get("http://a.test/x").header("host", "a.test")).unwrap(), "a.test /x");
    }

    #[test]
    fn refuses_a_host_that_is_missing_repeated_or_contradicted() {
        assert_eq!(read(get("/")), Err(InquiryError::HostCount));
        let twice = get("/").header("host", "a.test").header("host", "a.test");
        assert_eq!(read(twice), Err(InquiryError::HostCount));
        for target in ["http://b.test/", "http://a.test:8080/", "http://xa.test/"] {
            let other = get(target).header("host", "a.test");
            assert_eq!(read(other), Err(InquiryError::HostCount), "{target}");
        }
        for target in ["http://a.test/", "http://A.test:80/", "http://a.test./"] {
            assert_eq!(read(get(target).header("host", "a.test")).unwrap(), "a.test /");
        }
        let user = get("http://u:p@a.test/").header("host", "a.test");
        assert_eq!(read(user), Err(InquiryError::UserInfo));
    }

    #[test]
    fn refuses_targets_that_are_not_paths() {
        assert_eq!(read(get("*").header("host", "a")), Err(InquiryError::TargetForm));
        assert_eq!(read(get("ftp://a/").header("host", "a")), Err(InquiryError::TargetForm));
        let connect = get("a.test:22").method("CONNECT").header("host", "a.test:22");
        assert_eq!(read(connect), Err(InquiryError::TargetForm));
    }

    #[test]
    fn refuses_framing_that_another_reader_could_read_otherwise() {
        for coding in ["gzip, chunked", "xchunked", "chunked, chunked", "identity", "\"chunked\""] {
            let request = get("/").header("host", "a").header("transfer-encoding", coding);
            assert_eq!(read(request), Err(InquiryError::TransferEncoding), "{coding}");
        }
        assert!(read(get("/").header("host", "a").header("transfer-encoding", "Chunked")).is_ok());
        for length in ["+5", "05", "5, 5", "", "-1", "0x5", "5;a"] {
            let request = get("/").header("host", "a").header("content-length", length);
            assert_eq!(read(request), Err(InquiryError::ContentLength), "{length}");
        }
        assert!(read(get("/").header("host", "a").header("content-length", "50")).is_ok());
        assert!(read(get("/").header("host", "a").header("content-length", "0")).is_ok());
    }

    #[test]
    fn refuses_beyond_each_bound_and_not_before() {
        let target = format!("/{}", "a".repeat(99));
        assert!(read(get(&target).header("host", "a")).is_ok());
        let longer = format!("/{}", "a".repeat(100));
        assert_eq!(read(get(&longer).header("host", "a")), Err(InquiryError::TargetTooLong));
        let value = "v".repeat(200 - "hosta".len() - 4 - 1 - 4);
        assert!(read(get("/").header("host", "a").header("x", &value)).is_ok());
        let value = format!("{value}v");
        let request = get("/").header("host", "a").header("x", &value);
        assert_eq!(read(request), Err(InquiryError::HeadersTooLarge));
        let mut request = get("/").header("host", "a");
        for name in ["a", "b", "c", "d"] {
            request = request.header(name, "");
        }
        assert!(read(request).is_ok());
        let mut request = get("/").header("host", "a");
        for name in ["a", "b", "c", "d", "e"] {
            request = request.header(name, "");
        }
        assert_eq!(read(request), Err(InquiryError::HeadersTooLarge));
    }
}
