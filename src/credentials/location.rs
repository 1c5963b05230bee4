//! The places in which a request may carry a credential, each a name proven usable.

use http::header::HeaderName;

use super::authorization::Scheme;

/// One place in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(pub(super) Place);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Authorization(Vec<Scheme>),
    Header(HeaderName),
    Query(Box<str>),
    Cookie(Box<str>),
}

/// Why a name cannot be a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Not the name of a header.
    #[error("not the name of a header")]
    Header,
    /// A header that has another meaning.
    #[error("this header has a meaning of its own")]
    Reserved,
    /// Not the name of a query parameter: empty, or not visible ASCII.
    #[error("not the name of a query parameter")]
    Query,
    /// Not the name of a cookie: not a token of HTTP.
    #[error("not the name of a cookie")]
    Cookie,
}

impl Location {
    /// `Authorization` under any of `schemes`.
    pub fn authorization(schemes: impl IntoIterator<Item = Scheme>) -> Self {
        Self(Place::Authorization(schemes.into_iter().collect()))
    }

    /// A header that holds nothing but the credential.
    pub fn header(name: &str) -> Result<Self, LocationError> {
        header_name(name).map(|name| Self(Place::Header(name)))
    }

    /// A query parameter.
    pub fn query(name: &str) -> Result<Self, LocationError> {
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        is_name.then(|| Self(Place::Query(name.into()))).ok_or(LocationError::Query)
    }

    /// A cookie.
    pub fn cookie(name: &str) -> Result<Self, LocationError> {
        // The name of a cookie has the syntax of the name of a header, except for its case.
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| LocationError::Cookie)?;
        Ok(Self(Place::Cookie(name.into())))
    }
}

/// The name of a header that may hold a credential.
pub(super) fn header_name(name: &str) -> Result<HeaderName, LocationError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| LocationError::Header)?;
    if RESERVED.contains(&name.as_str()) { Err(LocationError::Reserved) } else { Ok(name) }
}

/// Headers that mean something to HTTP or to the gateway itself.
const RESERVED: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_places_are_refused() {
        assert_eq!(Location::header("X Token"), Err(LocationError::Header));
        assert_eq!(Location::header(""), Err(LocationError::Header));
        for name in ["Authorization", "cookie", "Host", "Connection", "Content-Length"] {
            assert_eq!(Location::header(name), Err(LocationError::Reserved), "{name}");
        }
        assert_eq!(Location::query(""), Err(LocationError::Query));
        assert_eq!(Location::query("a b"), Err(LocationError::Query));
        assert_eq!(Location::cookie("a;b"), Err(LocationError::Cookie));
        assert_eq!(Location::cookie(""), Err(LocationError::Cookie));
    }
}
