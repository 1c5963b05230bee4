//! What was compiled from one entry of `routes`, and where it leads.

use std::sync::Arc;
use std::time::Duration;

use super::cors::Cors;
use super::door::Door;
use super::identity::ForwardRule;
use super::rates::Rates;
use super::transport::Transport;
use super::voice::Voice;
use crate::config::{ProxyHeader, UpstreamHttp2};
use crate::dialect::SecondFactor;
use crate::endpoint::Endpoint;
use crate::endpoint::Pool;
use crate::id::RouteId;
use crate::id::UpstreamName;
use crate::policy::Policy;
use crate::route::Require;
use crate::telemetry::RouteMetrics;

/// One kind of request and what becomes of it.
#[derive(Debug)]
pub struct Route {
    /// Its name in metrics and logs.
    pub id: RouteId,
    /// Where it leads.
    pub target: Target,
    /// In whose words it refuses.
    pub voice: Voice,
    /// Which checks must pass.
    pub access: Access,
    /// How a second factor is shown, where one is asked for.
    pub second_factor: Option<Arc<SecondFactor>>,
    /// What the caller must be permitted.
    pub policy: Policy,
    /// What the upstream is told about the caller.
    pub forward: Vec<ForwardRule>,
    /// The names of the `{…}` segments, in their order.
    pub params: Vec<String>,
    /// How long the first byte of an answer may take.
    pub response_timeout: Duration,
    /// Largest request body, in bytes.
    pub body_limit: u64,
    /// The rates that its requests are counted by.
    pub rates: Rates,
    /// Which pages of other origins may read answers.
    pub cors: Option<Arc<Cors>>,
    /// How long a WebSocket may be silent; none where none may be opened.
    pub websocket_idle: Option<Duration>,
    /// Its counters.
    pub metrics: RouteMetrics,
}

/// Where a request ends that was let through.
#[derive(Clone, Debug)]
pub enum Target {
    /// At a server behind us.
    Upstream(Arc<Destination>),
    /// With us: a call of a login service.
    Door(Arc<Door>),
}

impl Target {
    /// The name of the upstream, or of the login service.
    pub fn name(&self) -> &str {
        match self {
            Self::Upstream(destination) => destination.name.as_str(),
            Self::Door(door) => door.service.name.as_str(),
        }
    }

    /// Whether HTTP/2 may be spoken there.
    pub fn may_speak_http2(&self) -> bool {
        match self {
            Self::Upstream(destination) => destination.transport.http2 != UpstreamHttp2::Never,
            Self::Door(_) => false,
        }
    }
}

/// Whether and by what a route is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// `public: true`, written out.
    Public,
    /// These checks must pass.
    Guarded(Require),
}

/// An upstream as one configuration sees it; the connections to it are kept elsewhere.
#[derive(Debug)]
pub struct Destination {
    /// Its name in metrics.
    pub name: UpstreamName,
    /// Its endpoints and how they fare.
    pub pool: Arc<Pool>,
    /// The one endpoint there is, when nothing about it has to be counted or watched.
    pub sole: Option<Arc<Endpoint>>,
    /// How it is spoken to.
    pub transport: Transport,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Unused connections kept per worker and endpoint.
    pub idle_connections: usize,
    /// Connections to one endpoint at once, if they are bounded.
    pub connections: Option<usize>,
    /// With what header each connection begins; then no two requests share one.
    pub announces: Option<ProxyHeader>,
}
