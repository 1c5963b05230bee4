//! One connection to an upstream, read and written by whoever uses it: no task of its own, so that a
//! request costs no hand-over between tasks.

use std::future::Future;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::time::Instant;

use bytes::BytesMut;
use http::Method;
use tokio::io::AsyncReadExt as _;
use tokio::time::Sleep;

use super::LOOK_EVERY;
use super::UpstreamError;
use super::announce;
use super::body::BodyFault;
use super::head;
use super::head::{Head, HeadFault};
use super::sending::{SendFault, Sending};
use super::stream::Stream;
use crate::config::UpstreamHttp2;
use crate::endpoint::Address;
use crate::endpoint::Connected;
use crate::endpoint::Endpoint;
use crate::gateway::Destination;
use crate::gateway::Secured;

/// A connection on which one request at a time is under way.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: Stream,
    /// What was read and not yet taken.
    pub(super) read: BytesMut,
    /// Room that is made for the next read, in bytes.
    at_once: usize,
    /// Fires no later than the deadline in force; armed again only when it fires. A timer armed
    /// anew for each request would cost more than reading its answer.
    alarm: Pin<Box<Sleep>>,
    /// When the link was last given back.
    pub(super) idle_since: Instant,
    idle_timeout: Duration,
    /// When it is too old to be kept, if its address was looked up: however busy it is, what the name
    /// stands for by then is found out.
    pub(super) expires: Option<Instant>,
    /// Under which terms it was opened.
    secured: Option<Arc<Secured>>,
    /// Under which number it is kept while nobody uses it.
    pub(super) slot: usize,
    /// Counts it, where connections are bounded.
    connected: Option<Connected>,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(super) enum Lost {
    /// The connection took not one byte of the request.
    Unsent(std::io::Error),
    /// The connection failed or ended after a part of the request was written.
    Broken(std::io::Error),
    /// What came is no answer.
    Refused(HeadFault),
    /// The answer did not begin in time.
    Late,
    /// The request's body failed.
    Body(BodyFault),
}

impl Link {
    /// Opens a connection within the destination's `connect_timeout`.
    pub(super) async fn open(
        destination: &Destination,
        endpoint: &Endpoint,
        client: IpAddr,
    ) -> Result<Self, UpstreamError> {
        let connected = connected(destination, endpoint)?;
        let stream = connect(destination, endpoint, Some(client)).await?;
        if stream.agreed_on_http2() {
            // What was asked for is a link; whoever shares connections asks for the other.
            let error = std::io::Error::other("the upstream changed to HTTP/2");
            return Err(UpstreamError::Connect(error));
        }
        Ok(Self::over(stream, connected, (destination, endpoint)))
    }

