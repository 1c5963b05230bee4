//! The small requests that the gateway makes on its own behalf: GET, one answer, bounded.
//!
//! Never used for forwarding. Redirects are not followed: whoever may redirect could point the
//! gateway anywhere. The roots of trust are loaded with the first `https` request, so that a gateway
//! without one never pays their memory.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AGE, CACHE_CONTROL, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::certificate::{RootsError, provider, system_roots};

/// Where to fetch something, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Uri);

/// Whether plain `http:` may leave the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// Only to the loopback interface.
    Loopback,
    /// Anywhere: written out by the operator.
    Anywhere,
}

/// Why a text is not an address that may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not an absolute `https:` or `http:` address without user, password and fragment.
    #[error("expected an address such as https://id.example.com/keys")]
    Form,
    /// Unprotected beyond the machine: whoever stands in between chooses the keys.
    #[error("plain `http:` is accepted on loopback only; use `https:`")]
    Plain,
}

/// Why a fetch failed.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The roots of trust could not be loaded.
    #[error("no roots of trust: {0}")]
    Roots(#[from] RootsError),
    /// Nobody was left to load them.
    #[error("no roots of trust: loading them was cut short")]
    CutShort,
    /// The TLS settings were refused.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// No whole answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// No connection, or no answer on it.
    #[error("the request failed")]
    Request(#[source] hyper_util::client::legacy::Error),
    /// An answer other than 200.
    #[error("the answer was status {0}")]
    Status(StatusCode),
    /// The answer broke off.
    #[error("the answer broke off")]
    Body(#[source] hyper::Error),
    /// The answer is larger than accepted.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// An answer.
#[derive(Debug)]
pub struct Fetched {
    /// Its body, whole.
    pub body: Bytes,
    /// For how much longer it may be used without asking again, if the sender said so.
    pub max_age: Option<Duration>,
}

/// Fetches, each time within one deadline and one size.
pub struct Fetcher {
    deadline: Duration,
    max_bytes: usize,
    plain: Client<HttpConnector, Empty<Bytes>>,
    protected: OnceCell<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>>,
}

impl Address {
    /// Reads an address.
    pub fn parse(text: &str, plain: Plain) -> Result<Self, AddressError> {
        let uri: Uri = text.parse().map_err(|_| AddressError::Form)?;
        let authority = uri.authority().ok_or(AddressError::Form)?;
        let host = authority.host();
        // The `http` crate drops a fragment silently and keeps a password.
        if host.is_empty() || authority.as_str().contains('@') || text.contains('#') {
            return Err(AddressError::Form);
        }
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if plain == Plain::Anywhere || is_loopback(host) => Ok(Self(uri)),
            Some("http") => Err(AddressError::Plain),
            _ => Err(AddressError::Form),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl Fetcher {
    /// A fetcher that gives up after `deadline` or `max_bytes` of body.
    pub fn new(deadline: Duration, max_bytes: usize) -> Self {
        let plain = client(HttpConnector::new());
        Self { deadline, max_bytes, plain, protected: OnceCell::new() }
    }

    /// Gets what stands at `address`; only a whole answer of status 200 counts.
    pub async fn get(&self, address: &Address) -> Result<Fetched, FetchError> {
        let answer = tokio::time::timeout(self.deadline, self.exchange(address)).await;
        answer.unwrap_or(Err(FetchError::Late(self.deadline)))
    }

    async fn exchange(&self, address: &Address) -> Result<Fetched, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = address.0.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, http::HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, http::HeaderValue::from_static(AGENT));
        let answer = if address.0.scheme_str() == Some("https") {
            self.protected.get_or_try_init(protected).await?.request(request).await
        } else {
            self.plain.request(request).await
        };
        let answer = answer.map_err(FetchError::Request)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let max_age = max_age(answer.headers());
        let mut body = answer.into_body();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(FetchError::Body)?.into_data() else { continue };
            if whole.len().saturating_add(data.len()) > self.max_bytes {
                return Err(FetchError::TooLarge(self.max_bytes));
            }
            whole.extend_from_slice(&data);
        }
        Ok(Fetched { body: whole.freeze(), max_age })
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("deadline", &self.deadline)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

fn client<C>(connector: C) -> Client<C, Empty<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    // Minutes lie between two fetches: a kept connection would only grow stale.
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .http1_max_headers(MAX_HEADERS)
        .build(connector)
}

async fn protected() -> Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, FetchError> {
    let roots = tokio::task::spawn_blocking(system_roots).await;
    let roots = roots.map_err(|_| FetchError::CutShort)??;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(FetchError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .wrap_connector(http);
    Ok(client(connector))
}

/// `max-age` less the time that the answer already spent in caches (RFC 9111 §4.2); `no-store` and
/// `no-cache` are an age of zero.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let number = |text: &str| text.trim().trim_matches('"').parse::<u64>().ok();
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut seconds: Option<u64> = None;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let told = match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => Some(0),
            "max-age" => number(value),
            _ => None,
        };
        // Of two statements, the shorter one holds.
        seconds = told.map(|told| seconds.map_or(told, |s| s.min(told))).or(seconds);
    }
    let spent = headers.get(AGE).and_then(|age| age.to_str().ok()).and_then(number).unwrap_or(0);
    seconds.map(|seconds| Duration::from_secs(seconds.saturating_sub(spent)))
}

/// How we introduce ourselves.
const AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
/// Header fields that an answer may have.
const MAX_HEADERS: usize = 100;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: usize = 1000;

    /// Fetches from a server that answers one request with `answer`, or stays silent when that is
    /// empty; gives what was fetched and the head of the request.
    async fn fetch(answer: &str, deadline: Duration) -> (Result<Fetched, FetchError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/keys?a=b", listener.local_addr().unwrap());
        let address = Address::parse(&address, Plain::Loopback).unwrap();
        let fetcher = Fetcher::new(deadline, LIMIT);
        let mut head = vec![0; 4096];
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let read = stream.read(&mut head).await.unwrap();
            head.truncate(read);
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream);
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            outcome = fetcher.get(&address) => outcome,
            () = serve => Err(FetchError::Late(Duration::ZERO)),
        };
        (outcome, String::from_utf8_lossy(&head).into_owned())
    }

    async fn answered(answer: &str) -> Result<Fetched, FetchError> {
        fetch(answer, Duration::from_secs(5)).await.0
    }

    #[tokio::test]
    async fn gets_a_body_and_its_age() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncache-control: public, max-age=600\r\nage: 100\r\n\r\n{}";
        let (fetched, head) = fetch(answer, Duration::from_secs(5)).await;
        let fetched = fetched.unwrap();
        assert_eq!(&fetched.body[..], b"{}");
        assert_eq!(fetched.max_age, Some(Duration::from_secs(500)));
        assert!(head.starts_with("GET /keys?a=b HTTP/1.1\r\n"), "{head}");
    }

    #[tokio::test]
    async fn only_status_200_counts_and_redirects_are_not_followed() {
        for (status, rest) in [
            (201, ""),
            (204, ""),
            (301, "location: http://127.0.0.1:1/\r\n"),
            (302, "location: http://127.0.0.1:1/\r\n"),
            (404, ""),
            (500, ""),
        ] {
            let answer = format!("HTTP/1.1 {status} X\r\n{rest}content-length: 0\r\n\r\n");
            let error = answered(&answer).await.unwrap_err();
            assert!(matches!(error, FetchError::Status(s) if s.as_u16() == status), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_the_limit_and_not_beyond() {
        let body = |bytes: usize| {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
        };
        assert_eq!(answered(&body(LIMIT)).await.unwrap().body.len(), LIMIT);
        let error = answered(&body(LIMIT + 1)).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge(LIMIT)), "{error:?}");
    }

    #[tokio::test]
    async fn broken_answers_are_errors() {
        let short = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}";
        assert!(matches!(answered(short).await, Err(FetchError::Body(_))));
        assert!(matches!(answered("garbage\r\n\r\n").await, Err(FetchError::Request(_))));
        let (silent, _) = fetch("", Duration::from_millis(20)).await;
        assert!(matches!(silent, Err(FetchError::Late(_))));
        let nobody = Address::parse("http://127.0.0.1:1/", Plain::Loopback).unwrap();
        let refused = Fetcher::new(Duration::from_secs(5), LIMIT).get(&nobody).await;
        assert!(matches!(refused, Err(FetchError::Request(_))));
    }

    #[test]
    fn the_shortest_age_holds() {
        let age = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_CONTROL, http::HeaderValue::from_static(line));
            }
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(age(&[]), None);
        assert_eq!(age(&["public"]), None);
        assert_eq!(age(&["max-age=x"]), None);
        assert_eq!(age(&["max-age=-1"]), None);
        assert_eq!(age(&["Max-Age=60"]), Some(60));
        assert_eq!(age(&["max-age=\"60\""]), Some(60));
        assert_eq!(age(&["max-age=60, no-cache"]), Some(0));
        assert_eq!(age(&["max-age=60", "max-age=30"]), Some(30));
        assert_eq!(age(&["s-maxage=10, max-age=60"]), Some(60));
    }

    #[test]
    fn addresses_are_https_or_on_loopback() {
        for good in [
            "https://id.example.com",
            "https://id.example.com:8443/keys?x=1",
            "http://localhost:1234/keys",
            "http://127.0.0.1/",
            "http://127.8.8.8/",
            "http://[::1]:80/",
        ] {
            assert!(Address::parse(good, Plain::Loopback).is_ok(), "{good}");
        }
        for plain in [
            "http://id.example.com/",
            "http://10.0.0.1/",
            "http://localhost.evil.example/",
            "http://127.0.0.1.evil.example/",
            "http://[::2]/",
        ] {
            assert_eq!(Address::parse(plain, Plain::Loopback), Err(AddressError::Plain), "{plain}");
            assert!(Address::parse(plain, Plain::Anywhere).is_ok(), "{plain}");
        }
        for wrong in [
            "",
            "id.example.com",
            "/keys",
            "ftp://id.example.com/",
            "file:///etc/passwd",
            "https://",
            "https://user:pw@id.example.com/",
            "https://id.example.com/#x",
            "https://id example.com/",
        ] {
            assert_eq!(Address::parse(wrong, Plain::Anywhere), Err(AddressError::Form), "{wrong}");
        }
    }
}
