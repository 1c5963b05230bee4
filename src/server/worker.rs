//! A worker: one thread, one single-threaded runtime, one listener, connections of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection;
use super::connection::{Opened, Patience, Protocol, Stream};
use super::listen::{Accepted, Listener};
use super::proxied;
use super::proxied::Told;
use super::room::{Crowded, Doorstep, Place, Room, Seat};
use super::tls;
use super::tls::{LiveTls, Tls};
use crate::config::Http2Settings;
use crate::gateway::Crowd;
use crate::inquiry::Origin;
use crate::inquiry::Peer;
use crate::inquiry::TrustedProxies;
use crate::proxy::Proxy;
use crate::telemetry::Metrics;
use crate::upstream::Drive;

/// What the connections of one worker share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) proxy: Proxy,
    pub(super) draining: Notify,
    /// Has one connection that nobody uses end, the one that waits longest.
    pub(super) wanted: Notify,
    is_draining: AtomicBool,
    pub(super) metrics: Metrics,
    room: Arc<Room>,
    pub(super) patience: Patience,
    pub(super) http2: Http2Settings,
    /// Who must tell for whom it connects.
    proxied: Arc<TrustedProxies>,
    tls: Option<Arc<LiveTls>>,
}

/// How a worker treats connections.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) patience: Patience,
    pub(super) http2: Http2Settings,
    /// Who must tell for whom it connects.
    pub(super) proxied: Arc<TrustedProxies>,
}

/// When a worker is to stop.
#[derive(Debug)]
pub(super) struct Stop {
    /// Set once draining begins: the instant at which it ends whatever is still under way.
    pub(super) signal: watch::Receiver<Option<Instant>>,
}

impl Stop {
    /// Waits for the deadline, or for a sooner one that a second order sets.
    async fn patience_ends(&mut self, mut deadline: Instant) {
        // A change comes again when its await is dropped.
        while let Ok(Ok(())) = tokio::time::timeout_at(deadline, self.signal.changed()).await {
            match *self.signal.borrow_and_update() {
                Some(sooner) => deadline = sooner,
                None => return,
            }
        }
    }
}

