//! The body of a request on its way into a stream, as far as flow control lets it.
//!
//! The beginning is kept until an answer comes: the upstream may say that it did nothing about the request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Body as _;

use crate::upstream::body::{BodyFault, RequestBody};

/// What is still to be sent of a request's body.
#[derive(Debug)]
pub(in crate::upstream) struct Pump {
    /// What was not taken yet; none once all was.
    body: Option<RequestBody>,
    /// What follows it.
    trailers: Option<HeaderMap>,
    /// Taken from the body, or from what was kept of it, and not yet sent.
    piece: Bytes,
    kept: Kept,
    is_empty: bool,
    is_done: bool,
    waits_for_client: bool,
    /// How often the stream took bytes.
    pub(super) writes: u64,
}

/// All that was taken from the body, unless it was too much.
#[derive(Debug, Default)]
struct Kept {
    pieces: Vec<Bytes>,
    size: usize,
    /// The one to be sent next.
    next: usize,
    /// Whether some of it is missing.
    is_partial: bool,
}

/// Why no more is sent.
#[derive(Debug)]
pub(super) enum Fault {
    /// The stream takes no more.
    Stream,
    /// The body has no more to give.
    Body(BodyFault),
}

impl Pump {
    pub(in crate::upstream) fn new(body: RequestBody) -> Self {
        let is_empty = body.is_empty();
        Self {
            body: (!is_empty).then_some(body),
            trailers: None,
            piece: Bytes::new(),
            kept: Kept::default(),
            is_empty,
            is_done: is_empty,
            waits_for_client: false,
            writes: 0,
        }
    }

    /// Whether there is nothing left to send.
    pub(in crate::upstream) const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether anything was taken from the body.
    pub(in crate::upstream) const fn has_begun(&self) -> bool {
        let is_all_taken = self.body.is_none() && !self.is_empty;
        is_all_taken || self.kept.is_partial || !self.kept.pieces.is_empty()
    }

    /// Whether all of it can be sent anew.
    pub(in crate::upstream) const fn is_kept(&self) -> bool {
        !self.kept.is_partial
    }

    /// Starts over, for another stream; only of what is kept.
    pub(in crate::upstream) fn rewind(&mut self) {
        self.piece = Bytes::new();
        self.kept.next = 0;
        self.is_done = self.is_empty;
        self.hold();
    }

    /// It is not the client who is waited for.
    fn hold(&mut self) {
        if let Some(body) = &mut self.body {
            body.hold();
        }
    }

    /// The upstream said something.
    pub(super) fn answered(&mut self) {
        if let Some(body) = &mut self.body {
            body.answered();
        }
    }

    /// Nobody will ask for it again.
    pub(in crate::upstream) fn forget(&mut self) {
        self.kept.forget();
    }

    /// The body, when nothing was taken from it.
    pub(in crate::upstream) fn into_body(self) -> RequestBody {
        self.body.unwrap_or_else(RequestBody::empty)
    }

    /// Whether it is the client for whose next piece everything waits.
    pub(super) const fn waits_for_client(&self) -> bool {
        self.waits_for_client
    }

    /// Sends the piece at hand; what the stream does not take is waited for, and no client.
    fn poll_piece_or_hold(
        &mut self,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let sent = self.poll_piece(stream, cx);
        if sent.is_pending() {
            self.hold();
        }
        sent
    }

