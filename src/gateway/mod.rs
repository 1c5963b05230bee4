//! The decision: the only place that says yes or no.
//!
//! Faces ask [`Gateway::decide`] and turn the answer into their wire; nothing here forwards, and no
//! part below knows a status.

mod basic;
mod build;
mod certificate;
mod checks;
mod cors;
mod decision;
mod denial;
mod door;
mod grpc;
mod identity;
mod kept;
mod lease;
mod live;
mod meaning;
mod pending;
mod rates;
mod route;
mod strip;
mod trail;
mod transport;
mod voice;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;

pub use build::Built;
use checks::{Checks, ClientAddress, Established, Gate, Presented};
pub use cors::{Cors, Preflight};
pub use decision::{Decision, Entry, Pass, Sealed};
pub use denial::{Crowd, Denial, Kind, Reason};
pub use door::{Door, Service};
pub use identity::{Fact, ForwardRule, IdentityNames};
pub use kept::Kept;
pub use lease::Lease;
pub use live::Live;
pub use pending::Pending;
pub use rates::Rates;
pub use route::{Access, Destination, Route, Target};
pub use strip::Stripping;
pub use trail::{Step, Trail};
pub use transport::{Secured, Transport};
pub use voice::Voice;
pub use websocket::SocketOnly;

use crate::clock::Timestamp;
use crate::credentials::Vouching;
use crate::inquiry::{Bounds, Inquiry, InquiryError, Peer, TrustedProxies};
use crate::jwt::{Recent, TokenVerifier};
use crate::policy::{Facts, TermOutcome};
use crate::route::{Lookup, Params, Require, RouteTable};
use crate::telemetry::{Metrics, RouteMetrics};

/// A whole configuration, compiled: immutable, swapped whole.
#[derive(Debug)]
pub struct Gateway {
    bounds: Bounds,
    trusted_proxies: TrustedProxies,
    routes: RouteTable<Arc<Route>>,
    checks: Checks,
    /// By which unknown paths are judged when no route encloses them; none refuses everybody.
    fallback: Option<Require>,
    /// Whether any route lets pages of other origins read answers.
    has_cors: bool,
    /// Who reads answers that no route made.
    cors: Option<Arc<Cors>>,
    reserved: Arc<IdentityNames>,
    stripping: Arc<Stripping>,
    unmatched: Arc<RouteMetrics>,
    body_timeout: Duration,
    slowest_body: u64,
    /// Those that count every request.
    rates: Rates,
    tells_rates: bool,
    metrics: Metrics,
    stream_idle: Duration,
    /// How long a stream goes on when its caller may not any more.
    stream_grace: Duration,
    access_log: AccessLogRules,
    /// Who vouches for second factors.
    vouching: Option<Arc<Vouching>>,
}

/// Who asks, when, and what that worker remembers.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Who is at the other end.
    pub peer: &'a Peer,
    /// The instant by which everything about the request is judged.
    pub now: Timestamp,
    /// The tokens that this worker saw last.
    pub recent: &'a Recent,
    /// Whether the request is judged for the first time.
    pub round: Round,
}

/// How often a request was judged: rates count it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// It has just come.
    First,
    /// Its body has come too.
    Again,
}

/// What access lines tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLogRules {
    /// Whether there are any.
    pub enabled: bool,
    /// Whether they hold the query.
    pub query: bool,
}

impl Gateway {
    /// Judges one request. The order is the security of the gateway: cheap before dear, who before
    /// what; nothing is compared before it has its canonical form, and whether a path exists is told
    /// only to callers who passed.
    pub async fn decide(&self, parts: &Parts, asking: &Asking<'_>, trail: &mut Trail) -> Decision {
        match self.admit(parts, asking, trail).await {
            Ok(decision) => decision,
            Err(denial) => Decision::Deny(denial),
        }
    }

