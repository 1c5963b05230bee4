//! HTTP messages we write ourselves: problem documents, plain texts, request ids.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use serde_json::json;

/// The body of a message we write ourselves.
pub type Body = Full<Bytes>;

/// What ties an answer to its line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    series: u64,
    number: u64,
}

impl RequestId {
    /// The same id in the form of a UUID of the kind that everybody makes as they like (RFC 9562 §5.8).
    pub fn uuid(&self) -> String {
        let series = format!("{:016x}", self.series);
        let (first, rest) = series.split_at(8);
        let (second, rest) = rest.split_at(4);
        let (third, fourth) = rest.split_at(3);
        format!("{first}-{second}-8{third}-8{fourth}00-0000{:08x}", self.number & 0xffff_ffff)
    }
}

/// Hands out request ids; one for each worker.
#[derive(Debug)]
pub struct RequestIds {
    series: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that begin with `series`, which the caller draws at random for each worker.
    pub const fn new(series: u64) -> Self {
        Self { series, next: AtomicU64::new(0) }
    }

    /// The next id.
    pub fn next(&self) -> RequestId {
        RequestId { series: self.series, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

impl RequestId {
    /// The id as the value of a header.
    pub fn header(&self) -> Option<HeaderValue> {
        // Written on every request that goes upstream: a table costs less than a formatter.
        let mut text = [0; 24];
        let bits = u128::from(self.series) << 32 | u128::from(self.number & 0xffff_ffff);
        for (place, digit) in text.iter_mut().rev().enumerate() {
            let value = usize::try_from(bits >> (4 * place) & 15).unwrap_or_default();
            *digit = DIGITS.get(value).copied().unwrap_or(b'0');
        }
        HeaderValue::from_bytes(&text).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:08x}", self.series, self.number & 0xffff_ffff)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// An RFC 9457 problem document.
pub fn problem(status: StatusCode, reason: &str, title: &str, id: &RequestId) -> Response<Body> {
    let document = json!({
        "type": format!("urn:portcullis:problem:{reason}"),
        "title": title,
        "status": status.as_u16(),
        "reason": reason,
        "request_id": id.to_string(),
    });
    let mut response = with_type(status, "application/problem+json", document.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = id.header() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A text of ours.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", text)
}

/// A body of ours with its media type.
pub fn with_type(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The header that carries a request id, to the upstream and with answers of ours.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_series_differ() {
        let ids = RequestIds::new(7);
        let (first, second) = (ids.next().to_string(), ids.next().to_string());
        assert_eq!(first, "000000000000000700000000");
        let large = RequestId { series: 0x0123_4567_89ab_cdef, number: 0x1_fedc_ba98 };
        assert_eq!(large.header().unwrap(), "0123456789abcdeffedcba98");
        assert_eq!(RequestIds::new(7).next().header().unwrap(), "000000000000000700000000");
        assert_ne!(first, second);
    }
}
