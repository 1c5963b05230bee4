//! The body of a request as its client sends it, and what becomes of it when nobody reads on.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A body that arrives. Dropped before its end, it is left to whoever asked for the rest.
#[derive(Debug)]
pub struct Arriving {
    /// Taken when it is left, and not before.
    incoming: Option<Incoming>,
    rest: Option<Rest>,
}

/// Where a body is left that nobody wanted to its end.
#[derive(Clone, Debug, Default)]
pub struct Rest(Arc<Mutex<Option<Incoming>>>);

impl Arriving {
    /// One whose rest nobody asks for.
    pub const fn new(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), rest: None }
    }

    /// One that is left to somebody, and where.
    pub fn leaving(incoming: Incoming) -> (Self, Rest) {
        let rest = Rest::default();
        (Self { incoming: Some(incoming), rest: Some(rest.clone()) }, rest)
    }
}

impl Rest {
    /// What was left.
    pub fn take(&self) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let left = self.incoming.take().filter(|incoming| !incoming.is_end_stream());
        if let (Some(rest), Some(incoming)) = (&self.rest, left) {
            *rest.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}
