//! HTTP/1.1 to a client, with deadlines that cost a busy connection nothing, and with little memory for
//! one that nobody uses.

mod activity;

use std::convert::Infallible;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http::Response;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::server::conn::http1::Parts;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus::IntGauge;

use activity::Activity;

use super::super::worker::Worker;
use super::{LINGER_BYTES, LINGER_FOR, Opened, Patience, Stream, poll_drop};
use crate::proxy::{Answer, Over, Switched, Tunnel};
use crate::upstream::{AnswerFault, Arriving};

/// Serves a connection to its end; one that opens while the worker drains serves one request.
pub(super) async fn serve<S: Stream>(
    stream: S,
    opened: Opened,
    worker: Arc<Worker>,
    patience: Patience,
) -> Result<(), hyper::Error> {
    let activity = Arc::new(Activity::new(opened.at));
    let mut io = Watched {
        inner: TokioIo::new(stream),
        read: Bytes::new(),
        whole: Vec::new(),
        activity: Arc::clone(&activity),
        lingering: Lingering::NotYet,
    };
    while io.is_asked(&worker, patience).await {
        // Boxed: what it needs is let go while nobody asks for anything.
        match Box::pin(converse(io, &opened, (&worker, patience))).await? {
            Next::Over => return Ok(()),
            Next::Tunnel(tunnel, mut stream) => {
                let Watched { inner, read, .. } = &mut *stream;
                if tunnel.run(inner.inner_mut(), std::mem::take(read)).await == Over::Broken {
                    activity.is_torn.store(true, Ordering::Relaxed);
                }
                return Ok(());
            }
            Next::Idle(stream) => io = stream,
        }
    }
    Ok(())
}

/// A connection that waits; counted until it goes.
struct Parked<'m>(&'m IntGauge);

impl<'m> Parked<'m> {
    fn counted_by(gauge: &'m IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What becomes of a connection that no longer speaks HTTP for now.
enum Next<S: Stream> {
    Over,
    /// Nobody has asked for anything for a while.
    Idle(Watched<S>),
    Tunnel(Box<Tunnel>, Box<Watched<S>>),
}

/// Speaks HTTP, until that ends or nobody has said anything for a while.
async fn converse<S: Stream>(
    io: Watched<S>,
    opened: &Opened,
    (worker, patience): (&Worker, Patience),
) -> Result<Next<S>, hyper::Error> {
    let mut is_last = worker.is_draining() || opened.crowd.is_some();
    let activity = Arc::clone(&io.activity);
    let switched = Mutex::new(None);
    let service = service_fn(async |request: Request<Incoming>| {
        let mut response = answer((worker, opened), &activity, request).await;
        if let Some(tunnel) = Switched::take(&mut response) {
            switched.lock().unwrap_or_else(PoisonError::into_inner).replace(tunnel);
        }
        Ok::<_, Infallible>(response)
    });
    let mut connection = protocol().keep_alive(!is_last).serve_connection(io, service);
    let mut alarm = pin!(tokio::time::sleep(patience.head));
    let mut draining = pin!(worker.draining.notified());
    // Whether the alarm and the order to drain will wake us: they need not be asked until then.
    let mut will_be_woken = false;
    let is_idle = poll_fn(|cx| {
        if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(outcome.map(|()| false));
        }
        let is_told = !will_be_woken && draining.as_mut().poll(cx).is_ready();
        if !is_last && (is_told || worker.is_draining()) {
            is_last = true;
            Pin::new(&mut connection).graceful_shutdown();
            if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(outcome.map(|()| false));
            }
        }
        // A head that stays unfinished is the only state with a deadline shorter than the alarm's.
        let due = activity.due(patience);
        if let Some(due) = due
            && alarm.deadline() > due.into()
        {
            alarm.as_mut().reset(due.into());
            will_be_woken = false;
        }
        if will_be_woken && !alarm.is_elapsed() {
            return Poll::Pending;
        }
        will_be_woken = true;
        while alarm.as_mut().poll(cx).is_ready() {
            match activity.due(patience) {
                Some(due) if due <= Instant::now() => {
                    activity.give_up();
                    return Poll::Ready(Ok(activity.is_idle()));
                }
                Some(due) => alarm.as_mut().reset(due.into()),
                None => alarm.as_mut().reset((Instant::now() + patience.head).into()),
            }
        }
        Poll::Pending
    });
    let is_idle = is_idle.await?;
    let tunnel = switched.lock().unwrap_or_else(PoisonError::into_inner).take();
    if !is_idle && tunnel.is_none() {
        return Ok(Next::Over);
    }
    let Parts { mut io, read_buf, .. } = connection.into_parts();
    // Still behind what the connection itself had not taken.
    io.read = if io.read.is_empty() { read_buf } else { [&*read_buf, &*io.read].concat().into() };
    if let Some(tunnel) = tunnel {
        return Ok(Next::Tunnel(Box::new(tunnel), Box::new(io)));
    }
    io.whole = Vec::new();
    Ok(Next::Idle(io))
}

/// How HTTP is read from a client, wherever it is.
pub(in crate::server) fn protocol() -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol.max_buf_size(LARGEST_HEAD).header_read_timeout(None);
    protocol
}

async fn answer(
    (worker, opened): (&Worker, &Opened),
    activity: &Arc<Activity>,
    request: Request<Incoming>,
) -> Response<Ending> {
    #[cfg(test)]
    crate::server::tests::panic_if_asked(&request);
    let arrived = activity.begin_request(!request.body().is_end_stream());
    let knows_no_chunks = request.version() == Version::HTTP_10;
    let request = request.map(Arriving::new);
    let response = match opened.crowd {
        None => worker.proxy.serve(request, &opened.peer, arrived).await,
        Some(crowd) => worker.proxy.turn_away(request, &opened.peer, arrived, crowd),
    };
    response.map(|answer| Ending { answer, activity: Arc::clone(activity), knows_no_chunks })
}

