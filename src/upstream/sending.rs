//! A request on its way out: its head, then its body piece by piece, each written before the next is asked for.

use std::io;
use std::io::IoSlice;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::body::{BodyFault, RequestBody};
use super::head;
use super::head::Framing;
use super::stream::Stream;
use crate::gateway::Sealed;

/// What is still to be written of a request.
#[derive(Debug)]
pub(super) struct Sending {
    /// The head, and small pieces of the body with it.
    out: Vec<u8>,
    /// How much of `out` is written.
    written: usize,
    /// A large piece of the body, written after `out` without being copied.
    piece: Bytes,
    /// Written after `piece`.
    tail: &'static [u8],
    body: Option<RequestBody>,
    framing: Framing,
    /// Whether the connection may hold back some of what it took.
    is_held: bool,
    /// How often the connection took bytes.
    writes: u64,
}

/// Why sending failed.
#[derive(Debug)]
pub(super) enum SendFault {
    /// The connection takes no more.
    Connection(io::Error),
    /// The body has no more to give.
    Body(BodyFault),
}

impl Sending {
    pub(super) fn new(sealed: &Sealed, body: RequestBody) -> Self {
        let mut out = Vec::with_capacity(USUAL_HEAD);
        let framing = head::write(&mut out, &sealed.parts, &sealed.ours, !body.is_empty());
        let body = (!body.is_empty()).then_some(body);
        let piece = Bytes::new();
        Self { out, written: 0, piece, tail: b"", body, framing, is_held: false, writes: 0 }
    }

    /// Whether all of it is written.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_none() && self.is_flushed() && !self.is_held
    }

    /// Whether the connection took any byte of it.
    pub(super) const fn has_begun(&self) -> bool {
        self.writes > 0
    }

    /// How often the connection took bytes: while this grows, the upstream is alive.
    pub(super) const fn writes(&self) -> u64 {
        self.writes
    }

    /// Whether it is the client for whose next piece everything waits.
    pub(super) fn waits_for_client(&self) -> bool {
        self.body.is_some() && self.is_flushed() && !self.is_held
    }

    /// Starts over, for another connection; only of a request whose whole text is still here.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
        self.writes = 0;
        self.is_held = false;
    }

    /// Writes on until everything is written, the connection takes no more, or the body has none.
    pub(super) fn poll(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendFault>> {
        loop {
            // The first piece of a body goes out with the head, if it is there already.
            let may_fill = self.written == 0 || self.is_flushed();
            let filled = if may_fill { self.poll_fill(cx)? } else { Poll::Pending };
            match filled {
                Poll::Ready(true) => continue,
                Poll::Ready(false) if self.is_flushed() => return self.poll_flush(stream, cx),
                Poll::Pending if self.is_flushed() => {
                    ready!(self.poll_flush(stream, cx))?;
                    return Poll::Pending;
                }
                Poll::Ready(false) | Poll::Pending => {}
            }
            let written = self.poll_write(stream, cx);
            if let (Poll::Pending, Some(body)) = (&written, &mut self.body) {
                body.hold();
            }
            ready!(written).map_err(SendFault::Connection)?;
        }
    }

    /// Has the connection send what it held back.
    fn poll_flush(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendFault>> {
        if self.is_held {
            ready!(Pin::new(stream).poll_flush(cx)).map_err(SendFault::Connection)?;
            self.is_held = false;
        }
        Poll::Ready(Ok(()))
    }

    fn is_flushed(&self) -> bool {
        self.written >= self.out.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Takes the next piece of the body; whether another might be taken before writing.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Result<Poll<bool>, SendFault> {
        let has_room = self.piece.is_empty() && self.tail.is_empty() && self.out.len() < GATHERED;
        let Some(body) = self.body.as_mut().filter(|_| has_room || self.written > 0) else {
            return Ok(Poll::Ready(false));
        };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Ok(Poll::Pending) };
        if self.written > 0 {
            // Everything before is written.
            self.out.clear();
            self.written = 0;
        }
        match frame {
            Some(Err(fault)) => return Err(SendFault::Body(fault)),
            Some(Ok(frame)) => self.add(frame),
            None => self.add_end(&HeaderMap::new()),
        }
        Ok(Poll::Ready(true))
    }

    fn add(&mut self, frame: Frame<Bytes>) {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.add_end(&trailers);
                }
                return;
            }
        };
        if data.is_empty() {
            return;
        }
        let is_chunked = self.framing == Framing::Chunked;
        if is_chunked {
            let _ = write!(self.out, "{:x}\r\n", data.len());
        }
        if data.len() <= GATHERED {
            self.out.extend_from_slice(&data);
            if is_chunked {
                self.out.extend_from_slice(b"\r\n");
            }
        } else {
            self.piece = data;
            self.tail = if is_chunked { b"\r\n" } else { b"" };
        }
        if self.framing != Framing::Chunked
            && self.body.as_ref().is_some_and(http_body::Body::is_end_stream)
        {
            self.body = None;
        }
    }

    fn add_end(&mut self, trailers: &HeaderMap) {
        self.body = None;
        if self.framing == Framing::Chunked {
            self.out.extend_from_slice(b"0\r\n");
            for (name, value) in trailers {
                head::write_field(&mut self.out, name, value);
            }
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_held = stream.holds_back();
        let out = self.out.get(self.written..).unwrap_or_default();
        let stream = Pin::new(stream);
        let count = if self.piece.is_empty() && self.tail.is_empty() {
            ready!(stream.poll_write(cx, out))?
        } else {
            let slices = [IoSlice::new(out), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            ready!(stream.poll_write_vectored(cx, &slices))?
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.writes += 1;
        self.advance(count);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let of_out = count.min(self.out.len().saturating_sub(self.written));
        self.written += of_out;
        let of_piece = (count - of_out).min(self.piece.len());
        self.piece.advance(of_piece);
        let of_tail = count - of_out - of_piece;
        self.tail = self.tail.get(of_tail..).unwrap_or_default();
    }
}

/// Room for the head of most requests, in bytes.
const USUAL_HEAD: usize = 1024;
/// Pieces of a body up to this size are copied behind one another and written at once.
const GATHERED: usize = 8 * 1024;