    /// Sends on until everything is sent, the stream takes no more, or the body has none.
    pub(super) fn poll(
        &mut self,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        while !self.is_done {
            if !self.piece.is_empty() {
                ready!(self.poll_piece_or_hold(stream, cx))?;
                continue;
            }
            if let Some(piece) = self.kept.take_next() {
                self.piece = piece;
                continue;
            }
            let Some(body) = self.body.as_mut() else { return Poll::Ready(self.finish(stream)) };
            self.waits_for_client = true;
            let frame = ready!(Pin::new(body).poll_frame(cx));
            self.waits_for_client = false;
            match frame.transpose() {
                Ok(frame) => self.take(frame),
                Err(fault) => {
                    // Half a body must not be taken for a whole one.
                    stream.send_reset(Reason::CANCEL);
                    self.is_done = true;
                    self.kept.give_up();
                    return Poll::Ready(Err(Fault::Body(fault)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, frame: Option<http_body::Frame<Bytes>>) {
        let Some(frame) = frame else {
            self.body = None;
            return;
        };
        match frame.into_data() {
            Ok(data) => {
                self.kept.keep(&data);
                self.piece = data;
            }
            Err(frame) => {
                self.body = None;
                self.trailers = frame.into_trailers().ok();
            }
        }
    }

    fn finish(&mut self, stream: &mut SendStream<Bytes>) -> Result<(), Fault> {
        self.is_done = true;
        let sent = match &self.trailers {
            Some(trailers) => stream.send_trailers(trailers.clone()),
            None => stream.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| Fault::Stream)
    }

    fn poll_piece(
        &mut self,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        stream.reserve_capacity(self.piece.len());
        let Some(Ok(room)) = ready!(stream.poll_capacity(cx)) else {
            self.is_done = true;
            return Poll::Ready(Err(Fault::Stream));
        };
        let part = self.piece.split_to(room.min(self.piece.len()));
        // Known to be the last one, it needs no empty frame behind it.
        self.is_done = self.piece.is_empty()
            && self.kept.is_sent()
            && self.trailers.is_none()
            && self.body.as_ref().is_none_or(http_body::Body::is_end_stream);
        self.writes += 1;
        Poll::Ready(stream.send_data(part, self.is_done).map_err(|_| Fault::Stream))
    }
}

impl Kept {
    fn keep(&mut self, piece: &Bytes) {
        self.size = self.size.saturating_add(piece.len()).saturating_add(PIECE_OVERHEAD);
        if self.size > MOST_KEPT {
            self.give_up();
        }
        if !self.is_partial {
            self.pieces.push(piece.clone());
            self.next = self.pieces.len();
        }
    }

    fn take_next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.next)?.clone();
        self.next += 1;
        Some(piece)
    }

    const fn is_sent(&self) -> bool {
        self.next >= self.pieces.len()
    }

    fn give_up(&mut self) {
        *self = Self { is_partial: true, ..Self::default() };
    }

    /// Keeps what is still to be sent.
    fn forget(&mut self) {
        self.is_partial = true;
        self.pieces.drain(..self.next);
        self.next = 0;
    }
}

/// Bytes that are kept of one request, at the most.
const MOST_KEPT: usize = 64 * 1024;
/// What each piece costs beside its bytes.
const PIECE_OVERHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sizes: &[usize]) -> Kept {
        let mut kept = Kept::default();
        for size in sizes {
            kept.keep(&Bytes::from(vec![0; *size]));
        }
        kept
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_in_pieces() {
        let most = MOST_KEPT - PIECE_OVERHEAD;
        for (sizes, is_kept) in [
            (&[][..], true),
            (&[most], true),
            (&[most + 1], false),
            (&[most - PIECE_OVERHEAD - 1, 1], true),
            (&[most - PIECE_OVERHEAD, 1], false),
            (&[1; 1000], true),
            (&[1; 1020], false),
            (&[most + 1, 1], false),
        ] {
            let kept = kept(sizes);
            assert_eq!(!kept.is_partial, is_kept, "{sizes:?}");
            assert_eq!(kept.pieces.len(), if is_kept { sizes.len() } else { 0 });
            assert!(kept.is_sent());
        }
    }

    #[test]
    fn what_is_forgotten_is_sent_all_the_same() {
        let mut kept = kept(&[1, 2, 3]);
        kept.next = 0;
        assert_eq!(kept.take_next().unwrap().len(), 1);
        kept.forget();
        assert!(kept.is_partial && !kept.is_sent());
        assert_eq!([kept.take_next(), kept.take_next()].map(|piece| piece.unwrap().len()), [2, 3]);
        kept.keep(&Bytes::from_static(b"more"));
        assert!(kept.take_next().is_none());
    }
}