    async fn admit(
        &self,
        parts: &Parts,
        asking: &Asking<'_>,
        trail: &mut Trail,
    ) -> Result<Decision, Denial> {
        trail.cors.clone_from(&self.cors);
        self.count_arrival(&self.rates, asking)?;
        let inquiry = Inquiry::of_request(parts, asking.peer, self.bounds)?;
        trail.note(Step::Normalise, || canonical_form(&inquiry));
        // TRACE would echo the caller's credentials back (RFC 9110 §9.3.8); no route can ask for it.
        if inquiry.method == Method::TRACE {
            return Err(Denial::NoMethod(HeaderValue::from_static("")));
        }
        trail.mark(Step::Normalise);
        let presented = Presented { inquiry: &inquiry, asking };
        if self.has_cors
            && let Some(preflight) = self.preflight(&presented, parts, trail)?
        {
            return Ok(Decision::Preflight(preflight));
        }
        let (method, host) = (inquiry.method.as_str(), inquiry.host.name());
        let (route, params) = match self.routes.find(method, host, inquiry.path.as_str()) {
            Lookup::Found { route, params } => (route, params),
            Lookup::Unmatched { enclosing, allow } => {
                return Err(self.unmatched_denial(&enclosing, &allow, &presented, trail).await);
            }
        };
        trail.take(route);
        trail.mark(Step::Match);
        self.count_arrival(&route.rates, asking)?;
        let established = self.identify(route, &presented, trail).await?;
        trail.mark(Step::Check);
        permit(route, &params, &inquiry, &established, trail)?;
        trail.mark(Step::Allow);
        // A body that says it is too large is refused before the upstream sees a byte of it.
        if inquiry.content_length().is_some_and(|length| length > route.body_limit) {
            return Err(Denial::BodyTooLarge);
        }
        let opens_websocket = opens_websocket(route, parts, &established)?;
        let told = self.count_admitted(route, &established, asking)?;
        let destination = match &route.target {
            Target::Upstream(destination) => Arc::clone(destination),
            Target::Door(door) => {
                let who = (established.lease.principal, asking.peer.client);
                return Ok(Decision::Enter(Entry::new(self, (route, door), who)));
            }
        };
        let address = established.address().unwrap_or(asking.peer.client);
        let user = established.facts.as_ref().map(|facts| facts.id.clone());
        let unjudged = established.unjudged.as_deref();
        let pass = Pass {
            route: Arc::clone(route),
            destination,
            target: self.target(&inquiry, parts.uri.path_and_query(), unjudged)?,
            host: host_to_send(&inquiry),
            ours: identity(route, &established, trail)?,
            lease: Some(established.lease),
            reserved: Arc::clone(&self.reserved),
            stripping: Arc::clone(&self.stripping),
            unjudged: established.unjudged,
            client: established.client.map(|client| client.address),
            told,
            peer: asking.peer.client,
            opens_websocket,
        };
        let Some(factor) = route.second_factor.clone() else { return Ok(Decision::Allow(pass)) };
        // Nobody whom a factor could be asked of: the route marked so is for users.
        let user = user.ok_or(Denial::Missing(Kind::User))?;
        let vouching = self.vouching.clone();
        Ok(Decision::Confirm(Pending { pass, user, factor, vouching, address }))
    }

    /// Who calls, as far as the route demands it.
    async fn identify(
        &self,
        route: &Route,
        presented: &Presented<'_>,
        trail: &mut Trail,
    ) -> Result<Established, Denial> {
        let mut established = match &route.access {
            Access::Public => Established::default(),
            Access::Guarded(require) => self.checks.require(require, presented, trail).await?,
        };
        let demanded = match &route.target {
            Target::Door(door) => door.user.as_ref(),
            Target::Upstream(_) => None,
        };
        if let Some(user) = demanded {
            user.demand(presented, &mut established).await?;
            trail.user.clone_from(&established.lease.principal.user);
        } else if route.access == Access::Public {
            trail.note(Step::Check, || "none, the route is public".to_owned());
        }
        judge_client(route, presented.inquiry.headers, &established)?;
        Ok(established)
    }

