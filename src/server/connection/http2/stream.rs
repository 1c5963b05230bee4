//! One request of many on a connection: a task of its own, which ends with the connection, or when its
//! client takes nothing of the answer for too long.

use std::convert::Infallible;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::super::Opened;
use super::head;
use super::rest;
use super::tunnel;
use super::tunnel::Writer;
use crate::proxy::{Answer, Switched, Tunnel};
use crate::server::worker::Worker;
use crate::upstream::{AnswerFault, Arriving, Rest};

/// Who is at the other end of a connection, and what it did so far.
#[derive(Debug)]
pub(super) struct Client {
    worker: Arc<Worker>,
    opened: Opened,
    begun: AtomicU64,
    abandoned: AtomicU64,
    /// The request whose task is about to be started.
    next: Mutex<Option<Arc<Taking>>>,
    /// What writes to the stream that just became a tunnel.
    writer: Mutex<Option<Writer>>,
}

impl Client {
    pub(super) fn new(worker: Arc<Worker>, opened: Opened) -> Self {
        worker.metrics.http2_connections.inc();
        let (begun, abandoned) = (AtomicU64::new(0), AtomicU64::new(0));
        let (next, writer) = (Mutex::new(None), Mutex::new(None));
        Self { worker, opened, begun, abandoned, next, writer }
    }

    /// Whether a request ever came.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// Whether it mostly asks for what it does not want: each request costs an upstream one, and its
    /// reset costs nothing. h2 counts only resets that come before a request was looked at.
    pub(super) fn is_tiresome(&self) -> bool {
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        abandoned > MOST_ABANDONED && abandoned > self.begun.load(Ordering::Relaxed) / 2
    }

    /// Begins to answer a request.
    pub(super) fn begin(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Taken>, Infallible>> + Send + 'static {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.worker.metrics.http2_requests.inc();
        let taking = Arc::new(Taking::new(Arc::clone(self)));
        *lock(&self.next) = Some(Arc::clone(&taking));
        answer(taking, request)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.worker.metrics.http2_connections.dec();
    }
}

async fn answer(
    taking: Arc<Taking>,
    request: Request<Incoming>,
) -> Result<Response<Taken>, Infallible> {
    #[cfg(test)]
    crate::server::tests::panic_if_asked(&request);
    let (mut parts, body) = request.into_parts();
    head::settle(&mut parts);
    let request = Request::from_parts(parts, taking.hand_on(body));
    let Client { worker, opened, .. } = &*taking.client;
    let mut response = match opened.crowd {
        None => worker.proxy.serve(request, &opened.peer, taking.begun).await,
        Some(crowd) => worker.proxy.turn_away(request, &opened.peer, taking.begun, crowd),
    };
    if let Some(switched) = Switched::take(&mut response) {
        tunnel::agree(&mut response);
        taking.switch(switched);
        return Ok(response.map(|answer| Taken { answer, taking }));
    }
    taking.wait();
    if response.body().is_end_stream() {
        taking.finish();
    }
    Ok(response.map(|answer| Taken { answer, taking }))
}

/// How far a client is with taking an answer. Told by the answer, asked by the task around it: hyper
/// asks for more of an answer only once the client has room for it.
#[derive(Debug)]
struct Taking {
    client: Arc<Client>,
    begun: Instant,
    /// Since when it is the client's turn; zero while it is ours.
    waiting_nanos: AtomicU64,
    is_whole: AtomicBool,
    /// What the stream became.
    tunnel: Mutex<Option<Tunnel>>,
    /// Where the body is left, if there is one.
    rest: OnceLock<Rest>,
}

impl Taking {
    fn new(client: Arc<Client>) -> Self {
        let (waiting_nanos, is_whole) = (AtomicU64::new(0), AtomicBool::new(false));
        let (tunnel, rest) = (Mutex::new(None), OnceLock::new());
        Self { client, begun: Instant::now(), waiting_nanos, is_whole, tunnel, rest }
    }

    /// The body of its request, whose rest is left to this.
    fn hand_on(&self, body: Incoming) -> Arriving {
        if body.is_end_stream() {
            return Arriving::new(body);
        }
        let (arriving, rest) = Arriving::leaving(body);
        self.rest.get_or_init(|| rest);
        arriving
    }

    fn wait(&self) {
        let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waiting_nanos.store(nanos.max(1), Ordering::Relaxed);
    }

    fn work(&self) {
        self.waiting_nanos.store(0, Ordering::Relaxed);
    }

    /// A tunnel has deadlines of its own.
    fn switch(&self, tunnel: Tunnel) {
        self.finish();
        *lock(&self.tunnel) = Some(tunnel);
    }

