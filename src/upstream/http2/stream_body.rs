//! The body of an answer over HTTP/2 on its way down; dropped early, it resets its stream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::Ticket;
use super::io;
use super::pump::{Fault, Pump};
use crate::upstream::LOOK_EVERY;
use crate::upstream::answer_body::AnswerFault;
use crate::upstream::several::Escort;

/// The body of an answer.
#[derive(Debug)]
pub(in crate::upstream) struct StreamBody {
    source: Option<Source>,
    has_data: bool,
}

/// Where it comes from.
#[derive(Debug)]
struct Source {
    answer: RecvStream,
    request: SendStream<Bytes>,
    /// What of the request is still to be sent.
    pump: Pump,
    escort: Escort,
    alarm: Option<Pin<Box<Sleep>>>,
    /// When whoever asks looks next whether the caller may stay.
    look: Option<Pin<Box<Sleep>>>,
    _ticket: Ticket,
}

impl StreamBody {
    pub(in crate::upstream) fn new(
        (answer, request): (RecvStream, SendStream<Bytes>),
        pump: Pump,
        escort: Escort,
        ticket: Ticket,
    ) -> Self {
        let source =
            Source { answer, request, pump, escort, alarm: None, look: None, _ticket: ticket };
        let mut body = Self { source: Some(source), has_data: true };
        body.end_if_over();
        body
    }

    /// Ready once each [`LOOK_EVERY`], while it is asked; never after the end.
    pub(in crate::upstream) fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(source) = self.source.as_mut() else { return Poll::Pending };
        let next = || tokio::time::Instant::now() + LOOK_EVERY;
        let look = source.look.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next())));
        ready!(look.as_mut().poll(cx));
        look.as_mut().reset(next());
        // Leaves the waker.
        while look.as_mut().poll(cx).is_ready() {
            look.as_mut().reset(next());
        }
        Poll::Ready(())
    }

    fn end_if_over(&mut self) {
        if self.source.as_ref().is_some_and(|source| source.answer.is_end_stream()) {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(mut source) = self.source.take() {
            source.escort.load.succeeded();
        }
    }

    fn fail(&mut self, fault: &AnswerFault) {
        if let Some(mut source) = self.source.take()
            && fault.is_of_endpoint()
        {
            source.escort.load.failed(Instant::now());
        }
    }

    /// The next piece of data, or trailers, or the end.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, AnswerFault>> {
        let Some(source) = self.source.as_mut() else { return Poll::Ready(Ok(None)) };
        // A body that broke spoils the answer; an upstream that reads no further does not.
        if !source.pump.is_done()
            && let Poll::Ready(Err(Fault::Body(fault))) = source.pump.poll(&mut source.request, cx)
        {
            return Poll::Ready(Err(AnswerFault::RequestBody(fault)));
        }
        let fault = |error| AnswerFault::Connection(io(error));
        if self.has_data {
            match ready!(source.poll_data(cx)) {
                Ok(Some(data)) => {
                    let flow = source.answer.flow_control();
                    // A stream that has ended needs no more room.
                    let _ended = flow.release_capacity(data.len());
                    return Poll::Ready(Ok(Some(Frame::data(data))));
                }
                Ok(None) => self.has_data = false,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let trailers: Option<HeaderMap> = ready!(source.answer.poll_trailers(cx)).map_err(fault)?;
        Poll::Ready(Ok(trailers.filter(|trailers| !trailers.is_empty()).map(Frame::trailers)))
    }
}

impl Source {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, AnswerFault>> {
        let data = self.answer.poll_data(cx);
        if data.is_ready() {
            self.escort.late_at = None;
            self.pump.answered();
        } else if let Some(deadline) = self.escort.deadline() {
            let deadline = deadline.into();
            let alarm =
                self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            ready!(alarm.as_mut().poll(cx));
            return Poll::Ready(Err(self.escort.lateness()));
        }
        let data = ready!(data).transpose();
        Poll::Ready(data.map_err(|error| AnswerFault::Connection(io(error))))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        if self.source.is_none() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.poll_next(cx)) {
            Ok(Some(frame)) => {
                if frame.is_trailers() {
                    self.end();
                } else {
                    self.end_if_over();
                }
                Some(Ok(frame))
            }
            Ok(None) => {
                self.end();
                None
            }
            Err(fault) => {
                self.fail(&fault);
                Some(Err(fault))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.source.is_none() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
