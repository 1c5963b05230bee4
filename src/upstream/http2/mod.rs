//! HTTP/2 to upstreams: connections that the requests of one worker share.
//!
//! h2 keeps the protocol. A request is written and its answer read by whoever serves it, as over
//! HTTP/1.1; only the connection itself is a task, which the server runs.

mod exchange;
mod head;
mod pump;
mod stream_body;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use http::Request;
use prometheus::IntCounterVec;
use tokio::sync::Semaphore;

use super::UpstreamError;
use super::link::{Link, connect, connected, expiry};
use super::stream::Stream;
use crate::config::UpstreamHttp2;
use crate::endpoint::Connected;
use crate::endpoint::Endpoint;
use crate::gateway::Destination;
use crate::gateway::Secured;
use crate::telemetry::Metrics;
pub(super) use exchange::{Answer, Lost, exchange};
pub(super) use head::request;
pub(super) use pump::Pump;
pub(super) use stream_body::StreamBody;

/// A connection to an upstream that somebody has to run.
pub type Driven = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Runs connections; the server's, since it alone starts tasks.
pub type Drive = Box<dyn Fn(Driven) + Send + Sync>;

/// The connections of one worker, per endpoint.
pub(super) struct Shares {
    slots: Mutex<Vec<Slot>>,
    drive: Drive,
    connections: IntCounterVec,
}

/// The connections to one endpoint.
struct Slot {
    shares: Vec<Share>,
    /// One connection is opened at a time: those who wait for it may find room on it.
    turn: Arc<Semaphore>,
}

/// One connection, used by several requests at once.
struct Share {
    send: SendRequest<Bytes>,
    /// One clone for each stream.
    seats: Arc<()>,
    is_over: Arc<AtomicBool>,
    /// Under which terms it was opened.
    secured: Option<Arc<Secured>>,
    idle_since: Instant,
    idle_timeout: Duration,
    /// When no other stream begins on it, since its address was looked up long ago.
    expires: Option<Instant>,
}

/// Leave to begin one stream.
pub(super) struct Ticket {
    send: SendRequest<Bytes>,
    _seat: Arc<()>,
    is_over: Arc<AtomicBool>,
    /// Whether the connection had been used before.
    pub(super) is_reused: bool,
}

/// What both ends agreed on.
pub(super) enum Opened {
    Share(Ticket),
    Link(Box<Link>),
}

impl Shares {
    pub(super) fn new(metrics: &Metrics, drive: Drive) -> Self {
        Self { slots: Mutex::default(), drive, connections: metrics.upstream_connections.clone() }
    }

    /// A stream on a connection with room, or a new connection.
    pub(super) async fn take(
        &self,
        destination: &Destination,
        endpoint: &Endpoint,
    ) -> Result<Opened, UpstreamError> {
        if let Some(ticket) = self.find(destination, endpoint) {
            return Ok(Opened::Share(ticket));
        }
        let turn = self.turn(endpoint.slot);
        let _turn = tokio::time::timeout(destination.connect_timeout, turn.acquire())
            .await
            .map_err(|_| UpstreamError::ConnectTimeout)?;
        if let Some(ticket) = self.find(destination, endpoint) {
            return Ok(Opened::Share(ticket));
        }
        let opened = self.open(destination, endpoint).await;
        let outcome = if opened.is_ok() { "opened" } else { "failed" };
        self.connections.with_label_values(&[destination.name.as_str(), outcome]).inc();
        opened
    }

    async fn open(
        &self,
        destination: &Destination,
        endpoint: &Endpoint,
    ) -> Result<Opened, UpstreamError> {
        let began = Instant::now();
        let connected = connected(destination, endpoint)?;
        let stream = connect(destination, endpoint, None).await?;
        let transport = &destination.transport;
        if transport.secured.is_some() && !stream.agreed_on_http2() {
            if transport.http2 == UpstreamHttp2::Auto {
                let link = Link::over(stream, connected, (destination, endpoint));
                return Ok(Opened::Link(Box::new(link)));
            }
            return Err(UpstreamError::Connect(std::io::Error::other(DISAGREED)));
        }
        let deadline = began + destination.connect_timeout;
        let (send, connection) = tokio::time::timeout_at(deadline.into(), begin(stream))
            .await
            .map_err(|_| UpstreamError::ConnectTimeout)?
            .map_err(UpstreamError::Connect)?;
        let is_over = Arc::new(AtomicBool::new(false));
        (self.drive)(Box::pin(run(connection, connected, Over(Arc::clone(&is_over)))));
        let share = Share {
            send,
            seats: Arc::new(()),
            is_over,
            secured: transport.secured.clone(),
            idle_since: Instant::now(),
            idle_timeout: destination.idle_timeout,
            expires: expiry(endpoint),
        };
        let ticket = share.ticket(false);
        self.with_slot(endpoint.slot, |slot| slot.shares.push(share));
        Ok(Opened::Share(ticket))
    }