    fn finish(&self) {
        self.is_whole.store(true, Ordering::Relaxed);
    }

    fn due(&self, patience: Duration) -> Option<Instant> {
        match self.waiting_nanos.load(Ordering::Relaxed) {
            0 => None,
            since => Some(self.begun + Duration::from_nanos(since) + patience),
        }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        if !self.is_whole.load(Ordering::Relaxed) {
            self.client.abandoned.fetch_add(1, Ordering::Relaxed);
            self.client.worker.metrics.http2_abandoned.inc();
        }
    }
}

/// An answer that tells [`Taking`] whose turn it is.
#[derive(Debug)]
pub(super) struct Taken {
    answer: Answer,
    taking: Arc<Taking>,
}

impl Body for Taken {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        let piece = Pin::new(&mut self.answer).poll_frame(cx);
        match &piece {
            Poll::Pending => self.taking.work(),
            Poll::Ready(Some(Ok(_))) => self.taking.wait(),
            // An answer that breaks off is the upstream's doing.
            Poll::Ready(None | Some(Err(_))) => self.taking.finish(),
        }
        if self.answer.is_end_stream() {
            self.taking.finish();
        }
        piece
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

/// The tasks of one connection; they end when it is dropped.
#[derive(Debug)]
pub(super) struct Streams {
    tasks: Arc<Mutex<JoinSet<()>>>,
    client: Arc<Client>,
    patience: Duration,
}

impl Streams {
    pub(super) fn new(client: Arc<Client>, patience: Duration) -> Self {
        Self { tasks: Arc::default(), client, patience }
    }

    /// What hyper starts them with.
    pub(super) fn executor(&self) -> Executor {
        Executor {
            tasks: Arc::downgrade(&self.tasks),
            client: Arc::clone(&self.client),
            patience: self.patience,
        }
    }

    /// Takes away what has ended; tells whether anything is under way.
    pub(super) fn poll_reap(&self, cx: &mut Context<'_>, worker: &Worker) -> bool {
        let mut tasks = lock(&self.tasks);
        while let Poll::Ready(Some(ended)) = tasks.poll_join_next(cx) {
            if ended.is_err_and(|error| error.is_panic()) {
                worker.panicked();
            }
        }
        !tasks.is_empty()
    }
}

/// Starts a task for each stream. It does not own them: each of them has a copy.
#[derive(Clone, Debug)]
pub(super) struct Executor {
    tasks: Weak<Mutex<JoinSet<()>>>,
    client: Arc<Client>,
    patience: Duration,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        // hyper starts a stream right after it was begun. What it starts besides writes to a stream
        // that just became a tunnel, and is driven by that one's own task.
        let taking = lock(&self.client.next).take();
        match (self.tasks.upgrade(), taking) {
            (Some(tasks), Some(taking)) => {
                lock(&tasks).spawn(run(stream, taking, self.patience));
            }
            (Some(_), None) => *lock(&self.client.writer) = Some(Writer::new(stream)),
            (None, _) => {}
        }
    }
}

/// How a stream ended.
enum End {
    /// With its answer, or with what writes to the tunnel that it became.
    Over(Option<Writer>),
    /// Its client was too slow.
    GivenUp,
}

/// Runs a stream to its end, and what it became to its own.
async fn run(stream: impl Future<Output = ()>, taking: Arc<Taking>, patience: Duration) {
    // Taken before another stream can become a tunnel: all of them are polled by one thread.
    let End::Over(writer) = take(stream, &taking, patience).await else { return };
    let tunnel = lock(&taking.tunnel).take();
    if let (Some(tunnel), Some(writer)) = (tunnel, writer) {
        // Boxed: streams are many, and hardly any becomes a tunnel.
        Box::pin(tunnel::run(tunnel, writer)).await;
    } else if let Some(left) = taking.rest.get().and_then(Rest::take) {
        Box::pin(rest::ignore(left)).await;
    }
}

/// Runs a stream to its end, or until its client has taken nothing for too long; dropped, it is reset.
async fn take(stream: impl Future<Output = ()>, taking: &Taking, patience: Duration) -> End {
    let mut stream = pin!(stream);
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Over(lock(&taking.client.writer).take()));
        }
        while let Some(due) = taking.due(patience) {
            let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if due <= Instant::now() {
                return Poll::Ready(End::GivenUp);
            }
            alarm.as_mut().reset(due.into());
        }
        Poll::Pending
    })
    .await
}

/// A panic under one of these locks leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests of one connection that may end before their answer is whole, if they are most of them.
const MOST_ABANDONED: u64 = 500;
