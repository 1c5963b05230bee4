//! The body of a request on its way into a stream, as far as flow control lets it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use crate::upstream::body::{BodyFault, RequestBody};

/// What is still to be sent of a request's body.
#[derive(Debug)]
pub(in crate::upstream) struct Pump {
    body: Option<RequestBody>,
    /// Taken from the body and not yet sent.
    piece: Bytes,
    /// Whether anything was taken from the body: what was taken cannot be sent again.
    has_begun: bool,
    waits_for_client: bool,
    /// How often the stream took bytes.
    pub(super) writes: u64,
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
        let body = (!body.is_empty()).then_some(body);
        let piece = Bytes::new();
        Self { body, piece, has_begun: false, waits_for_client: false, writes: 0 }
    }

    /// Whether there is nothing left to send.
    pub(in crate::upstream) const fn is_done(&self) -> bool {
        self.body.is_none()
    }

    /// Whether all of it could be sent anew.
    pub(in crate::upstream) const fn is_whole(&self) -> bool {
        !self.has_begun
    }

    /// The body, when nothing was taken from it.
    pub(in crate::upstream) fn into_body(self) -> RequestBody {
        self.body.unwrap_or_else(RequestBody::empty)
    }

    /// Whether it is the client for whose next piece everything waits.
    pub(super) const fn waits_for_client(&self) -> bool {
        self.waits_for_client
    }

    /// Sends on until everything is sent, the stream takes no more, or the body has none.
    pub(super) fn poll(
        &mut self,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        while let Some(body) = self.body.as_mut() {
            if !self.piece.is_empty() {
                ready!(self.poll_piece(stream, cx))?;
                continue;
            }
            self.waits_for_client = true;
            let frame = ready!(Pin::new(body).poll_frame(cx));
            self.waits_for_client = false;
            self.has_begun = true;
            match frame {
                Some(Err(fault)) => {
                    // Half a body must not be taken for a whole one.
                    stream.send_reset(Reason::CANCEL);
                    self.body = None;
                    return Poll::Ready(Err(Fault::Body(fault)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(frame) => {
                        self.body = None;
                        let trailers = frame.into_trailers().unwrap_or_default();
                        stream.send_trailers(trailers).map_err(|_| Fault::Stream)?;
                    }
                },
                None => {
                    self.body = None;
                    stream.send_data(Bytes::new(), true).map_err(|_| Fault::Stream)?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_piece(
        &mut self,
        stream: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        stream.reserve_capacity(self.piece.len());
        let Some(Ok(room)) = ready!(stream.poll_capacity(cx)) else {
            self.body = None;
            return Poll::Ready(Err(Fault::Stream));
        };
        let part = self.piece.split_to(room.min(self.piece.len()));
        let is_last =
            self.piece.is_empty() && self.body.as_ref().is_some_and(http_body::Body::is_end_stream);
        if is_last {
            self.body = None;
        }
        self.writes += 1;
        Poll::Ready(stream.send_data(part, is_last).map_err(|_| Fault::Stream))
    }
}
