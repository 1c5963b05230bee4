//! Sending to one of several endpoints, or to one that is watched or bounded: a place first, then a choice,
//! then another one if it fails and the request may be repeated.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use http::Response;

use super::Errand;
use super::Failure;
use super::UpstreamError;
use super::Upstreams;
use super::answer_body::{AnswerFault, LinkBody, Source};
use super::call;
use super::head::Head;
use super::link::Link;
use super::response_body::ResponseBody;
use super::sending::Sending;
use crate::endpoint::Load;
use crate::endpoint::Pool;

/// What goes with an answer while its body is read.
#[derive(Debug)]
pub(super) struct Escort {
    pub(super) load: Load,
    /// For each piece of the body.
    pub(super) patience: Option<Duration>,
    /// For the whole of it.
    pub(super) bounds: Bounds,
    /// When the piece that is waited for is late.
    pub(super) late_at: Option<Instant>,
}

impl Escort {
    /// Until when to wait for more of the answer; a piece is waited for from the first look on.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        if self.late_at.is_none() {
            self.late_at = self.patience.map(|patience| Instant::now() + patience);
        }
        [self.late_at, self.bounds.until()].into_iter().flatten().min()
    }

    /// What it is when the deadline has passed.
    pub(super) fn lateness(&self) -> AnswerFault {
        if self.bounds.is_callers() { AnswerFault::Deadline } else { AnswerFault::Late }
    }
}

/// When a request has to be over, whatever else is in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// As it is configured.
    total: Option<Instant>,
    /// As the client wants it.
    call: Option<Instant>,
}

impl Bounds {
    pub(super) fn of(pool: &Pool, errand: &mut Errand) -> Self {
        let total = pool.settings().total_timeout.map(|timeout| {
            // An endpoint that lets it pass is to blame for that.
            errand.timeout = errand.timeout.min(timeout);
            errand.now + timeout
        });
        Self { total, call: call::deadline(&errand.sealed.parts.headers, errand.now) }
    }

    fn until(&self) -> Option<Instant> {
        [self.total, self.call].into_iter().flatten().min()
    }

    /// Whether the one that the client set has passed.
    fn is_callers(&self) -> bool {
        self.call.is_some_and(|at| at <= Instant::now())
    }

    /// Waits for an outcome as long as there is time.
    pub(super) async fn wait<T>(
        &self,
        asking: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let Some(until) = self.until() else { return asking.await };
        let outcome = tokio::time::timeout_at(until.into(), asking).await;
        outcome.unwrap_or_else(|_| {
            let is_callers = self.is_callers();
            Err(if is_callers { UpstreamError::Deadline } else { UpstreamError::ResponseTimeout })
        })
    }
}

impl Upstreams {
    pub(super) async fn send_to_pool(
        &self,
        mut errand: Errand,
        mut sending: Sending,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let pool = Arc::clone(&errand.destination().pool);
        let bounds = Bounds::of(&pool, &mut errand);
        let outcome = bounds.wait(self.ask_some(&pool, &mut errand, &mut sending)).await;
        let (link, head, load) = outcome.inspect_err(|error| count_refusal(&pool, error))?;
        let patience = pool.settings().read_timeout;
        let escort = Some(Box::new(Escort { load, patience, bounds, late_at: None }));
        let (pools, destination) = (Arc::clone(&self.pools), errand.sealed.destination);
        // A connection that tells of one client is not for the next.
        let keeps_alive = head.keeps_alive && destination.announces.is_none();
        let source = Source { link, sending, pools, destination, keeps_alive, escort };
        Ok(head.response.map(|()| ResponseBody::from(LinkBody::new(head.framing, source))))
    }

    /// Waits for a place, then asks one endpoint after another as far as that is allowed.
    async fn ask_some(
        &self,
        pool: &Arc<Pool>,
        errand: &mut Errand,
        sending: &mut Sending,
    ) -> Result<(Box<Link>, Head, Load), UpstreamError> {
        let mut place = None;
        if let Some(room) = pool.room() {
            place = Some(room.enter().await.map_err(|_| UpstreamError::Full)?);
            // The wait is not the endpoint's fault.
            errand.now = Instant::now();
        }
        pool.count_request();
        let mut tried = Vec::new();
        let mut failed = None;
        loop {
            let mut load = next(pool, &tried, failed.take(), errand.now)?;
            sending.rewind();
            match self.ask(load.endpoint(), errand, sending).await {
                Ok((link, head)) => {
                    note(pool, &mut load, head.response.status().as_u16());
                    load.keep(place);
                    return Ok((link, head, load));
                }
                Err(failure) => {
                    failed = Some(failure.settle(&mut load, errand.may_repeat)?);
                    tried.push(load.endpoint().slot);
                }
            }
        }
    }
}

/// The endpoint to ask: the first, or after a failure another one, if there is one and it may be asked.
pub(super) fn next(
    pool: &Arc<Pool>,
    tried: &[usize],
    failed: Option<UpstreamError>,
    now: Instant,
) -> Result<Load, UpstreamError> {
    match (pool.pick(tried, now), failed) {
        (None, failed) => Err(failed.unwrap_or(UpstreamError::Unfit)),
        (Some(_), Some(failed)) if !pool.may_retry(tried.len()) => Err(failed),
        (Some(load), _) => Ok(load),
    }
}

/// An answer may tell of a failure too.
pub(super) fn note(pool: &Pool, load: &mut Load, status: u16) {
    if pool.settings().eject.as_ref().is_some_and(|eject| eject.statuses.contains(&status)) {
        load.failed(Instant::now());
    }
}

impl Failure {
    /// Tells of it; the error is an error for the client too unless another endpoint may be asked.
    ///
    /// That holds only for what never left, or may be repeated. Not after a deadline: it was for all.
    pub(super) fn settle(
        self,
        load: &mut Load,
        may_repeat: bool,
    ) -> Result<UpstreamError, UpstreamError> {
        if self.error.is_of_endpoint() {
            load.failed(Instant::now());
        }
        let is_repeatable =
            matches!(self.error, UpstreamError::Broken(_) | UpstreamError::Refused(_));
        if self.is_unsent || (may_repeat && is_repeatable) {
            Ok(self.error)
        } else {
            Err(self.error)
        }
    }
}

impl UpstreamError {
    /// Whether it tells of a fault of the endpoint's.
    const fn is_of_endpoint(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::ConnectTimeout
            | Self::ResponseTimeout
            | Self::Broken(_)
            | Self::Refused(_) => true,
            Self::Deadline | Self::RequestBody(_) | Self::Full | Self::Unfit => false,
        }
    }
}

pub(super) fn count_refusal(pool: &Pool, error: &UpstreamError) {
    match error {
        UpstreamError::Full => pool.metrics().refused_full.inc(),
        UpstreamError::Unfit => pool.metrics().refused_unfit.inc(),
        UpstreamError::Connect(_)
        | UpstreamError::ConnectTimeout
        | UpstreamError::ResponseTimeout
        | UpstreamError::Deadline
        | UpstreamError::Broken(_)
        | UpstreamError::Refused(_)
        | UpstreamError::RequestBody(_) => {}
    }
}