    fn find(&self, destination: &Destination, endpoint: &Endpoint) -> Option<Ticket> {
        self.with_slot(endpoint.slot, |slot| {
            slot.shares.retain_mut(|share| {
                destination.transport.takes(share.secured.as_ref()) && share.is_open()
            });
            let share = slot.shares.iter_mut().find(|share| share.has_room())?;
            share.idle_since = Instant::now();
            Some(share.ticket(true))
        })
    }

    /// Closes connections that were unused for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        for slot in self.lock().iter_mut() {
            slot.shares.retain_mut(|share| !share.is_stale(now) && share.is_open());
        }
    }

    fn turn(&self, slot: usize) -> Arc<Semaphore> {
        self.with_slot(slot, |slot| Arc::clone(&slot.turn))
    }

    fn with_slot<T>(&self, number: usize, act: impl FnOnce(&mut Slot) -> T) -> T {
        let mut slots = self.lock();
        while slots.len() <= number {
            slots.push(Slot { shares: Vec::new(), turn: Arc::new(Semaphore::new(1)) });
        }
        match slots.get_mut(number) {
            Some(slot) => act(slot),
            // Never happens: it was made above.
            None => act(&mut Slot { shares: Vec::new(), turn: Arc::new(Semaphore::new(1)) }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn ticket(&self, is_reused: bool) -> Ticket {
        Ticket {
            send: self.send.clone(),
            _seat: Arc::clone(&self.seats),
            is_over: Arc::clone(&self.is_over),
            is_reused,
        }
    }

    /// Whether another stream may begin on it: neither too old, nor ended, nor about to (GOAWAY).
    fn is_open(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.is_over.load(Ordering::Relaxed)
            && self.expires.is_none_or(|at| Instant::now() < at)
            && !matches!(self.send.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        self.streams() < self.send.current_max_send_streams().min(MOST_STREAMS)
    }

    fn streams(&self) -> usize {
        Arc::strong_count(&self.seats).saturating_sub(1)
    }

    /// When a stream began on it last is told, not when the last one ended: close enough.
    fn is_stale(&self, now: Instant) -> bool {
        self.streams() == 0 && now.saturating_duration_since(self.idle_since) >= self.idle_timeout
    }
}

impl Ticket {
    /// Lets nobody else begin on this connection: it fell silent.
    pub(super) fn give_up(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("is_reused", &self.is_reused).finish_non_exhaustive()
    }
}

/// Says that a connection has ended, however it did.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn run(connection: Connection<Stream, Bytes>, connected: Option<Connected>, over: Over) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to an upstream ended");
    }
    drop((connected, over));
}

/// Begins a connection and waits for the upstream's settings: how many streams it takes is not known before,
/// and some refuse whatever is more.
async fn begin(stream: Stream) -> std::io::Result<(SendRequest<Bytes>, Connection<Stream, Bytes>)> {
    let (send, mut connection) = protocol().handshake(stream).await.map_err(io)?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(io(error))),
        Poll::Pending if send.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((send, connection))
}

/// Asks once, on a connection for nobody else; the status of the answer.
pub(super) async fn ask(stream: Stream, request: Request<()>) -> std::io::Result<u16> {
    let (send, connection) = protocol().handshake::<_, Bytes>(stream).await.map_err(io)?;
    let asking = async {
        let (answer, _) =
            send.ready().await.map_err(io)?.send_request(request, true).map_err(io)?;
        answer.await.map(|answer| answer.status().as_u16()).map_err(io)
    };
    let mut asking = pin!(asking);
    // What is dropped is the connection, once it is of no use any more.
    tokio::select! {
        answer = &mut asking => answer,
        // Every stream of a connection that is over knows what became of it.
        _over = connection => asking.await,
    }
}

fn protocol() -> Builder {
    let mut protocol = Builder::new();
    protocol
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LARGEST_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(0);
    protocol
}

/// What h2 says, as an error of the connection.
fn io(error: h2::Error) -> std::io::Error {
    std::io::Error::other(error)
}

/// Why a connection is of no use where HTTP/2 has to be spoken.
pub(super) const DISAGREED: &str = "the upstream did not agree on HTTP/2";
/// Streams at once on one connection, however many more an upstream allows.
const MOST_STREAMS: usize = 100;
/// Bytes of one answer that nobody has taken yet.
const STREAM_WINDOW: u32 = 64 * 1024;
/// As many as all streams may have: one slow reader must not hold up the others.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;
/// Bytes of one request that wait to be written.
const SEND_BUFFER: usize = 64 * 1024;
/// Largest head of an answer, in bytes, as HTTP/2 counts them.
const LARGEST_HEAD: u32 = 128 * 1024;
