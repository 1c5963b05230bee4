//! The body of an answer over HTTP/1.1 on its way down; it holds the connection and gives it back at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::BodyFault;
use super::chunked::{BrokenChunk, Chunked, Piece};
use super::head::Framing;
use super::link::Link;
use super::pool::Pools;
use super::sending::{SendFault, Sending};
use super::several::Escort;
use super::tunnel::Tunnel;
use crate::gateway::Destination;

/// Why an answer that had begun could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// The connection failed.
    #[error("the connection to the upstream failed")]
    Connection(#[source] std::io::Error),
    /// The next piece, or the whole, did not come in time.
    #[error("the upstream fell silent within its answer")]
    Late,
    /// The deadline that the client itself had set passed.
    #[error("the client's own deadline passed within the answer")]
    Deadline,
    /// The connection ended before the body did.
    #[error("the upstream ended the answer early")]
    Cut,
    /// The body is not the coding it says to be.
    #[error("the answer's body is broken")]
    Coding(#[from] BrokenChunk),
    /// The caller may not stay.
    #[error("the caller's credentials are not good any more")]
    Revoked,
    /// The request's own body could not be read to its end while the answer was under way.
    #[error("the request body ended early: {0}")]
    RequestBody(BodyFault),
}

impl AnswerFault {
    /// Whether it tells of a fault of the endpoint's.
    pub(super) const fn is_of_endpoint(&self) -> bool {
        !matches!(self, Self::RequestBody(_) | Self::Deadline)
    }
}

/// The body of an answer over HTTP/1.1.
#[derive(Debug)]
pub(super) struct LinkBody {
    state: State,
    source: Option<Box<Source>>,
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
enum State {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    /// Not read here, but by [`Tunnel`].
    Tunnel,
    Done,
}

/// Where the body comes from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) link: Box<Link>,
    /// What of the request is still to be sent: an answer may begin before the request has ended.
    pub(super) sending: Sending,
    pub(super) pools: Arc<Pools>,
    pub(super) destination: Arc<Destination>,
    /// Whether another request may follow.
    pub(super) keeps_alive: bool,
    /// Of an upstream whose requests are counted.
    pub(super) escort: Option<Box<Escort>>,
}

impl LinkBody {
    pub(super) fn new(framing: Framing, source: Source) -> Self {
        let state = match framing {
            Framing::Empty => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::Size),
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Tunnel,
        };
        let mut body = Self { state, source: Some(Box::new(source)) };
        if matches!(body.state, State::Done) {
            body.end();
        }
        body
    }

    /// The connection behind an answer that switched protocols.
    pub(super) fn into_tunnel(self) -> Option<Tunnel> {
        match (self.state, self.source) {
            (State::Tunnel, Some(source)) => Some(Tunnel::new(*source)),
            _ => None,
        }
    }

    /// The message is over: its connection is free, when both sides agree that it is.
    fn end(&mut self) {
        self.state = State::Done;
        let Some(mut source) = self.source.take() else { return };
        if let Some(escort) = &mut source.escort {
            escort.load.succeeded();
        }
        if source.keeps_alive && source.sending.is_done() {
            source.pools.give_back(&source.destination, source.link);
        }
    }

    /// Half an answer is a failure of whoever gave it, unless the client's own body broke.
    fn fail(&mut self, fault: &AnswerFault) {
        if let Some(mut source) = self.source.take()
            && let Some(escort) = &mut source.escort
            && fault.is_of_endpoint()
        {
            escort.load.failed(Instant::now());
        }
    }

    /// What the bytes read so far hold.
    fn take(&mut self) -> Result<Piece, AnswerFault> {
        let Some(source) = self.source.as_mut() else { return Ok(Piece::End(HeaderMap::new())) };
        let read = &mut source.link.read;
        match &mut self.state {
            State::Done | State::Tunnel => Ok(Piece::End(HeaderMap::new())),
            State::Chunked(coding) => Ok(coding.take(read)?),
            _ if read.is_empty() => Ok(Piece::More),
            State::UntilClose => Ok(Piece::Data(read.split().freeze())),
            State::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left = left.saturating_sub(u64::try_from(take).unwrap_or(*left));
                Ok(Piece::Data(read.split_to(take).freeze()))
            }
        }
    }

    /// Sends what is left of the request and reads more of the answer.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AnswerFault>> {
        let Some(source) = self.source.as_mut() else { return Poll::Ready(Err(AnswerFault::Cut)) };
        // An upstream that reads no further does not spoil an answer that has begun. A body that broke
        // does: asked again it would seem to be over, and half of it would be sent as a whole one.
        if let Poll::Ready(Err(SendFault::Body(fault))) =
            source.sending.poll(&mut source.link.stream, cx)
        {
            return Poll::Ready(Err(AnswerFault::RequestBody(fault)));
        }
        let read = source.link.poll_read(cx);
        if let Some(escort) = &mut source.escort {
            if read.is_ready() {
                escort.late_at = None;
            } else if let Some(deadline) = escort.deadline() {
                ready!(source.link.poll_alarm(deadline, cx));
                return Poll::Ready(Err(escort.lateness()));
            }
        }
        match ready!(read) {
            Ok(0) if matches!(self.state, State::UntilClose) => {
                self.end();
                Poll::Ready(Ok(()))
            }
            Ok(0) => Poll::Ready(Err(AnswerFault::Cut)),
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(AnswerFault::Connection(error))),
        }
    }

    /// Ready once each [`LOOK_EVERY`](super::LOOK_EVERY), while it is asked; never after the end.
    pub(super) fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(source) = self.source.as_mut() else { return Poll::Pending };
        source.link.poll_look(cx)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, AnswerFault>> {
        loop {
            match self.take()? {
                Piece::More => ready!(self.poll_more(cx))?,
                piece => return Poll::Ready(Ok(piece)),
            }
        }
    }
}

impl Body for LinkBody {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.poll_piece(cx)) {
            Ok(Piece::Data(data)) => {
                if matches!(self.state, State::Length(0)) {
                    self.end();
                }
                Some(Ok(Frame::data(data)))
            }
            Ok(Piece::End(trailers)) => {
                self.end();
                (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
            }
            // Never happens: more is read above.
            Ok(Piece::More) => None,
            Err(fault) => {
                self.fail(&fault);
                self.state = State::Done;
                Some(Err(fault))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done | State::Tunnel)
    }

    fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Length(left) => SizeHint::with_exact(left),
            State::Done | State::Tunnel => SizeHint::with_exact(0),
            State::Chunked(_) | State::UntilClose => SizeHint::default(),
        }
    }
}
