//! Bodies in both directions: streamed with back-pressure, bounded, never held whole.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::link::Link;
use super::pool::SharedPools;
use crate::gateway::Destination;
use crate::gateway::IdentityNames;

/// The body of a request on its way to an upstream.
#[derive(Debug)]
pub struct RequestBody(Option<Box<Streaming>>);

#[derive(Debug)]
struct Streaming {
    incoming: Incoming,
    left: u64,
    patience: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
    reserved: Arc<IdentityNames>,
}

/// How far a request body got, seen from the exchange that waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    sent_at: OnceLock<Instant>,
    fault: OnceLock<BodyFault>,
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
        Self(None)
    }

    /// Streams `incoming`: at most `limit` bytes, each piece within `patience`; trailers lose the
    /// names that speak of identity.
    pub fn streaming(
        incoming: Incoming,
        limit: u64,
        patience: Duration,
        reserved: &Arc<IdentityNames>,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        Self(Some(Box::new(Streaming {
            incoming,
            left: limit,
            patience,
            alarm: None,
            progress: Arc::default(),
            reserved: Arc::clone(reserved),
        })))
    }

    /// Whether there is nothing to send.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.0.as_ref().map(|body| Arc::clone(&body.progress))
    }
}

impl Progress {
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.sent_at.get().copied()
    }

    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.fault.get().copied()
    }

    fn fail(&self, fault: BodyFault) -> BodyFault {
        *self.fault.get_or_init(|| fault)
    }

    fn end(&self) {
        self.sent_at.get_or_init(Instant::now);
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
            return Poll::Ready(Some(Err(self.progress.fail(BodyFault::TooSlow))));
        };
        self.alarm = None;
        Poll::Ready(match piece {
            None => {
                self.progress.end();
                None
            }
            Some(Err(_)) => Some(Err(self.progress.fail(BodyFault::Broken))),
            Some(Ok(frame)) => Some(self.admit(frame)),
        })
    }

    fn admit(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyFault> {
        if let Some(data) = frame.data_ref() {
            let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.left = self
                .left
                .checked_sub(size)
                .ok_or_else(|| self.progress.fail(BodyFault::TooLarge))?;
        } else if let Some(trailers) = frame.trailers_mut() {
            self.reserved.strip(trailers);
        }
        if self.incoming.is_end_stream() {
            self.progress.end();
        }
        Ok(frame)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self.0.as_mut() {
            Some(body) => body.poll_piece(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.incoming.size_hint())
    }
}

/// The body of an answer; it holds the connection it comes from and gives it back at its end.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    link: Link,
    pools: SharedPools,
    destination: Arc<Destination>,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        link: Link,
        pools: SharedPools,
        destination: Arc<Destination>,
    ) -> Self {
        let mut body = Self { incoming, source: Some(Source { link, pools, destination }) };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(source) = self.source.take() {
            source.pools.give_back(&source.destination, source.link);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        // The first poll tells the connection that somebody wants the body; only then it reads on.
        let mut piece = Pin::new(&mut this.incoming).poll_frame(cx);
        if piece.is_pending()
            && let Some(source) = this.source.as_mut()
        {
            source.link.drive(cx);
            piece = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        let piece = ready!(piece);
        match &piece {
            Some(Ok(_)) if !this.incoming.is_end_stream() => {}
            None | Some(Ok(_)) => {
                if let Some(source) = this.source.as_mut() {
                    // Lets the connection notice that the message is over.
                    source.link.drive(cx);
                }
                this.give_back();
            }
            Some(Err(_)) => this.source = None,
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