    /// The target as it was judged, without the credentials that its query carried.
    fn target(
        &self,
        inquiry: &Inquiry<'_>,
        original: Option<&PathAndQuery>,
        unjudged: Option<&Stripping>,
    ) -> Result<PathAndQuery, Denial> {
        let original = original.ok_or(InquiryError::TargetForm)?;
        let stripped = inquiry.query.and_then(|query| {
            let stripped = self.stripping.apply_to_query(query);
            let left = stripped.as_deref().unwrap_or(query);
            unjudged.and_then(|unjudged| unjudged.apply_to_query(left)).or(stripped)
        });
        Ok(match &stripped {
            None => inquiry.target(original)?,
            Some(query) => inquiry.target_with_query(query)?,
        })
    }

    /// What a caller learns about a path or method that no route takes: nothing, before the checks
    /// of the deepest enclosing route.
    async fn unmatched_denial(
        &self,
        enclosing: &[&Arc<Route>],
        allow: &[&str],
        presented: &Presented<'_>,
        trail: &mut Trail,
    ) -> Denial {
        let access = self.access_to_unmatched(enclosing);
        if let Some(route) = enclosing.first() {
            trail.enclosing.clone_from(&route.voice);
            trail.cors.clone_from(&route.cors);
            if let Err(denial) = self.count_arrival(&route.rates, presented.asking) {
                return denial;
            }
        }
        trail.note(Step::Match, || match (enclosing.first(), allow.is_empty()) {
            (_, false) => "the path is known, the method is not".to_owned(),
            (Some(route), true) => format!("no route; enclosed by `{}`", route.id),
            (None, true) => "no route; judged by `defaults`".to_owned(),
        });
        trail.mark(Step::Match);
        match access {
            Some(Access::Public) => {}
            Some(Access::Guarded(require)) => {
                if let Err(denial) = self.checks.require(&require, presented, trail).await {
                    return denial;
                }
                trail.mark(Step::Check);
            }
            None => return Denial::NoRoute,
        }
        match HeaderValue::try_from(allow.join(", ")) {
            Ok(methods) if !allow.is_empty() => Denial::NoMethod(methods),
            _ => Denial::NoRoute,
        }
    }

    /// What is known of a request that is turned away before anything of it is looked at.
    pub fn unseen(&self) -> Trail {
        let mut trail = Trail::silent();
        trail.cors.clone_from(&self.cors);
        trail
    }

    /// Routes at one place that disagree leave the defaults to judge.
    fn access_to_unmatched(&self, enclosing: &[&Arc<Route>]) -> Option<Access> {
        let fallback = || self.fallback.clone().map(Access::Guarded);
        match enclosing {
            [] => fallback(),
            [first, rest @ ..] if rest.iter().all(|route| route.access == first.access) => {
                Some(first.access.clone())
            }
            _ => fallback(),
        }
    }

    /// What judges tokens, for a tool that looks at one token; no request passes by this.
    pub fn verifiers(&self) -> impl Iterator<Item = &TokenVerifier> {
        self.checks.0.iter().filter_map(|check| match &check.gate {
            Gate::App(_) | Gate::Basic(_) | Gate::Header(_) | Gate::Certificate(_) => None,
            Gate::User(user) => Some(&user.verifier),
        })
    }

    /// Whose `X-Forwarded-*` is believed.
    pub const fn trusted_proxies(&self) -> &TrustedProxies {
        &self.trusted_proxies
    }

    /// The peer behind a trusted proxy.
    pub fn peer_behind(&self, proxy: &Peer, headers: &HeaderMap) -> Peer {
        Peer::behind_proxy(proxy, headers, &self.trusted_proxies)
    }

    /// What access lines tell.
    pub const fn access_log(&self) -> AccessLogRules {
        self.access_log
    }

    /// How long the next piece of a request body may take.
    pub const fn body_timeout(&self) -> Duration {
        self.body_timeout
    }

    /// Bytes of a request body that must come in each second; 0 asks for none.
    pub const fn slowest_body(&self) -> u64 {
        self.slowest_body
    }

    /// How long both sides of a stream may be silent.
    pub const fn stream_idle(&self) -> Duration {
        self.stream_idle
    }

    /// The counters of a route, or those of requests that no route took.
    pub fn metrics_of<'m>(&'m self, route: Option<&'m Arc<Route>>) -> &'m RouteMetrics {
        route.map_or(&self.unmatched, |route| &route.metrics)
    }

    /// The counters of requests that no route took.
    pub const fn unmatched(&self) -> &Arc<RouteMetrics> {
        &self.unmatched
    }

