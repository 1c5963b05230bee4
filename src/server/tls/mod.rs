//! TLS towards clients: handshakes with a deadline and a bound, by what is in force when they begin.
//!
//! Knows certificates and sessions, not HTTP. Without `tls` nothing here runs.

mod compile;
mod names;
mod outcomes;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use rustls::server::ProducesTickets;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{Protocol, Stream};
use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::id::Digest;
use crate::inquiry::{Origin, Peer};
use crate::telemetry::Metrics;
pub(super) use compile::{Ground, compile};
use outcomes::{Failure, Outcomes};

/// How a listener speaks TLS; a reload replaces it whole, sessions keep what they began with.
#[derive(Debug)]
pub(super) struct Tls {
    config: Arc<ServerConfig>,
    deadline: Duration,
    /// Counts handshakes of all workers together.
    turns: Arc<Semaphore>,
    most_turns: usize,
    tickets: Arc<dyn ProducesTickets>,
    /// What decides about clients: a ticket is good only as long as this stays.
    clients: Option<Digest>,
    shown: Vec<Shown>,
    outcomes: Outcomes,
}

/// A certificate as the metrics tell of it.
#[derive(Debug)]
struct Shown {
    name: String,
    good_until: Timestamp,
}

/// The TLS in force, if the listener speaks it.
#[derive(Debug)]
pub(super) struct LiveTls(ArcSwap<Tls>);

impl LiveTls {
    pub(super) fn new(tls: Tls, metrics: &Metrics) -> Self {
        tls.announce(metrics);
        Self(ArcSwap::from_pointee(tls))
    }

    pub(super) fn current(&self) -> Arc<Tls> {
        self.0.load_full()
    }

    /// Handshakes that begin from now on follow the next one.
    pub(super) fn replace(&self, next: Tls, metrics: &Metrics) {
        next.announce(metrics);
        self.0.store(Arc::new(next));
    }
}

impl Tls {
    /// Makes a session of a connection, or closes it and counts why.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        client: Origin,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        let outcome = timeout(self.deadline, self.shake_hands(stream)).await;
        match outcome.unwrap_or(Err(Failure::Late)) {
            Ok((session, certificate)) => {
                self.outcomes.succeeded(session.get_ref().1.handshake_kind());
                Some((session, Peer::direct(client).over_tls(certificate)))
            }
            Err(failure) => {
                self.outcomes.failed(&failure);
                None
            }
        }
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<Arc<Certificate>>), Failure> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        // Only a whole hello takes a turn: one who connects and is silent keeps nobody waiting.
        let _turn = self.turns.acquire().await.map_err(|_| Failure::Late)?;
        let session = hello.into_stream(Arc::clone(&self.config)).await?;
        let shown = session.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = match shown {
            None => None,
            // Verified, but with names that cannot be told.
            Some(shown) => Some(Certificate::read(shown).ok_or(Failure::UnreadableCertificate)?),
        };
        Ok((session, certificate.map(Arc::new)))
    }

    fn announce(&self, metrics: &Metrics) {
        let expiry = &metrics.tls_certificate_expiry;
        expiry.reset();
        for Shown { name, good_until } in &self.shown {
            let gauge = expiry.with_label_values(&[name]);
            // Of two for one name, the first that ends is the one to renew.
            let seconds = good_until.seconds();
            let known = gauge.get();
            gauge.set(if known == 0 { seconds } else { seconds.min(known) });
        }
    }
}

/// What the client and we agreed on to speak; without an agreement, what everybody does.
pub(super) fn protocol_of(session: &TlsStream<TcpStream>) -> Protocol {
    match session.get_ref().1.alpn_protocol() {
        Some(HTTP2) => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

/// The name of HTTP/2 in ALPN (RFC 9113 §3.2).
const HTTP2: &[u8] = b"h2";

impl Stream for TlsStream<TcpStream> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (socket, session) = self.get_ref();
        // What came behind the handshake was read from the socket already.
        if session.wants_read() { socket.poll_readable(cx) } else { Poll::Ready(()) }
    }

    fn reset_when_closed(&self) {
        self.get_ref().0.reset_when_closed();
    }
}
