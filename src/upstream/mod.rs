//! Servers behind us: sending asks for a [`Pass`].
//!
//! No decision is taken here and no status is known; each worker has its own [`Upstreams`].

mod announce;
mod answer_body;
mod arriving;
mod body;
mod call;
mod chunked;
mod either;
mod head;
mod http2;
mod link;
mod pool;
mod probe;
mod response_body;
mod sending;
mod several;
mod stream;
mod tunnel;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use http::Method;
use http::Response;
use http::request::Parts;

pub use answer_body::AnswerFault;
use answer_body::{LinkBody, Source};
pub use arriving::{Arriving, Rest};
pub use body::{BodyFault, BodyPatience, RequestBody, TrailerRules};
pub use chunked::BrokenChunk;
pub use head::HeadFault;
use head::{Framing, Head};
use http2::Shares;
pub use http2::{Drive, Driven};
use link::{Link, Lost};
use pool::Pools;
pub use response_body::ResponseBody;
use sending::Sending;
pub use tunnel::Tunnel;

use crate::config::UpstreamHttp2;
use crate::endpoint::Endpoint;
use crate::gateway::Denial;
use crate::gateway::Destination;
use crate::gateway::Pass;
use crate::gateway::Sealed;
use crate::telemetry::Metrics;

/// The connections of one worker to every upstream.
#[derive(Debug, Clone)]
pub struct Upstreams {
    pools: Arc<Pools>,
    shares: Arc<Shares>,
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
    /// The deadline that the client itself had set passed first.
    #[error("the client's own deadline passed")]
    Deadline,
    /// The connection failed or ended before an answer came.
    #[error("the connection to the upstream ended before an answer")]
    Broken(#[source] std::io::Error),
    /// What came cannot be passed on as an answer.
    #[error("the upstream's answer is refused")]
    Refused(#[source] HeadFault),
    /// The request's own body could not be read to its end.
    #[error("the request body ended early: {0}")]
    RequestBody(BodyFault),
    /// There are as many requests or connections as there may be.
    #[error("the upstream has no room for another request")]
    Full,
    /// Every endpoint is sick, or rests.
    #[error("no endpoint of the upstream is fit to be asked")]
    Unfit,
}

/// One request on its way.
#[derive(Debug)]
struct Errand {
    /// The request, and where it may go.
    sealed: Sealed,
    /// Whether doing it twice does no harm.
    may_repeat: bool,
    /// How long the first byte of an answer may take, from `now` on.
    timeout: Duration,
    now: Instant,
}

/// Why one endpoint gave no answer.
#[derive(Debug)]
struct Failure {
    error: UpstreamError,
    /// It got nothing of the request.
    is_unsent: bool,
}

impl Upstreams {
    /// No connections yet; `drive` runs those of HTTP/2.
    pub fn new(metrics: &Metrics, drive: Drive) -> Self {
        let shares = Arc::new(Shares::new(metrics, drive));
        Self { pools: Arc::new(Pools::new(metrics)), shares }
    }

    /// Sends a request that was let through, once; on a stale pooled connection at most twice, and
    /// then only what never left or may be repeated (RFC 9110 §9.2.2).
    ///
    /// `now` is the instant of the decision; it spares a look at the clock.
    ///
    /// A request without a pass cannot be sent:
    ///
    /// ```compile_fail
    /// # async fn f(upstreams: portcullis::upstream::Upstreams, parts: http::request::Parts) {
    /// let pass = portcullis::gateway::Pass {};
    /// let body = portcullis::upstream::RequestBody::empty();
    /// upstreams.send(pass, parts, body, std::time::Instant::now()).await;
    /// # }
    /// ```
    pub async fn send(
        &self,
        pass: Pass,
        parts: Parts,
        body: RequestBody,
        now: Instant,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let timeout = pass.route().response_timeout;
        let may_repeat = is_idempotent(&parts.method) && body.is_empty();
        let sealed = pass.seal(parts);
        let errand = Errand { sealed, may_repeat, timeout, now };
        if errand.destination().transport.http2 != UpstreamHttp2::Never {
            return Box::pin(self.send_either(errand, body)).await;
        }
        let mut sending = Sending::new(&errand.sealed, body);
        let Some(endpoint) = &errand.destination().sole else {
            // Boxed: what it needs must not make every other request larger.
            return Box::pin(self.send_to_pool(errand, sending)).await;
        };
        let (link, head) =
            self.ask(endpoint, &errand, &mut sending).await.map_err(|failure| failure.error)?;
        let (pools, destination) = (Arc::clone(&self.pools), errand.sealed.destination);
        let keeps_alive = head.keeps_alive;
        let source = Source { link, sending, pools, destination, keeps_alive, escort: None };
        Ok(head.response.map(|()| ResponseBody::from(LinkBody::new(head.framing, source))))
    }

    /// Asks one endpoint; on a stale connection at most twice.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        errand: &Errand,
        sending: &mut Sending,
    ) -> Result<(Box<Link>, Head), Failure> {
        let destination = errand.destination();
        let mut reused = self.pools.checkout(destination, endpoint.slot, errand.now);
        loop {
            let is_reused = reused.is_some();
            let mut link = match reused.take() {
                Some(link) => link,
                None => self
                    .pools
                    .open(destination, endpoint, errand.sealed.client)
                    .await
                    .map_err(|error| Failure { error, is_unsent: true })?,
            };
            match link.exchange(sending, errand.method(), errand.now, errand.timeout).await {
                Ok(head) if !errand.may_be(&head) => {
                    let error = UpstreamError::Refused(HeadFault::Upgrade);
                    return Err(Failure { error, is_unsent: false });
                }
                Ok(head) => return Ok((link, head)),
                // The upstream closed a connection that nobody used, at the very moment of its use.
                Err(Lost::Unsent(_)) if is_reused => sending.rewind(),
                Err(Lost::Broken(_)) if is_reused && errand.may_repeat => sending.rewind(),
                Err(lost) => {
                    let is_unsent = matches!(lost, Lost::Unsent(_));
                    return Err(Failure { error: lost.into(), is_unsent });
                }
            }
        }
    }

    /// Closes connections that were unused for too long or that the upstream closed.
    pub fn sweep(&self) {
        self.pools.sweep();
        self.shares.sweep();
    }
}

impl Errand {
    const fn destination(&self) -> &Arc<Destination> {
        &self.sealed.destination
    }