    /// A connection that is open already.
    pub(super) fn over(
        stream: Stream,
        connected: Option<Connected>,
        (destination, endpoint): (&Destination, &Endpoint),
    ) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            at_once: READ_AT_ONCE,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            idle_since: Instant::now(),
            idle_timeout: destination.idle_timeout,
            expires: expiry(endpoint),
            slot: endpoint.slot,
            connected,
            secured: destination.transport.secured.clone(),
        }
    }

    /// Sends a request, or as much of it as it takes, and waits for the head of its answer.
    pub(super) async fn exchange(
        &mut self,
        sending: &mut Sending,
        method: &Method,
        now: Instant,
        timeout: Duration,
    ) -> Result<Head, Lost> {
        let mut wait = Wait { timeout, deadline: Some(now + timeout), writes: 0, interim: 0 };
        poll_fn(|cx| self.poll_exchange(sending, method, &mut wait, cx)).await
    }

    fn poll_exchange(
        &mut self,
        sending: &mut Sending,
        method: &Method,
        wait: &mut Wait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Lost>> {
        let sent = if sending.is_done() {
            Poll::Ready(Ok(()))
        } else {
            sending.poll(&mut self.stream, cx)
        };
        if let Poll::Ready(Err(SendFault::Body(fault))) = sent {
            return Poll::Ready(Err(Lost::Body(fault)));
        }
        // An upstream may refuse and close before it has read everything: its answer counts.
        if sending.has_begun() {
            match self.poll_head(method, &mut wait.interim, cx) {
                Poll::Ready(Err(Lost::Broken(_))) if matches!(sent, Poll::Ready(Err(_))) => {}
                Poll::Ready(outcome) => return Poll::Ready(outcome),
                Poll::Pending => {}
            }
        }
        match sent {
            Poll::Ready(Err(SendFault::Connection(error))) if sending.has_begun() => {
                return Poll::Ready(Err(Lost::Broken(error)));
            }
            Poll::Ready(Err(SendFault::Connection(error))) => {
                return Poll::Ready(Err(Lost::Unsent(error)));
            }
            Poll::Ready(_) | Poll::Pending => {}
        }
        self.poll_late(sending, wait, cx).map(|()| Err(Lost::Late))
    }

    fn poll_head(
        &mut self,
        method: &Method,
        interim: &mut u32,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Lost>> {
        loop {
            let fresh = self.read.len();
            match self.poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Lost::Broken(error))),
                Poll::Ready(Ok(0)) => {
                    let error = std::io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(Lost::Broken(error)));
                }
                Poll::Ready(Ok(_)) => {}
            }
            match head::take(&mut self.read, fresh, method, interim) {
                Ok(None) => {}
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Err(fault) => return Poll::Ready(Err(Lost::Refused(fault))),
            }
        }
    }

    /// Ready when the upstream takes too long to read on or to answer. While it is the client that
    /// everything waits for, the body's own deadline counts.
    fn poll_late(&mut self, sending: &Sending, wait: &mut Wait, cx: &mut Context<'_>) -> Poll<()> {
        if sending.waits_for_client() {
            wait.deadline = None;
            // Whoever waits looks now and then whether it may: a client could wait with its next
            // piece until its token has expired.
            let _ = self.poll_look(cx);
            return Poll::Pending;
        }
        if wait.writes != sending.writes() {
            // The first write follows the decision at once: its instant serves.
            if wait.writes > 0 {
                wait.deadline = None;
            }
            wait.writes = sending.writes();
        }
        let deadline = *wait.deadline.get_or_insert_with(|| Instant::now() + wait.timeout);
        self.poll_alarm(deadline, cx)
    }

    /// Ready once the deadline has passed.
    pub(super) fn poll_alarm(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        // A deadline before the alarm's is rare: a route with a shorter timeout than the last one.
        if self.alarm.deadline() > deadline.into() {
            self.alarm.as_mut().reset(deadline.into());
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= deadline {
                return Poll::Ready(());
            }
            // No later than whoever waits wants to look whether it may.
            self.alarm.as_mut().reset(deadline.min(now + LOOK_EVERY).into());
        }
        Poll::Pending
    }

    /// Ready when the alarm fires, which is at most [`LOOK_EVERY`] away.
    pub(super) fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.alarm.as_mut().poll(cx));
        self.alarm.as_mut().reset((Instant::now() + LOOK_EVERY).into());
        // Leaves the waker.
        while self.alarm.as_mut().poll(cx).is_ready() {
            self.alarm.as_mut().reset((Instant::now() + LOOK_EVERY).into());
        }
        Poll::Ready(())
    }

    /// Reads some bytes; zero at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.read.reserve(self.at_once);
        let reading = pin!(self.stream.read_buf(&mut self.read));
        let outcome = reading.poll(cx);
        if let Poll::Ready(Ok(count)) = outcome {
            // What fills the room is a large answer, and goes on in larger pieces.
            self.at_once = if count >= READ_AT_ONCE { 2 * READ_AT_ONCE } else { READ_AT_ONCE };
        }
        outcome
    }

    /// Whether the upstream still keeps an unused connection open and silent. Bytes that nobody asked
    /// for would be taken for the answer to the next request.
    ///
    /// Not by polling: a task that did much since it was woken is told to wait, whatever has come.
    pub(super) fn is_open(&mut self) -> bool {
        self.read.reserve(READ_AT_ONCE);
        self.read.is_empty()
            && matches!(
                self.stream.try_read_buf(&mut self.read),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock
            )
    }

    /// Whether it was opened as this destination is to be spoken to.
    pub(super) fn suits(&self, destination: &Destination) -> bool {
        destination.transport.takes(self.secured.as_ref())
    }

    /// Whether others are refused a connection while this one is not used.
    pub(super) fn is_wanted(&self) -> bool {
        self.connected.as_ref().is_some_and(Connected::is_wanted)
    }

    /// Whether nobody used the connection for longer than its destination allows.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.idle_since) >= self.idle_timeout
    }
}

/// Counts a connection where they are bounded.
pub(super) fn connected(
    destination: &Destination,
    endpoint: &Endpoint,
) -> Result<Option<Connected>, UpstreamError> {
    match destination.connections {
        Some(most) => endpoint.connect(most).ok_or(UpstreamError::Full).map(Some),
        None => Ok(None),
    }
}

/// When a connection opened now is too old to be kept, if its address was looked up.
pub(super) fn expiry(endpoint: &Endpoint) -> Option<Instant> {
    matches!(endpoint.address, Address::Name(..)).then(|| Instant::now() + LOOKED_UP_AGAIN)
}

/// Opens a connection within the destination's `connect_timeout`, TLS included.
pub(super) async fn connect(
    destination: &Destination,
    endpoint: &Endpoint,
    client: Option<IpAddr>,
) -> Result<Stream, UpstreamError> {
    let secured = destination.transport.secured.as_ref();
    let header = destination.announces.map(|version| announce::header(version, client));
    let connecting = Stream::connect(endpoint, header.as_deref(), secured);
    let stream = tokio::time::timeout(destination.connect_timeout, connecting)
        .await
        .map_err(|_| UpstreamError::ConnectTimeout)?
        .map_err(UpstreamError::Connect)?;
    if destination.transport.http2 == UpstreamHttp2::Auto {
        endpoint.note_agreement(stream.agreed_on_http2());
    }
    Ok(stream)
}

/// How long to wait for an upstream, and until when since it last took something.
#[derive(Debug)]
struct Wait {
    timeout: Duration,
    deadline: Option<Instant>,
    writes: u64,
    /// Interim answers so far.
    interim: u32,
}

impl From<Lost> for UpstreamError {
    fn from(lost: Lost) -> Self {
        match lost {
            // A fresh connection that closes before it takes a request is as good as none.
            Lost::Unsent(error) => Self::Connect(error),
            Lost::Broken(error) => Self::Broken(error),
            Lost::Refused(fault) => Self::Refused(fault),
            Lost::Late => Self::ResponseTimeout,
            Lost::Body(fault) => Self::RequestBody(fault),
        }
    }
}

/// How long a name stands for the address that it was first found to.
const LOOKED_UP_AGAIN: Duration = Duration::from_mins(1);
/// Room that is made for one read, in bytes; twice as much in the midst of a large answer.
const READ_AT_ONCE: usize = 8 * 1024;