/// An answer that tells [`Activity`] when it is over: until then the connection is busy, however
/// long its client takes to read.
#[derive(Debug)]
struct Ending {
    answer: Answer,
    activity: Arc<Activity>,
    knows_no_chunks: bool,
}

impl Body for Ending {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        let this = &mut *self;
        let piece = if this.activity.is_full() {
            // The upstream waits until the client has taken more; whether it may is asked meanwhile.
            match this.answer.stay(cx) {
                Ok(()) => Poll::Pending,
                Err(fault) => Poll::Ready(Some(Err(fault))),
            }
        } else {
            Pin::new(&mut this.answer).poll_frame(cx)
        };
        match &piece {
            Poll::Ready(Some(Ok(frame))) => {
                this.activity.hand(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Ready(Some(Err(_))) if this.knows_no_chunks => {
                this.activity.is_torn.store(true, Ordering::Relaxed);
            }
            _ => {}
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

impl Drop for Ending {
    fn drop(&mut self) {
        self.activity.end_request();
    }
}

/// The socket, telling [`Activity`] when bytes come in, and closing so that the last answer arrives.
#[derive(Debug)]
struct Watched<S: Stream> {
    inner: TokioIo<S>,
    /// What was read and not used; it is read again.
    read: Bytes,
    /// Where short answers are put together.
    whole: Vec<u8>,
    activity: Arc<Activity>,
    lingering: Lingering,
}

/// A socket closed with unread bytes sends a reset, which can overtake the answer (RFC 9112 §9.6).
#[derive(Debug)]
enum Lingering {
    NotYet,
    /// Our side is closed; this many more bytes of theirs are read and dropped.
    Reading(usize),
}

impl<S: Stream> Watched<S> {
    /// Waits for a request to begin; false when none does in time, or none may: once the worker drains,
    /// only the first of a connection that opened later, and none of one whose place is wanted.
    async fn is_asked(&mut self, worker: &Worker, patience: Patience) -> bool {
        if !self.read.is_empty() {
            return true;
        }
        let is_used = self.activity.is_idle();
        let is_late = !is_used && worker.is_draining();
        let patience = if is_used { patience.idle } else { patience.head };
        let patience = self.activity.since() + patience;
        let mut alarm = pin!(tokio::time::sleep_until(patience.into()));
        let mut draining = pin!(worker.draining.notified());
        let mut wanted = pin!(worker.wanted.notified());
        let mut parked = None;
        let is_asked = poll_fn(|cx| {
            // First: a request that has come is answered.
            if self.inner.inner().poll_readable(cx).is_ready() {
                return Poll::Ready(true);
            }
            let is_over = alarm.as_mut().poll(cx).is_ready()
                || !is_late && (worker.is_draining() || draining.as_mut().poll(cx).is_ready())
                || is_used && wanted.as_mut().poll(cx).is_ready();
            parked.get_or_insert_with(|| Parked::counted_by(&worker.metrics.connections_parked));
            if is_over { Poll::Ready(false) } else { Poll::Pending }
        });
        if is_asked.await {
            return true;
        }
        let closing = poll_fn(|cx| Pin::new(&mut self.inner).poll_shutdown(cx));
        // A client that does not let us say so is told by the end of the connection.
        let _ = tokio::time::timeout(LINGER_FOR, closing).await;
        false
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<io::Result<()>> {
        let outcome = poll_drop(&mut self.inner, cx, &mut left);
        self.lingering = Lingering::Reading(left);
        outcome
    }
}

/// RFC 9112 §8: a client of HTTP/1.0 would take the end of the connection for the end of an answer that
/// broke off; a reset it cannot take for one.
impl<S: Stream> Drop for Watched<S> {
    fn drop(&mut self) {
        if self.activity.is_torn.load(Ordering::Relaxed) {
            self.inner.inner().reset_when_closed();
        }
    }
}

impl<S: Stream> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read.is_empty() {
            let length = self.read.len().min(buf.remaining());
            buf.put_slice(&self.read.split_to(length));
            self.activity.read();
            return Poll::Ready(Ok(()));
        }
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if outcome.is_ready() {
            self.activity.read();
        }
        outcome
    }
}

impl<S: Stream> Write for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.activity.took(outcome, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.activity.wrote(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Lingering::Reading(left) = self.lingering {
            return self.poll_linger(cx, left);
        }
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        if !self.activity.had_body.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        self.activity.linger();
        self.poll_linger(cx, LINGER_BYTES)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A head and a short body: one plain write of their copy costs the kernel less than two pieces.
        let this = &mut *self;
        let outcome = if gather(bufs, &mut this.whole) {
            Pin::new(&mut this.inner).poll_write(cx, &this.whole)
        } else {
            Pin::new(&mut this.inner).poll_write_vectored(cx, bufs)
        };
        self.activity.took(outcome, cx)
    }
}

/// Copies all of `bufs` behind one another, when they are few bytes; false when they are more.
fn gather(bufs: &[io::IoSlice<'_>], whole: &mut Vec<u8>) -> bool {
    whole.clear();
    for buf in bufs {
        if buf.len() > COPIED - whole.len() {
            return false;
        }
        whole.extend_from_slice(buf);
    }
    true
}

/// Answers up to this many bytes are written in one piece.
const COPIED: usize = 2048;

/// Stands above every bound of ours, so that too long a target or header is refused with a document;
/// hyper refuses bare what is larger still.
const LARGEST_HEAD: usize = 128 * 1024;
