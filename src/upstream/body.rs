//! The body of a request on its way up: streamed with back-pressure, bounded, never held whole.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::arriving::Arriving;
use crate::gateway::IdentityNames;
use crate::gateway::Stripping;

/// The body of a request on its way to an upstream.
#[derive(Debug)]
pub struct RequestBody(Source);

#[derive(Debug)]
enum Source {
    Empty,
    /// Read already.
    Whole(Bytes),
    Streaming(Box<Streaming>),
}

#[derive(Debug)]
struct Streaming {
    incoming: Arriving,
    left: u64,
    patience: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    rules: TrailerRules,
    /// Whether its sender may be silent while it is told something.
    listens: bool,
}

/// What the trailers of a request lose: an upstream that joins them to the head must not be told more
/// by them than by a head.
#[derive(Clone, Debug)]
pub struct TrailerRules {
    /// Names that only we may write.
    pub reserved: Arc<IdentityNames>,
    /// Credentials.
    pub stripping: Arc<Stripping>,
    /// What may stand in a head only (RFC 9110 §6.5.1).
    pub is_of_head: fn(&HeaderName) -> bool,
}

/// Why a request body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// Larger than the route allows.
    #[error("too large")]
    TooLarge,
    /// The next piece did not come in time.
    #[error("too slow")]
    TooSlow,
    /// The client went away or broke the framing.
    #[error("broken")]
    Broken,
}

impl RequestBody {
    /// No body at all.
    pub const fn empty() -> Self {
        Self(Source::Empty)
    }

    /// A body that was read already.
    pub fn whole(body: Bytes) -> Self {
        if body.is_empty() { Self(Source::Empty) } else { Self(Source::Whole(body)) }
    }

    /// Streams `incoming`: at most `limit` bytes, each piece within `patience`.
    pub fn streaming(
        incoming: Arriving,
        limit: u64,
        patience: Duration,
        rules: impl FnOnce() -> TrailerRules,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let (rules, listens) = (rules(), false);
        let streaming = Streaming { incoming, left: limit, patience, alarm: None, rules, listens };
        Self(Source::Streaming(Box::new(streaming)))
    }

    /// The same for a call of gRPC: both sides together may be silent for `patience`.
    pub fn of_call(
        incoming: Arriving,
        limit: u64,
        patience: Duration,
        rules: impl FnOnce() -> TrailerRules,
    ) -> Self {
        let mut body = Self::streaming(incoming, limit, patience, rules);
        if let Source::Streaming(streaming) = &mut body.0 {
            streaming.listens = true;
        }
        body
    }

    /// The other side said something.
    pub(super) fn answered(&mut self) {
        if let Source::Streaming(streaming) = &mut self.0
            && streaming.listens
        {
            streaming.alarm = None;
        }
    }

    /// Whether there is nothing to send.
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, Source::Empty)
    }
}

impl Streaming {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Poll::Ready(piece) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            let patience = self.patience;
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(alarm.as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyFault::TooSlow)));
        };
        self.alarm = None;
        Poll::Ready(match piece {
            None => None,
            Some(Err(_)) => Some(Err(BodyFault::Broken)),
            Some(Ok(frame)) => Some(self.admit(frame)),
        })
    }

    fn admit(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyFault> {
        if let Some(data) = frame.data_ref() {
            let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.left = self.left.checked_sub(size).ok_or(BodyFault::TooLarge)?;
        } else if let Some(trailers) = frame.trailers_mut() {
            self.rules.apply(trailers);
        }
        Ok(frame)
    }
}

impl TrailerRules {
    fn apply(&self, trailers: &mut HeaderMap) {
        let of_head: Vec<_> =
            trailers.keys().filter(|name| (self.is_of_head)(name)).cloned().collect();
        for name in of_head {
            trailers.remove(name);
        }
        self.stripping.apply_to_trailers(trailers);
        self.reserved.strip(trailers);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match &mut self.0 {
            Source::Streaming(body) => body.poll_piece(cx),
            Source::Whole(body) => {
                let body = std::mem::take(body);
                self.0 = Source::Empty;
                Poll::Ready(Some(Ok(Frame::data(body))))
            }
            Source::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Streaming(body) => body.incoming.is_end_stream(),
            Source::Whole(_) => false,
            Source::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Streaming(body) => body.incoming.size_hint(),
            Source::Whole(body) => {
                SizeHint::with_exact(u64::try_from(body.len()).unwrap_or(u64::MAX))
            }
            Source::Empty => SizeHint::with_exact(0),
        }
    }
}
