//! Servers behind us: sending asks for a [`Pass`].
//!
//! No decision is taken here and no status is known; each worker has its own [`Upstreams`].

mod body;
mod link;
mod pool;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::request::Parts;
use http_body::Body as _;
use hyper::body::Incoming;

pub use body::{BodyFault, RequestBody, ResponseBody};
use link::{Link, Lost};
use pool::Pools;

use crate::gateway::Denial;
use crate::gateway::Destination;
use crate::gateway::Pass;
use crate::telemetry::Metrics;

/// The connections of one worker to every upstream.
#[derive(Debug, Clone)]
pub struct Upstreams {
    pools: Arc<Pools>,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be opened.
    #[error("cannot connect to the upstream")]
    Connect(#[source] std::io::Error),
    /// Opening a connection took longer than `connect_timeout`.
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    /// The first byte of an answer took longer than `timeout`.
    #[error("the upstream did not answer in time")]
    ResponseTimeout,
    /// The connection ended, or what came was no HTTP answer.
    #[error("the upstream's answer is broken")]
    Broken(#[source] hyper::Error),
    /// The upstream changed the protocol although nobody asked for it.
    #[error("the upstream switched protocols unasked")]
    UnexpectedUpgrade,
    /// The request's own body could not be read to its end.
    #[error("the request body ended early: {0}")]
    RequestBody(BodyFault),
}

impl Upstreams {
    /// No connections yet.
    pub fn new(metrics: &Metrics) -> Self {
        Self { pools: Arc::new(Pools::new(metrics)) }
    }

    /// Sends a request that was let through, once; on a stale pooled connection at most twice, and
    /// then only what never left or may be repeated (RFC 9110 §9.2.2).
    ///
    /// A request without a pass cannot be sent:
    ///
    /// ```compile_fail
    /// # async fn f(upstreams: portcullis::upstream::Upstreams, parts: http::request::Parts) {
    /// let pass = portcullis::gateway::Pass {};
    /// upstreams.send(pass, parts, portcullis::upstream::RequestBody::empty()).await;
    /// # }
    /// ```
    pub async fn send(
        &self,
        pass: Pass,
        parts: Parts,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let timeout = pass.route().response_timeout;
        let destination = Arc::clone(&pass.route().destination);
        let may_repeat = is_idempotent(&parts.method) && body.is_empty();
        let mut request = Request::from_parts(pass.seal(parts), body);
        let mut reused = self.pools.checkout(&destination).await;
        loop {
            let is_reused = reused.is_some();
            let mut link = match reused.take() {
                Some(link) => link,
                None => self.pools.open(&destination).await?,
            };
            let spare = (is_reused && may_repeat).then(|| repeat_of(&request));
            match link.exchange(request, timeout).await {
                Ok(response) => return self.receive(&destination, link, response).await,
                Err(Lost::Unsent(unsent)) if is_reused => request = *unsent,
                Err(lost) => match (spare, lost) {
                    (Some(spare), Lost::Broken(_)) => request = spare,
                    (_, lost) => return Err(lost.into()),
                },
            }
        }
    }

    /// Closes connections that were unused for too long or that the upstream closed.
    pub fn sweep(&self) {
        self.pools.sweep();
    }

    async fn receive(
        &self,
        destination: &Arc<Destination>,
        mut link: Link,
        response: Response<Incoming>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::UnexpectedUpgrade);
        }
        if response.body().is_end_stream() {
            // Lets the connection notice that the message is over, so that it can be used again.
            poll_fn(|cx| Poll::Ready(link.drive(cx))).await;
        }
        Ok(response.map(|incoming| {
            ResponseBody::new(incoming, link, Arc::clone(&self.pools), Arc::clone(destination))
        }))
    }
}

impl From<&UpstreamError> for Denial {
    fn from(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Connect(_)
            | UpstreamError::Broken(_)
            | UpstreamError::UnexpectedUpgrade => Self::BadGateway,
            UpstreamError::ConnectTimeout | UpstreamError::ResponseTimeout => Self::GatewayTimeout,
            UpstreamError::RequestBody(BodyFault::TooLarge) => Self::BodyTooLarge,
            UpstreamError::RequestBody(BodyFault::TooSlow) => Self::BodyTimeout,
            UpstreamError::RequestBody(BodyFault::Broken) => Self::BodyBroken,
        }
    }
}

/// RFC 9110 §9.2.2, without methods that no upstream is asked for.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// A second copy of a bodiless request.
fn repeat_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    copy
}
