//! Heads over HTTP/2: the request's as it was judged, the answer's as any other.

use http::HeaderMap;
use http::HeaderName;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;
use http::uri::Authority;
use http::uri::Scheme;

use crate::gateway::Sealed;
use crate::upstream::head::{HeadFault, MOST_FIELDS, length_of};

/// The head of a request; `fallback` names the upstream when the client named no host.
pub(in crate::upstream) fn request(
    sealed: &Sealed,
    has_body: bool,
    fallback: &str,
) -> Result<Request<()>, http::Error> {
    let Sealed { parts, ours, destination, .. } = sealed;
    let Parts { method, uri, headers, .. } = parts;
    let is_secured = destination.transport.secured.is_some();
    let mut target = http::uri::Parts::default();
    target.scheme = Some(if is_secured { Scheme::HTTPS } else { Scheme::HTTP });
    // What was judged: of a host that we wrote ourselves there is only one.
    let host = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    target.authority = Some(match host {
        Some(host) => host,
        None => Authority::try_from(fallback)?,
    });
    target.path_and_query = uri.path_and_query().cloned();
    let mut fields = HeaderMap::with_capacity(headers.len() + ours.len());
    for (name, value) in headers.iter().filter(|(name, _)| !is_of_http1(name)) {
        fields.append(name, value.clone());
    }
    for (name, value) in ours {
        fields.append(name, value.clone());
    }
    // One length, and only of what is really sent.
    let length = headers.get(header::CONTENT_LENGTH).filter(|_| has_body);
    if let Some(length) = length {
        fields.insert(header::CONTENT_LENGTH, length.clone());
    } else if !has_body && matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        fields.insert(header::CONTENT_LENGTH, 0.into());
    }
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = Uri::from_parts(target)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

/// RFC 9113 §8.2.2; the length and the host are written anew.
fn is_of_http1(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// An answer that can be passed on over any version.
pub(super) fn judge<B>(mut response: Response<B>) -> Result<Response<B>, HeadFault> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HeadFault::Upgrade);
    }
    if response.headers().len() > MOST_FIELDS {
        return Err(HeadFault::TooLarge);
    }
    length_of(response.headers_mut())?;
    *response.version_mut() = Version::HTTP_11;
    Ok(response)
}
