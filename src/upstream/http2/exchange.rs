//! One request on a shared connection, until the head of its answer.

use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use http::Response;
use tokio::time::Sleep;

use super::Ticket;
use super::head::judge;
use super::io;
use super::pump::{Fault, Pump};
use crate::upstream::LOOK_EVERY;
use crate::upstream::UpstreamError;

/// Why no answer came.
#[derive(Debug)]
pub(in crate::upstream) enum Lost {
    /// It is plain that the upstream did nothing about the request: its connection comes to an end.
    Unprocessed(UpstreamError),
    /// The upstream says that it did nothing about the request, since it has too much to do.
    Refused(UpstreamError),
    /// Whether it did is unknown, or it does not matter.
    Other(UpstreamError),
}

/// An answer, and what goes on being sent.
pub(in crate::upstream) type Answer = (Response<RecvStream>, SendStream<Bytes>);

/// Begins a stream, sends as much as it takes, and waits for the head of the answer.
pub(in crate::upstream) async fn exchange(
    ticket: &mut Ticket,
    request: Request<()>,
    pump: &mut Pump,
    timeout: Duration,
) -> Result<Answer, Lost> {
    let unsent = |error| Lost::Unprocessed(UpstreamError::Broken(io(error)));
    poll_fn(|cx| ticket.send.poll_ready(cx)).await.map_err(unsent)?;
    let (mut answer, mut stream) =
        ticket.send.send_request(request, pump.is_done()).map_err(unsent)?;
    let mut wait = Wait {
        timeout,
        writes: 0,
        deadline: Instant::now() + timeout,
        alarm: Box::pin(tokio::time::sleep(LOOK_EVERY)),
    };
    let response = poll_fn(|cx| poll_head(&mut answer, &mut stream, pump, &mut wait, cx)).await;
    let response = match response {
        Ok(response) => response,
        Err(Lost::Other(UpstreamError::ResponseTimeout)) => {
            ticket.give_up();
            return Err(Lost::Other(UpstreamError::ResponseTimeout));
        }
        Err(lost) => return Err(lost),
    };
    let response = judge(response).map_err(|fault| Lost::Other(UpstreamError::Refused(fault)))?;
    Ok((response, stream))
}

fn poll_head(
    answer: &mut ResponseFuture,
    stream: &mut SendStream<Bytes>,
    pump: &mut Pump,
    wait: &mut Wait,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<RecvStream>, Lost>> {
    // An upstream may answer before it has read everything; then its answer counts.
    if let Poll::Ready(Err(Fault::Body(fault))) = pump.poll(stream, cx) {
        return Poll::Ready(Err(Lost::Other(UpstreamError::RequestBody(fault))));
    }
    if let Poll::Ready(outcome) = Pin::new(answer).poll(cx) {
        return Poll::Ready(outcome.map_err(lost));
    }
    wait.poll(pump, cx).map(|()| Err(Lost::Other(UpstreamError::ResponseTimeout)))
}

/// How long to wait, and since when.
struct Wait {
    timeout: Duration,
    writes: u64,
    deadline: Instant,
    /// Fires no later than whoever waits wants to look whether it may.
    alarm: Pin<Box<Sleep>>,
}

impl Wait {
    /// Ready when the upstream takes too long; while everything waits for the client, it may.
    fn poll(&mut self, pump: &Pump, cx: &mut Context<'_>) -> Poll<()> {
        let is_waiting = !pump.is_done() && pump.waits_for_client();
        if is_waiting || self.writes != pump.writes {
            self.writes = pump.writes;
            self.deadline = Instant::now() + self.timeout;
            self.alarm.as_mut().reset(self.deadline.min(Instant::now() + LOOK_EVERY).into());
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if !is_waiting && now >= self.deadline {
                return Poll::Ready(());
            }
            let look = now + LOOK_EVERY;
            let next = if is_waiting { look } else { self.deadline.min(look) };
            self.alarm.as_mut().reset(next.into());
        }
        Poll::Pending
    }
}

/// RFC 9113 §8.7: what was refused, or stands behind the last stream of a GOAWAY, was not processed.
fn lost(error: h2::Error) -> Lost {
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    let is_behind = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    let lost = match (error.is_remote(), is_refused, is_behind) {
        (true, true, _) => Lost::Refused,
        (true, false, true) => Lost::Unprocessed,
        _ => Lost::Other,
    };
    lost(UpstreamError::Broken(io(error)))
}