    /// Header names that only we may write.
    pub const fn reserved(&self) -> &Arc<IdentityNames> {
        &self.reserved
    }
}

/// Whether this opens a WebSocket, and may. A page of any origin can open one, and the browser sends
/// along what it keeps: only a page whose origin is named may use that. Who sends no origin is no browser.
fn opens_websocket(
    route: &Route,
    parts: &Parts,
    established: &Established,
) -> Result<bool, Denial> {
    if route.websocket_idle.is_none() || !websocket::is_opening(parts) {
        return if SocketOnly::is_beside(parts) { Err(Denial::NoSocket) } else { Ok(false) };
    }
    let is_named = |origin| route.cors.as_ref().is_some_and(|cors| cors.names(origin));
    let are_named = || parts.headers.get_all(header::ORIGIN).iter().all(is_named);
    if established.is_ambient && !are_named() {
        return Err(Denial::ForeignOrigin);
    }
    Ok(true)
}

/// Where the dialect of a route wants applications to tell of their clients, this one does. A call
/// of a dialect reads the same headers where it is answered.
fn judge_client(
    route: &Route,
    headers: &HeaderMap,
    established: &Established,
) -> Result<(), Denial> {
    let Voice::Dialect(dialect) = &route.voice else { return Ok(()) };
    let client = dialect.client.as_ref().filter(|client| client.is_required);
    let is_app = established.lease.principal.app.is_some();
    match client.filter(|_| is_app) {
        Some(client) if client.read(headers).is_none() => Err(Denial::ClientAddress),
        _ => Ok(()),
    }
}

/// Whether the caller, whoever it is, may do this.
fn permit(
    route: &Route,
    params: &Params,
    inquiry: &Inquiry<'_>,
    established: &Established,
    trail: &mut Trail,
) -> Result<(), Denial> {
    let facts = Facts {
        principal: &established.lease.principal,
        method: inquiry.method.as_str(),
        host: inquiry.host.name(),
        path: inquiry.path.as_str(),
        params: params.ranges(),
        address: established.client.as_ref().map_or(inquiry.peer.client, |told| told.address),
    };
    if trail.is_verbose() {
        for (term, outcome) in route.policy.explain(&facts) {
            trail.note(Step::Allow, || format!("{term}: {}", in_words(&outcome)));
        }
    }
    route.policy.permit(&facts).map_err(Denial::from)
}

fn canonical_form(inquiry: &Inquiry<'_>) -> String {
    format!("{} {} {}", inquiry.method, inquiry.host, inquiry.path.as_str())
}

/// The host in canonical form, unless it was written so.
fn host_to_send(inquiry: &Inquiry<'_>) -> Option<HeaderValue> {
    if inquiry.host.is_as_written() {
        return None;
    }
    HeaderValue::try_from(inquiry.host.to_string()).ok()
}

/// The headers that tell the upstream who calls, and from where if a verified application told so.
fn identity(
    route: &Route,
    established: &Established,
    trail: &mut Trail,
) -> Result<Vec<(HeaderName, HeaderValue)>, Denial> {
    // With room for what the proxy adds.
    let mut identity = Vec::with_capacity(route.forward.len() + 5);
    if let Some(ClientAddress { name, address }) = &established.client
        && let Ok(value) = HeaderValue::try_from(address.to_string())
    {
        identity.push((name.clone(), value));
    }
    for rule in &route.forward {
        let value = rule
            .fact
            .value(&established.lease.principal)
            .map_err(|_unwritable| Denial::UnwritableClaim)?;
        let Some(value) = value else { continue };
        trail.note(Step::Forward, || {
            format!("{}: {}", rule.name, String::from_utf8_lossy(value.as_bytes()))
        });
        identity.push((rule.name.clone(), value));
    }
    Ok(identity)
}

fn in_words(outcome: &TermOutcome) -> String {
    match outcome {
        TermOutcome::Holds => "holds".to_owned(),
        TermOutcome::Fails => "does not hold".to_owned(),
        TermOutcome::Broken(reason) => format!("cannot be evaluated: {reason}"),
    }
}
