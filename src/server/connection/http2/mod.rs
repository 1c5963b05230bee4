//! HTTP/2 to a client: one connection, its streams, and when either has lasted long enough.
//!
//! hyper and h2 keep the protocol; every number they are given has a name. Streams are tasks of a set
//! that the connection owns, so that none outlives it.

mod head;
mod lingering;
mod rest;
mod stream;
mod tunnel;

use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::time::Instant;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::time::Sleep;

use super::LINGER_FOR;
use super::Opened;
use super::Patience;
use super::Stream;
use crate::config::Http2Settings;
use crate::server::worker::Worker;
use lingering::Lingering;
use stream::{Client, Streams};

/// Serves a connection to its end.
pub(super) async fn serve<S: Stream>(
    stream: S,
    opened: Opened,
    worker: Arc<Worker>,
    patience: Patience,
) -> Result<(), hyper::Error> {
    let (opened_at, is_served) = (opened.at, opened.crowd.is_none());
    let client = Arc::new(Client::new(Arc::clone(&worker), opened));
    let streams = Streams::new(Arc::clone(&client), patience.idle);
    let service = service_fn(|request: Request<Incoming>| client.begin(request));
    let protocol = protocol(worker.http2, streams.executor());
    let mut connection = pin!(protocol.serve_connection(Lingering::new(stream), service));
    let mut draining = pin!(worker.draining.notified());
    let mut life = Life::new(opened_at, patience);
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        let is_busy = streams.poll_reap(cx, &worker);
        if client.is_tiresome() {
            return Poll::Ready(Ok(()));
        }
        life.note(is_busy, client.has_begun());
        // Polled once to leave the waker; later the flag alone is read.
        let is_draining =
            !is_served || worker.is_draining() || draining.as_mut().poll(cx).is_ready();
        loop {
            if is_draining {
                life.close();
            }
            match life.poll_next(cx) {
                Next::Wait => return Poll::Pending,
                Next::End => return Poll::Ready(Ok(())),
                Next::SayGoodbye => connection.as_mut().graceful_shutdown(),
            }
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
        }
    })
    .await
}

fn protocol(
    settings: Http2Settings,
    executor: stream::Executor,
) -> http2::Builder<stream::Executor> {
    let mut protocol = http2::Builder::new(executor);
    protocol
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams)
        .max_pending_accept_reset_streams(settings.resets)
        .max_local_error_reset_streams(settings.resets)
        .max_frame_size(settings.frame)
        .max_header_list_size(LARGEST_HEAD)
        .header_table_size(HEADER_TABLE)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .adaptive_window(false)
        .max_send_buf_size(settings.send_buffer)
        .keep_alive_interval(settings.keep_alive)
        .keep_alive_timeout(PONG_WITHIN);
    if settings.websockets {
        protocol.enable_connect_protocol();
    }
    protocol
}

/// How far a connection is, and what it waits for.
struct Life {
    patience: Patience,
    /// Since when nothing is under way; none while something is.
    idle_since: Option<Instant>,
    /// Whether a request ever came.
    has_begun: bool,
    closing: Closing,
    alarm: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Wanted,
    /// The client was told so at this time.
    Told(Instant),
}

/// What the connection has to do.
enum Next {
    Wait,
    SayGoodbye,
    End,
}

impl Life {
    fn new(opened: Instant, patience: Patience) -> Self {
        Self {
            patience,
            idle_since: Some(opened),
            has_begun: false,
            closing: Closing::No,
            alarm: Box::pin(tokio::time::sleep_until((opened + patience.head).into())),
        }
    }

    /// Pings and settings are no use of a connection: only requests make it busy.
    fn note(&mut self, is_busy: bool, has_begun: bool) {
        self.has_begun = has_begun;
        match (is_busy, self.idle_since) {
            (true, _) => self.idle_since = None,
            (false, None) => self.idle_since = Some(Instant::now()),
            (false, Some(_)) => {}
        }
    }

    fn close(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::Wanted;
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Next {
        if self.closing == Closing::Wanted {
            self.closing = Closing::Told(Instant::now());
            return Next::SayGoodbye;
        }
        loop {
            let Some(due) = self.due() else { return Next::Wait };
            let now = Instant::now();
            match self.closing {
                _ if due > now => {}
                Closing::No | Closing::Wanted => {
                    self.closing = Closing::Told(now);
                    return Next::SayGoodbye;
                }
                Closing::Told(_) => return Next::End,
            }
            // Moved when it fires, or when what it waits for comes sooner: busy connections leave it.
            if self.alarm.is_elapsed() || self.alarm.deadline() > due.into() {
                self.alarm.as_mut().reset(due.into());
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Next::Wait;
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        let since = self.idle_since?;
        Some(match self.closing {
            // A client that does not take its leave is not waited for.
            Closing::Told(at) => at.max(since) + LINGER_FOR,
            _ if self.has_begun => since + self.patience.idle,
            _ => since + self.patience.head,
        })
    }
}

/// Stands above every bound of ours, so that too long a target or header is refused with a document;
/// h2 refuses bare what is larger still, and keeps no more of it.
const LARGEST_HEAD: u32 = 128 * 1024;
/// What a client may make us remember of its header fields (RFC 7541 §4.2).
const HEADER_TABLE: u32 = 4096;
/// How long a client may take to say that it is still there.
const PONG_WITHIN: Duration = Duration::from_secs(20);
