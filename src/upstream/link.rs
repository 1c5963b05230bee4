//! One connection to an upstream, driven by whoever uses it.
//!
//! hyper's connection future is not spawned: the task that waits for an answer polls it itself.
//! That spares two wake-ups and a hand-over between tasks per request.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::time::Instant;

use http::Request;
use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::UpstreamError;
use super::body::{BodyFault, Progress, RequestBody};
use crate::gateway::Address;
use crate::gateway::Destination;

/// A connection on which one request at a time is under way.
pub(super) struct Link {
    connection: Pin<Box<http1::Connection<TokioIo<TcpStream>, RequestBody>>>,
    sender: http1::SendRequest<RequestBody>,
    /// Set once the connection future has ended; it must not be polled again.
    is_closed: bool,
    /// Fires no later than the deadline in force; armed again only when it fires. A timer armed
    /// anew for each request would cost more than reading its answer.
    alarm: Pin<Box<Sleep>>,
    /// When the link was last given back.
    pub(super) idle_since: Instant,
    idle_timeout: Duration,
}

/// Until when an answer is waited for.
struct Wait {
    progress: Option<Arc<Progress>>,
    timeout: Duration,
    deadline: Instant,
}

/// Why an exchange failed.
pub(super) enum Lost {
    /// The connection was already closed: the request comes back untouched.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended after the request, or a part of it, was written.
    Broken(hyper::Error),
    /// The answer did not begin in time.
    Late,
    /// The request's body failed.
    Body(BodyFault),
}

impl Link {
    /// Opens a connection within the destination's `connect_timeout`.
    pub(super) async fn open(destination: &Destination) -> Result<Self, UpstreamError> {
        let connecting = async {
            let stream = match &destination.address {
                Address::Socket(address) => TcpStream::connect(address).await?,
                Address::Name(name, port) => connect_by_name(name, *port).await?,
            };
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = tokio::time::timeout(destination.connect_timeout, connecting)
            .await
            .map_err(|_| UpstreamError::ConnectTimeout)?
            .map_err(UpstreamError::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(LARGEST_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(UpstreamError::Broken)?;
        Ok(Self {
            connection: Box::pin(connection),
            sender,
            is_closed: false,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            idle_since: Instant::now(),
            idle_timeout: destination.idle_timeout,
        })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, Lost> {
        let progress = request.body().progress();
        let mut wait = Wait { progress, timeout, deadline: Instant::now() + timeout };
        let mut answer = pin!(self.sender.try_send_request(request));
        let outcome = std::future::poll_fn(|cx| {
            self.drive(cx);
            if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
                return Poll::Ready(outcome.map_err(Lost::from));
            }
            self.poll_late(&mut wait, cx).map(Err)
        })
        .await;
        outcome.map_err(|lost| wait.fault().map_or(lost, Lost::Body))
    }

    /// Ready once the answer is late.
    fn poll_late(&mut self, wait: &mut Wait, cx: &mut Context<'_>) -> Poll<Lost> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            if wait.is_over(Instant::now()) {
                return Poll::Ready(Lost::Late);
            }
            self.alarm.as_mut().reset(wait.deadline.into());
        }
    }

    /// Lets the connection read and write; tells whether it is still open.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_closed && self.connection.as_mut().poll(cx).is_ready() {
            self.is_closed = true;
        }
        !self.is_closed
    }

    /// Whether nobody used the connection for longer than its destination allows.
    pub(super) fn is_stale(&self) -> bool {
        self.idle_since.elapsed() >= self.idle_timeout
    }

    /// Whether another request could be sent now.
    pub(super) fn is_ready(&self) -> bool {
        !self.is_closed && self.sender.is_ready()
    }
}

impl Wait {
    fn is_over(&mut self, now: Instant) -> bool {
        // While the client still sends, it is the body's own deadline that counts.
        if let Some(progress) = &self.progress {
            self.deadline = progress.sent_at().unwrap_or(now) + self.timeout;
        }
        now >= self.deadline
    }

    fn fault(&self) -> Option<BodyFault> {
        self.progress.as_ref()?.fault()
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("is_closed", &self.is_closed).finish_non_exhaustive()
    }
}

impl From<TrySendError<Request<RequestBody>>> for Lost {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        match error.take_message() {
            Some(request) => Self::Unsent(Box::new(request)),
            None => Self::Broken(error.into_error()),
        }
    }
}

impl From<Lost> for UpstreamError {
    fn from(lost: Lost) -> Self {
        match lost {
            // A fresh connection that closes before it takes a request is as good as none.
            Lost::Unsent(_) => {
                Self::Connect(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            }
            Lost::Broken(error) => Self::Broken(error),
            Lost::Late => Self::ResponseTimeout,
            Lost::Body(fault) => Self::RequestBody(fault),
        }
    }
}

async fn connect_by_name(name: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in tokio::net::lookup_host((name, port)).await?.take(MOST_ADDRESSES) {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// Largest head of an answer.
const LARGEST_HEAD: usize = 128 * 1024;
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;
