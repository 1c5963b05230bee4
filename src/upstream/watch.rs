//! What is done for an upstream beside its requests: active checks, and look-ups of names.
//!
//! Futures that never end; whoever runs them drops them when the upstream is not named any more.

use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::MissedTickBehavior;

use super::announce;
use super::stream::Stream;
use crate::config::HealthSettings;
use crate::config::ProxyHeader;
use crate::endpoint::Address;
use crate::endpoint::Checked;
use crate::endpoint::Endpoint;
use crate::endpoint::Pool;

/// Asks each endpoint how it fares, all at once, and then again after the interval.
pub async fn check(pool: Arc<Pool>) {
    let Some(health) = pool.settings().health.clone() else { return };
    let announces = pool.settings().proxy_protocol;
    let mut ticks = tokio::time::interval(health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let endpoints = pool.show().endpoints;
        let checks = endpoints.iter().map(|endpoint| {
            let (pool, health) = (&pool, &health);
            let check = async move {
                let fault = check_one(endpoint, health, announces).await.err();
                pool.checked(endpoint, Checked { at: Instant::now(), fault });
            };
            Box::pin(check)
        });
        all(checks.collect()).await;
    }
}

/// Looks the names of an upstream up, again and again. An answer that fails changes nothing.
pub async fn resolve(pool: Arc<Pool>) {
    let Some(interval) = pool.settings().resolve else { return };
    let names: Vec<_> = pool.names().collect();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (index, name, port) in &names {
            let asked = tokio::net::lookup_host((name.as_str(), *port));
            let upstream = pool.name();
            match tokio::time::timeout(LOOK_UP, asked).await {
                Ok(Ok(addresses)) => pool.found(*index, addresses.collect()),
                Ok(Err(error)) => tracing::warn!(upstream, name, %error, "cannot look a name up"),
                Err(_) => tracing::warn!(upstream, name, "a name was not looked up in time"),
            }
        }
    }
}

/// What is wrong with an endpoint, if anything is.
async fn check_one(
    endpoint: &Endpoint,
    health: &HealthSettings,
    announces: Option<ProxyHeader>,
) -> Result<(), String> {
    let status = tokio::time::timeout(health.timeout, ask(endpoint, &health.path, announces))
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let is_good = match health.expect.as_slice() {
        [] => (200..400).contains(&status),
        expected => expected.contains(&status),
    };
    if is_good { Ok(()) } else { Err(format!("status {status}")) }
}

/// The status with which a path is answered.
async fn ask(endpoint: &Endpoint, path: &str, announces: Option<ProxyHeader>) -> io::Result<u16> {
    let header = announces.map(|version| announce::header(version, None));
    // In clear: those behind TLS have no active checks.
    let mut stream = Stream::connect(endpoint, header.as_deref(), None).await?;
    let host = match &endpoint.address {
        Address::Socket(_) | Address::Name(..) => endpoint.address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: portcullis\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
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

/// Drives futures side by side within one task, until each has ended.
async fn all<F: Future<Output = ()>>(mut futures: Vec<Pin<Box<F>>>) {
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// How long one look-up may take.
const LOOK_UP: Duration = Duration::from_secs(5);

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