impl Worker {
    pub(super) fn new(
        proxy: Proxy,
        metrics: Metrics,
        room: Arc<Room>,
        manner: &Manner,
        tls: Option<Arc<LiveTls>>,
    ) -> Self {
        let is_draining = AtomicBool::new(false);
        let Manner { patience, http2, proxied } = manner.clone();
        let (draining, wanted) = (Notify::new(), Notify::new());
        Self { proxy, draining, wanted, is_draining, metrics, room, patience, http2, proxied, tls }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Notes that a request ended in a panic.
    pub(super) fn panicked(&self) {
        self.metrics.panics.inc();
        tracing::error!("a request ended in a panic; its connection or stream was closed");
    }

    /// Accepts and serves until told to stop, then lets what is under way finish.
    pub(super) async fn run(self: Arc<Self>, listener: Listener, mut stop: Stop) {
        let mut connections = JoinSet::new();
        let mut sweep = tokio::time::interval(SWEEP);
        let deadline = loop {
            // Each branch may be dropped at its await: an accept not yet done stays in the backlog, a
            // joined task is gone for good, a tick or a change comes again.
            tokio::select! {
                accepted = listener.accept() => self.accepted(accepted, &mut connections).await,
                Some(ended) = connections.join_next() => self.ended(ended),
                _ = sweep.tick() => self.proxy.upstreams.sweep(),
                changed = stop.signal.changed() => {
                    let deadline = *stop.signal.borrow_and_update();
                    match (deadline, changed) {
                        (Some(deadline), _) => break deadline,
                        (None, Ok(())) => {}
                        // Whoever could tell us is gone: stop at once.
                        (None, Err(_)) => break Instant::now(),
                    }
                }
            }
        };
        self.drain(listener, connections, (deadline, stop)).await;
    }

    async fn drain(
        self: &Arc<Self>,
        listener: Listener,
        mut connections: JoinSet<Result<(), hyper::Error>>,
        (deadline, mut stop): (Instant, Stop),
    ) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.draining.notify_waiters();
        // What the kernel has accepted for us already is ours to answer.
        while let Ok(accepted) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
            self.accepted(accepted, &mut connections).await;
        }
        drop(listener);
        let finished = async {
            while let Some(ended) = connections.join_next().await {
                self.ended(ended);
            }
        };
        // Whichever ends first ends the worker: what the other had begun needs no end.
        let is_finished = tokio::select! {
            () = finished => true,
            () = stop.patience_ends(deadline) => false,
        };
        if !is_finished && !connections.is_empty() {
            tracing::warn!(cut = connections.len(), "requests were cut at the end of the grace");
        }
    }

    async fn accepted(
        self: &Arc<Self>,
        accepted: std::io::Result<Accepted>,
        connections: &mut JoinSet<Result<(), hyper::Error>>,
    ) {
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => return,
            Err(error) => {
                // Out of descriptors or memory: trying again at once would only spin.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                return;
            }
        };
        // Answers are whole messages; waiting to fill a segment only delays them.
        if let Accepted::Tcp(stream, _) = &accepted
            && stream.set_nodelay(true).is_err()
        {
            return;
        }
        // Beyond those who can be told at once that there is no room, connections end without a word.
        let Some(turn) = self.turn() else {
            self.metrics.connections_refused.inc();
            return;
        };
        let worker = Arc::clone(self);
        let (stream, address) = match accepted {
            Accepted::Tcp(stream, address) => (stream, address),
            Accepted::Unix(stream) => {
                connections.spawn(worker.serve_in_clear(stream, Origin::Local, turn));
                return;
            }
        };
        // Two tasks, so that one in clear is not as large as one with a session.
        match self.tls.as_ref().map(|live| live.current()) {
            None => connections.spawn(worker.serve_in_clear(stream, address.into(), turn)),
            Some(tls) => {
                connections.spawn(worker.serve_secured(tls, stream, (address.into(), turn)))
            }
        };
    }

    fn turn(&self) -> Option<Turn> {
        match self.room.enter() {
            Some(place) => Some(Turn::Inside(self.open(place))),
            None => self.room.stand_by().map(Turn::AtTheDoor),
        }
    }

    fn open(&self, place: Place) -> Open {
        let gauge = self.metrics.connections.clone();
        gauge.inc();
        Open { gauge, _place: place }
    }

    async fn serve_in_clear<S: Stream>(
        self: Arc<Self>,
        mut stream: S,
        socket: Origin,
        turn: Turn,
    ) -> Result<(), hyper::Error> {
        let Some((client, admitted)) = self.admit(&mut stream, socket, turn).await else {
            return Ok(());
        };
        match admitted {
            Admitted::Served(_open, _seat) => self.in_clear(stream, client, None).await,
            Admitted::Told(crowd, _doorstep) => {
                told(Box::pin(self.in_clear(stream, client, Some(crowd)))).await
            }
        }
    }

    async fn serve_secured(
        self: Arc<Self>,
        tls: Arc<Tls>,
        mut stream: TcpStream,
        (socket, turn): (Origin, Turn),
    ) -> Result<(), hyper::Error> {
        let Some((client, admitted)) = self.admit(&mut stream, socket, turn).await else {
            return Ok(());
        };
        match admitted {
            Admitted::Served(_open, _seat) => self.secured(tls, stream, client, None).await,
            Admitted::Told(crowd, _doorstep) => {
                told(Box::pin(self.secured(tls, stream, client, Some(crowd)))).await
            }
        }
    }

    async fn in_clear<S: Stream>(
        self: Arc<Self>,
        stream: S,
        client: Origin,
        crowd: Option<Crowd>,
    ) -> Result<(), hyper::Error> {
        let protocol = if self.http2.prior_knowledge { Protocol::Either } else { Protocol::Http1 };
        let opened = Opened::by(Peer::direct(client), crowd);
        connection::serve(stream, protocol, opened, self).await
    }

    async fn secured(
        self: Arc<Self>,
        tls: Arc<Tls>,
        stream: TcpStream,
        client: Origin,
        crowd: Option<Crowd>,
    ) -> Result<(), hyper::Error> {
        let Some((session, peer)) = tls.accept(stream, client).await else { return Ok(()) };
        let protocol = tls::protocol_of(&session);
        connection::serve(session, protocol, Opened::by(peer, crowd), self).await
    }

    /// Who the client is, and whether it is served or only told that it is not; none when it does not
    /// say what it has to, or when too many are being told.
    async fn admit(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        socket: Origin,
        turn: Turn,
    ) -> Option<(Origin, Admitted)> {
        let inside = match turn {
            Turn::Inside(open) => Ok(open),
            Turn::AtTheDoor(doorstep) => self.make_room().await.ok_or(doorstep),
        };
        let open = match inside {
            Ok(open) => open,
            Err(doorstep) => {
                self.metrics.connections_refused.inc();
                let client = self.client_of(stream, socket);
                let client = tokio::time::timeout(TOLD_WITHIN, client).await.ok()??;
                return Some((client, Admitted::Told(Crowd::Everybody, doorstep)));
            }
        };
        let client = self.client_of(stream, socket).await?;
        if let Ok(seat) = self.seat(client) {
            return Some((client, Admitted::Served(open, seat)));
        }
        drop(open);
        self.metrics.connections_refused.inc();
        Some((client, Admitted::Told(Crowd::Address, self.room.stand_by()?)))
    }

    /// Has a connection that nobody uses give its place away: an overload would last as long as idle
    /// clients stay.
    async fn make_room(&self) -> Option<Open> {
        // With none to end now, the next that nobody uses does.
        self.wanted.notify_one();
        tokio::task::yield_now().await;
        Some(self.open(self.room.enter()?))
    }

    /// A place among the connections of a client's network. Trusted proxies come for many clients, and
    /// so does who comes by way of this machine.
    fn seat(&self, client: Origin) -> Result<Option<Seat>, Crowded> {
        let Origin::Address(address) = client else { return Ok(None) };
        self.room.sit(address).or_else(|crowded| {
            let speaks_for_many = self.proxy.live.current().trusted_proxies().trusts(client);
            if speaks_for_many { Ok(None) } else { Err(crowded) }
        })
    }

    /// The client of a connection: who opened it, unless that is one who must tell of another.
    async fn client_of(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        socket: Origin,
    ) -> Option<Origin> {
        if !self.proxied.trusts(socket) {
            return Some(socket);
        }
        // Boxed: a connection of anybody else is not to be larger for it.
        Box::pin(self.client_behind(stream, socket)).await
    }

    /// For whom a proxy connects; none when it does not tell, or not in time.
    async fn client_behind(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        proxy: Origin,
    ) -> Option<Origin> {
        match tokio::time::timeout(self.patience.head, proxied::read(stream)).await {
            Ok(Ok(Told::Client(client))) => Some(client.into()),
            Ok(Ok(Told::Nobody)) => Some(proxy),
            Ok(Err(error)) => {
                self.metrics.malformed.inc();
                tracing::debug!(?proxy, %error, "a connection was refused");
                None
            }
            Err(_) => None,
        }
    }

    fn ended(&self, ended: Result<Result<(), hyper::Error>, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_parse() => {
                self.metrics.malformed.inc();
                tracing::debug!(%error, "malformed request");
            }
            Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
            Err(error) if error.is_panic() => {
                self.panicked();
            }
            Err(_cancelled) => {}
        }
    }
}

/// Runs the connections that requests to upstreams share, on the worker that uses them; they end with it.
pub(super) fn driver() -> Drive {
    let running = Mutex::new(JoinSet::new());
    Box::new(move |connection| {
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(connection);
    })
}

/// Errors of the connection that was to be accepted, not of the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Whether there was room for a connection when it came.
enum Turn {
    Inside(Open),
    AtTheDoor(Doorstep),
}

/// What a connection is let in for, with what is held while it lasts.
enum Admitted {
    Served(Open, Option<Seat>),
    Told(Crowd, Doorstep),
}

/// A connection that is counted until it goes, also when its task is aborted or panics.
struct Open {
    gauge: IntGauge,
    _place: Place,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Tells a client that it is not served, if it listens: one that knows comes back later, one that does
/// not tries again at once.
async fn told(telling: impl Future<Output = Result<(), hyper::Error>>) -> Result<(), hyper::Error> {
    tokio::time::timeout(TOLD_WITHIN, telling).await.unwrap_or(Ok(()))
}

/// How often unused upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a connection may take to be told that there is no room for it.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How long accepting rests after an error of the listener.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
