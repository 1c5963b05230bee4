//! One client connection: which protocol it speaks, over whatever stream.

mod first_bytes;
mod http1;
mod http2;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::time::Instant;

use hyper::rt::Read;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::worker::Worker;
use crate::gateway::Crowd;
use crate::inquiry::Peer;
pub(super) use http1::protocol;

/// How long a connection may take over its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a whole head, from its first byte; for the first one, from the connection's opening.
    pub(super) head: Duration,
    /// For the next head to begin, and for the client to take more of its answer.
    pub(super) idle: Duration,
}

/// What carries a connection: a socket, or a session over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the socket below end in a reset: what was sent last is not left to the kernel to keep.
    fn reset_when_closed(&self);

    /// Ready when there may be something to read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Stream for TcpStream {
    fn reset_when_closed(&self) {
        // A socket that refuses has been closed already.
        let _ = self.set_zero_linger();
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(drop)
    }
}

impl Stream for UnixStream {
    fn reset_when_closed(&self) {
        // The kernel keeps nothing back: what is written is the reader's.
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(drop)
    }
}

/// What a connection speaks, as far as it is known before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// Chosen with ALPN.
    Http2,
    /// Its first bytes will tell.
    Either,
}

/// Who is at the other end of a connection, since when, and whether it is served.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: Peer,
    pub(super) at: Instant,
    /// What there is too much of for any request to be served.
    pub(super) crowd: Option<Crowd>,
}

impl Opened {
    /// A connection of `peer` that begins now.
    pub(super) fn by(peer: Peer, crowd: Option<Crowd>) -> Self {
        Self { peer, at: Instant::now(), crowd }
    }
}

/// Serves a connection to its end; one that opens while the worker drains serves one request.
pub(super) async fn serve<S: Stream>(
    stream: S,
    protocol: Protocol,
    opened: Opened,
    worker: Arc<Worker>,
) -> Result<(), hyper::Error> {
    let patience = worker.patience;
    match protocol {
        Protocol::Http1 => http1::serve(stream, opened, worker, patience).await,
        // Boxed: a connection of HTTP/1.1 is not to be larger for it.
        Protocol::Http2 => Box::pin(http2::serve(stream, opened, worker, patience)).await,
        Protocol::Either => {
            let first = first_bytes::begins_http2(stream);
            match tokio::time::timeout(patience.head, first).await {
                Ok(Ok((stream, true))) => {
                    Box::pin(http2::serve(stream, opened, worker, patience)).await
                }
                Ok(Ok((stream, false))) => http1::serve(stream, opened, worker, patience).await,
                // Gone, or silent for too long.
                Ok(Err(_)) | Err(_) => Ok(()),
            }
        }
    }
}

/// Reads and drops what `stream` still brings, until its end or until nothing is `left` to drop.
fn poll_drop<S: Stream>(
    stream: &mut TokioIo<S>,
    cx: &mut Context<'_>,
    left: &mut usize,
) -> Poll<io::Result<()>> {
    let mut dropped = [0; 4096];
    while *left > 0 {
        let mut buf = hyper::rt::ReadBuf::new(&mut dropped);
        ready!(Pin::new(&mut *stream).poll_read(cx, buf.unfilled()))?;
        *left = match buf.filled().len() {
            0 => 0,
            read => left.saturating_sub(read),
        };
    }
    Poll::Ready(Ok(()))
}

/// Bytes of an unread body or of frames that are read and dropped while closing.
const LINGER_BYTES: usize = 1024 * 1024;
/// How long that may take.
const LINGER_FOR: Duration = Duration::from_secs(1);