    const fn method(&self) -> &Method {
        &self.sealed.parts.method
    }

    /// Whether an answer may be what it is: only who asked for a WebSocket gets one.
    fn may_be(&self, head: &Head) -> bool {
        let Sealed { parts, opens_websocket, .. } = &self.sealed;
        head.framing != Framing::Tunnel
            || (*opens_websocket && tunnel::agrees(head.response.headers(), &parts.headers))
    }
}

impl From<&UpstreamError> for Denial {
    fn from(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Connect(_) | UpstreamError::Broken(_) | UpstreamError::Refused(_) => {
                Self::BadGateway
            }
            UpstreamError::ConnectTimeout | UpstreamError::ResponseTimeout => Self::GatewayTimeout,
            UpstreamError::Deadline => Self::Deadline,
            UpstreamError::RequestBody(BodyFault::TooLarge) => Self::BodyTooLarge,
            UpstreamError::RequestBody(BodyFault::TooSlow) => Self::BodyTimeout,
            UpstreamError::RequestBody(BodyFault::Broken) => Self::BodyBroken,
            UpstreamError::Full => {
                Self::UpstreamBusy("the upstream has no room for another request")
            }
            UpstreamError::Unfit => {
                Self::UpstreamBusy("no endpoint of the upstream is fit to be asked")
            }
        }
    }
}

/// How often an exchange that takes long wakes its task, at least, to see whether it may go on.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// RFC 9110 §9.2.2, without methods that no upstream is asked for.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}
