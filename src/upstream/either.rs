//! Sending to an upstream that speaks HTTP/2, or may agree on it: like sending to one of several, since
//! what is shared by requests has to be chosen and counted for each.

use std::sync::Arc;
use std::time::Instant;

use http::Response;

use super::Errand;
use super::Failure;
use super::RequestBody;
use super::UpstreamError;
use super::Upstreams;
use super::answer_body::{LinkBody, Source};
use super::head::Head;
use super::http2;
use super::http2::{Opened, Pump, StreamBody};
use super::link::Link;
use super::response_body::ResponseBody;
use super::sending::Sending;
use super::several::{Bounds, Escort, count_refusal, next, note};
use crate::config::UpstreamHttp2;
use crate::endpoint::Endpoint;
use crate::endpoint::Load;
use crate::endpoint::Pool;

/// An answer whose body is still to be read.
enum Answered {
    /// Over HTTP/1.1.
    Link(Box<Link>, Box<Head>, Box<Sending>),
    /// Over HTTP/2.
    Stream(Box<(http2::Answer, http2::Ticket)>),
}

impl Upstreams {
    pub(super) async fn send_either(
        &self,
        mut errand: Errand,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let pool = Arc::clone(&errand.destination().pool);
        let bounds = Bounds::of(&pool, &mut errand);
        let mut pump = Pump::new(body);
        let outcome = bounds.wait(self.ask_either(&pool, &mut errand, &mut pump)).await;
        let (answered, load) = outcome.inspect_err(|error| count_refusal(&pool, error))?;
        let escort = Escort { load, patience: pool.settings().read_timeout, bounds, late_at: None };
        match answered {
            Answered::Link(link, head, sending) => {
                let (pools, destination) = (Arc::clone(&self.pools), errand.sealed.destination);
                let keeps_alive = head.keeps_alive && destination.announces.is_none();
                let escort = Some(Box::new(escort));
                let sending = *sending;
                let source = Source { link, sending, pools, destination, keeps_alive, escort };
                let Head { response, framing, .. } = *head;
                Ok(response.map(|()| ResponseBody::from(LinkBody::new(framing, source))))
            }
            Answered::Stream(answered) => {
                let ((response, request), ticket) = *answered;
                let body = |answer| StreamBody::new((answer, request), pump, escort, ticket);
                Ok(response.map(|answer| ResponseBody::from(body(answer))))
            }
        }
    }

    async fn ask_either(
        &self,
        pool: &Arc<Pool>,
        errand: &mut Errand,
        pump: &mut Pump,
    ) -> Result<(Answered, Load), UpstreamError> {
        let mut place = None;
        if let Some(room) = pool.room() {
            place = Some(room.enter().await.map_err(|_| UpstreamError::Full)?);
            errand.now = Instant::now();
        }
        pool.count_request();
        let mut tried = Vec::new();
        let mut failed = None;
        loop {
            let mut load = next(pool, &tried, failed.take(), errand.now)?;
            match self.ask_one(load.endpoint(), errand, pump).await {
                Ok(answered) => {
                    note(pool, &mut load, answered.status());
                    load.keep(place);
                    return Ok((answered, load));
                }
                Err(failure) => {
                    failed = Some(failure.settle(&mut load, errand.may_repeat)?);
                    tried.push(load.endpoint().slot);
                }
            }
        }
    }

    /// Asks one endpoint; again on another connection what it did nothing about.
    async fn ask_one(
        &self,
        endpoint: &Endpoint,
        errand: &Errand,
        pump: &mut Pump,
    ) -> Result<Answered, Failure> {
        let destination = errand.destination();
        if destination.transport.http2 == UpstreamHttp2::Auto
            && let Some(link) = self.pools.checkout(destination, endpoint.slot, errand.now)
        {
            return self.ask_link(link, endpoint, errand, pump).await;
        }
        let mut again = 0;
        let mut refused = 0;
        loop {
            let opened = self.shares.take(destination, endpoint).await;
            let mut ticket = match opened.map_err(|error| Failure { error, is_unsent: true })? {
                Opened::Link(link) => return self.ask_link(link, endpoint, errand, pump).await,
                Opened::Share(ticket) => ticket,
            };
            pump.rewind();
            let has_body = !pump.is_done();
            let request = http2::request(&errand.sealed, has_body, &endpoint.address.to_string());
            let request = request.map_err(unwritable)?;
            let outcome = http2::exchange(&mut ticket, request, pump, errand.timeout).await;
            let is_kept = pump.is_kept();
            let (error, may, is_unprocessed) = match outcome {
                Ok(answer) => {
                    pump.forget();
                    return Ok(Answered::Stream(Box::new((answer, ticket))));
                }
                Err(http2::Lost::Unprocessed(error)) => (error, true, true),
                // Another endpoint has more room, if there is one; each costs the budget.
                Err(http2::Lost::Refused(error)) => {
                    refused += 1;
                    let pool = &destination.pool;
                    (error, is_kept && pool.is_single() && pool.may_retry(refused), true)
                }
                Err(http2::Lost::Other(error)) => {
                    let is_broken = matches!(error, UpstreamError::Broken(_));
                    (error, is_broken && ticket.is_reused && errand.may_repeat, false)
                }
            };
            if !may || !is_kept || again == MOST_AGAIN {
                return Err(Failure { error, is_unsent: is_unprocessed && is_kept });
            }
            again += 1;
        }
    }

    /// Asks over HTTP/1.1, as both ends agreed.
    async fn ask_link(
        &self,
        link: Box<Link>,
        endpoint: &Endpoint,
        errand: &Errand,
        pump: &mut Pump,
    ) -> Result<Answered, Failure> {
        self.pools.give_back(errand.destination(), link);
        if pump.has_begun() {
            let error = std::io::Error::other("the upstream changed to HTTP/1.1 within a request");
            return Err(Failure { error: UpstreamError::Broken(error), is_unsent: false });
        }
        let nothing = Pump::new(RequestBody::empty());
        let body = std::mem::replace(pump, nothing).into_body();
        let has_body = !body.is_empty();
        let mut sending = Box::new(Sending::new(&errand.sealed, body));
        match self.ask(endpoint, errand, &mut sending).await {
            Ok((link, head)) => Ok(Answered::Link(link, Box::new(head), sending)),
            // A body went with it.
            Err(Failure { error, is_unsent }) => {
                Err(Failure { error, is_unsent: is_unsent && !has_body })
            }
        }
    }
}

impl Answered {
    fn status(&self) -> u16 {
        match self {
            Self::Link(_, head, _) => head.response.status().as_u16(),
            Self::Stream(answered) => answered.0.0.status().as_u16(),
        }
    }
}

fn unwritable(error: http::Error) -> Failure {
    let error = std::io::Error::other(error);
    Failure { error: UpstreamError::Broken(error), is_unsent: false }
}

/// Streams beyond the first on which one endpoint is asked.
const MOST_AGAIN: u32 = 5;
