//! The body of a request on its way up: streamed with back-pressure, bounded, never held whole.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::time::Instant;

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
    limit: u64,
    patience: BodyPatience,
    wait: Wait,
    rules: TrailerRules,
    /// Whether its sender may be silent while it is told something.
    listens: bool,
}

/// How long a client may be waited for.
#[derive(Clone, Copy, Debug)]
pub struct BodyPatience {
    /// For each piece, and for all of them before `slowest` is asked for.
    pub piece: Duration,
    /// Bytes that must have come for each further second of waiting; 0 asks for none.
    pub slowest: u64,
}

/// How long a client was waited for. Costs a reading of the clock for each wait, whose alarm is moved
/// when it fires.
#[derive(Debug, Default)]
struct Wait {
    is_on: bool,
    /// Where waiting last began; none while the upstream is waited for.
    since: Option<Instant>,
    /// Before that.
    total: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
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

    /// Streams `incoming`: at most `limit` bytes, no slower than `patience` lets it be.
    pub fn streaming(
        incoming: Arriving,
        limit: u64,
        patience: BodyPatience,
        rules: impl FnOnce() -> TrailerRules,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let (wait, rules, listens) = (Wait::default(), rules(), false);
        let streaming = Streaming { incoming, left: limit, limit, patience, wait, rules, listens };
        Self(Source::Streaming(Box::new(streaming)))
    }

    /// It is the upstream now that takes its time, not the client.
    pub(super) fn hold(&mut self) {
        if let Source::Streaming(body) = &mut self.0
            && body.wait.since.is_some()
        {
            body.wait.hold(Instant::now());
        }
    }

    /// The same for a call of gRPC: both sides together may be silent for `patience`.
    pub fn of_call(
        incoming: Arriving,
        limit: u64,
        patience: Duration,
        rules: impl FnOnce() -> TrailerRules,
    ) -> Self {
        let patience = BodyPatience { piece: patience, slowest: 0 };
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
            streaming.wait.is_on = false;
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
            let received = self.limit - self.left;
            ready!(self.wait.poll_over(self.patience, received, cx));
            return Poll::Ready(Some(Err(BodyFault::TooSlow)));
        };
        // Nothing, said again and again, is not waited for any longer.
        let is_nothing = matches!(&piece, Some(Ok(frame)) if is_empty(frame));
        self.wait.is_on &= is_nothing;
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

fn is_empty(frame: &Frame<Bytes>) -> bool {
    frame.data_ref().is_some_and(Bytes::is_empty)
}

impl BodyPatience {
    /// How much longer the next piece may take, after so many bytes and so much waiting.
    fn left(self, received: u64, waited: Duration) -> Duration {
        let Some(earned_ms) = received.saturating_mul(1000).checked_div(self.slowest) else {
            return self.piece;
        };
        let allowed = self.piece.saturating_add(Duration::from_millis(earned_ms));
        allowed.saturating_sub(waited).min(self.piece)
    }
}

impl Wait {
    /// Ready when the client was waited for long enough.
    fn poll_over(
        &mut self,
        patience: BodyPatience,
        received: u64,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.is_on {
            self.begin(Instant::now());
        }
        let Some(since) = self.since else { return Poll::Pending };
        let due = since + patience.left(received, self.total);
        let alarm =
            self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if alarm.deadline() > due.into() {
            alarm.as_mut().reset(due.into());
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(due.into());
        }
        Poll::Pending
    }

    /// The wait before ends here too: an upstream that takes its pieces at once needs no time that
    /// would have to be measured apart.
    fn begin(&mut self, now: Instant) {
        self.hold(now);
        self.is_on = true;
        self.since = Some(now);
    }

    fn hold(&mut self, now: Instant) {
        self.is_on = false;
        self.total += self.since.take().map_or(Duration::ZERO, |since| now.duration_since(since));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_waited_for_as_long_as_it_earns_and_no_piece_longer_than_one() {
        let patience = BodyPatience { piece: Duration::from_secs(30), slowest: 64 };
        let left = |received, waited| patience.left(received, Duration::from_millis(waited));
        assert_eq!(left(0, 0), Duration::from_secs(30));
        assert_eq!(left(0, 29_999), Duration::from_millis(1));
        assert_eq!(left(0, 30_000), Duration::ZERO);
        // One byte in each two seconds earns a quarter of a second in half a minute.
        assert_eq!(left(15, 30_000), Duration::from_millis(234));
        assert_eq!(left(15, 30_235), Duration::ZERO);
        assert_eq!(left(64, 30_000), Duration::from_secs(1));
        assert_eq!(left(1 << 20, 60_000), Duration::from_secs(30));
        assert_eq!(left(u64::MAX, 60_000), Duration::from_secs(30));
        let any = BodyPatience { slowest: 0, ..patience };
        assert_eq!(any.left(1, Duration::from_hours(1)), Duration::from_secs(30));
    }

    #[test]
    fn what_the_upstream_takes_is_no_waiting_for_the_client() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut wait = Wait::default();
        wait.begin(at(1));
        wait.begin(at(3));
        assert_eq!(wait.total, Duration::from_secs(2));
        wait.hold(at(4));
        wait.hold(at(60));
        wait.begin(at(100));
        assert_eq!(wait.total, Duration::from_secs(3));
        wait.begin(at(101));
        assert_eq!(wait.total, Duration::from_secs(4));
    }
}
