//! A WebSocket under way: moved until both sides have ended, nobody says anything any more, or its
//! caller may not stay.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::Record;
use super::tenure::Tenure;
use crate::upstream;

/// What is left of a request whose answer switched protocols. Whoever holds the client's connection
/// runs it.
#[derive(Debug)]
pub struct Tunnel {
    /// Hands the client's connection out, once the answer is written.
    pub upgrade: OnUpgrade,
    pub(super) upstream: upstream::Tunnel,
    pub(super) tenure: Option<Tenure>,
    pub(super) record: Record,
    pub(super) idle: Duration,
}

/// Stands beside an answer that switches protocols.
#[derive(Clone, Debug)]
pub struct Switched(pub(super) Arc<Mutex<Option<Tunnel>>>);

impl Switched {
    /// Takes the tunnel that belongs to this answer, if it switches protocols.
    pub fn take<B>(answer: &mut Response<B>) -> Option<Tunnel> {
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let Self(tunnel) = answer.extensions_mut().remove::<Self>()?;
        tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Both sides said so.
    Clean,
    /// Cut, or failed: neither side is to take it for the end of what the other had to say.
    Broken,
}

impl Tunnel {
    /// Runs to the end; `early` was read from the client behind its request.
    pub async fn run<S>(mut self, client: &mut S, early: Bytes) -> Over
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.upstream.begin(early);
        let mut last = (self.upstream.moved(), Instant::now());
        let over = poll_fn(|cx| {
            if let Poll::Ready(ended) = self.upstream.poll(client, cx) {
                let over = ended.map_or(Over::Broken, |()| Over::Clean);
                return Poll::Ready(over);
            }
            if self.upstream.poll_look(cx).is_pending() {
                return Poll::Pending;
            }
            if self.upstream.moved() != last.0 {
                last = (self.upstream.moved(), Instant::now());
            }
            let tenure = self.tenure.as_mut().map_or(Ok(()), Tenure::extend);
            match tenure {
                Ok(()) if last.1.elapsed() < self.idle => Poll::Pending,
                Ok(()) => Poll::Ready(Over::Broken),
                Err(denial) => {
                    self.record.cut(&denial);
                    Poll::Ready(Over::Broken)
                }
            }
        });
        let over = over.await;
        self.record.end(self.upstream.moved().1, over == Over::Clean);
        over
    }
}
