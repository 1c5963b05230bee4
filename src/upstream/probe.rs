//! One question to an endpoint: with which status it answers a path.
//!
//! On a connection of its own, opened as those of requests are and in the protocol that they are sent in.

use std::io;

use http::Method;
use http::Request;
use http::Uri;
use http::Version;
use http::header;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::announce;
use super::http2;
use super::stream::Stream;
use crate::config::UpstreamHttp2;
use crate::endpoint::{Address, Endpoint};
use crate::gateway::Destination;

/// The status with which a path is answered; the caller says how long that may take.
pub(super) async fn ask(
    destination: &Destination,
    endpoint: &Endpoint,
    path: &str,
) -> io::Result<u16> {
    let transport = &destination.transport;
    let header = destination.announces.map(|version| announce::header(version, None));
    let stream = Stream::connect(endpoint, header.as_deref(), transport.secured.as_ref()).await?;
    let agreed = stream.agreed_on_http2();
    let host = host(destination, endpoint);
    match transport.http2 {
        UpstreamHttp2::Always if transport.secured.is_some() && !agreed => {
            Err(io::Error::other(http2::DISAGREED))
        }
        UpstreamHttp2::Always => ask_http2(stream, destination, (&host, path)).await,
        UpstreamHttp2::Auto => {
            endpoint.note_agreement(agreed);
            if agreed {
                ask_http2(stream, destination, (&host, path)).await
            } else {
                ask_http1(stream, (&host, path)).await
            }
        }
        UpstreamHttp2::Never => ask_http1(stream, (&host, path)).await,
    }
}

async fn ask_http1(mut stream: Stream, (host, path): (&str, &str)) -> io::Result<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    // Over TLS what was written may still be held back.
    stream.flush().await?;
    let mut start = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut start).await?;
    status_of(&start).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}

fn status_of(start: &[u8]) -> Option<u16> {
    let rest = start.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', digits @ ..] = rest else { return None };
    let is_number = digits.len() == 3 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

async fn ask_http2(
    stream: Stream,
    destination: &Destination,
    (host, path): (&str, &str),
) -> io::Result<u16> {
    let scheme = if destination.transport.secured.is_some() { "https" } else { "http" };
    let target = Uri::builder().scheme(scheme).authority(host).path_and_query(path);
    let request = Request::builder()
        .method(Method::GET)
        .uri(target.build().map_err(io::Error::other)?)
        .version(Version::HTTP_2)
        .header(header::USER_AGENT, AGENT)
        .body(());
    http2::ask(stream, request.map_err(io::Error::other)?).await
}

/// What is asked for: behind TLS the name that was proved, since servers compare the two.
fn host(destination: &Destination, endpoint: &Endpoint) -> String {
    let secured = destination.transport.secured.as_ref();
    let proved =
        secured.and_then(|secured| secured.name.as_ref().or(endpoint.server_name.as_ref()));
    match (&endpoint.address, proved) {
        (Address::Socket(address), Some(ServerName::DnsName(name))) => {
            format!("{}:{}", name.as_ref(), address.port())
        }
        (Address::Name(_, port), Some(ServerName::DnsName(name))) => {
            format!("{}:{port}", name.as_ref())
        }
        (Address::Socket(_) | Address::Name(..), _) => endpoint.address.to_string(),
        (Address::Unix(_), _) => "localhost".to_owned(),
    }
}

/// What we call ourselves.
const AGENT: &str = "portcullis";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_stands_at_the_start_of_an_answer() {
        assert_eq!(status_of(b"HTTP/1.1 200"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 503"), Some(503));
        for start in [
            &b"HTTP/2.0 200"[..],
            b"HTTP/1.1  20",
            b"HTTP/1.1 +20",
            b"HTTP/1.1 2x0",
            b"http/1.1 200",
            b"SSH-2.0-Open",
            b"HTTP/1.1 20",
            b"",
        ] {
            assert_eq!(status_of(start), None, "{start:?}");
        }
    }
}
