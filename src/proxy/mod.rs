//! The face that forwards: asks for a decision, sends what was let through, answers in every case.

mod answer;
mod crossing;
mod headers;
mod tenure;
mod tunnel;

use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;

pub use answer::Answer;
use answer::{Record, Wanted};
use crossing::Crossing;
use headers::Way;
pub use tenure::Landlord;
use tenure::Tenure;
pub use tunnel::{Over, Switched, Tunnel};

use crate::clock::Clock;
use crate::gateway::Asking;
use crate::gateway::Crowd;
use crate::gateway::Decision;
use crate::gateway::Denial;
use crate::gateway::Entry;
use crate::gateway::Gateway;
use crate::gateway::IdentityNames;
use crate::gateway::Live;
use crate::gateway::Pass;
use crate::gateway::Pending;
use crate::gateway::Preflight;
use crate::gateway::Round;
use crate::gateway::Stripping;
use crate::gateway::Trail;
use crate::gateway::Voice;
use crate::inquiry::Peer;
use crate::jwt::Recent;
use crate::message;
use crate::message::Body;
use crate::message::RequestId;
use crate::message::RequestIds;
use crate::telemetry::AccessLog;
use crate::upstream::Arriving;
use crate::upstream::BodyPatience;
use crate::upstream::RequestBody;
use crate::upstream::ResponseBody;
use crate::upstream::TrailerRules;
use crate::upstream::UpstreamError;
use crate::upstream::Upstreams;

/// What one worker needs to serve requests.
pub struct Proxy {
    /// The gateway in force.
    pub live: Arc<Live>,
    /// This worker's connections to upstreams.
    pub upstreams: Upstreams,
    /// Who is asked for the time.
    pub clock: Clock,
    /// Where access lines go.
    pub access: AccessLog,
    /// The tokens that this worker saw last.
    pub recent: Recent,
    /// This worker's request ids.
    pub ids: RequestIds,
    /// Whom answers ask that take long.
    pub landlord: Arc<Landlord>,
    /// Who answers what ends with us.
    pub within: Answerer,
}

/// A request that ends with us, as it was let in.
#[derive(Debug)]
pub struct Within {
    /// Leave to come in.
    pub entry: Entry,
    /// The head of the request.
    pub parts: Parts,
    /// Its body, unread.
    pub body: RequestBody,
    /// The id of the request.
    pub id: RequestId,
}

/// Answers requests that end with us; another face, which this one need not know.
pub type Answerer = Box<dyn Fn(Within) -> Answering + Send + Sync>;
/// An answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("upstreams", &self.upstreams).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Serves one request that arrived at `arrived` on a connection from `connected`.
    ///
    /// There is no error: whatever happens, an answer comes back.
    pub async fn serve(
        &self,
        request: Request<Arriving>,
        connected: &Peer,
        arrived: Instant,
    ) -> Response<Answer> {
        let gateway = self.live.current();
        let (mut parts, body) = request.into_parts();
        let behind = gateway
            .trusted_proxies()
            .trusts(connected.socket)
            .then(|| gateway.peer_behind(connected, &parts.headers));
        let peer = behind.as_ref().unwrap_or(connected);
        let is_logged = gateway.access_log().enabled;
        let mut trail = if is_logged { Trail::timed(arrived) } else { Trail::silent() };
        let (now, recent) = (self.clock.now(), &self.recent);
        let asking = Asking { peer, now, recent, round: Round::First };
        let decision = gateway.decide(&parts, &asking, &mut trail).await;
        let decided = Instant::now();
        let mut record = self.record(&gateway, &parts, &trail, arrived);
        match decision {
            Decision::Allow(mut pass) => {
                pass.route().metrics.allowed(decided.duration_since(arrived));
                let body = streaming(body, &pass, &gateway, record.wants);
                // The guard must not be kept while an upstream takes its time.
                drop(gateway);
                if is_logged {
                    record.describe(self, &parts, &trail, client_of(peer, trail.client));
                }
                prepare(&mut parts, peer, &mut pass);
                self.forward(pass, parts, body, (record, decided)).await
            }
            Decision::Confirm(pending) => {
                let pass = pending.pass();
                let rules = || rules(pass.reserved(), pass.stripping());
                // Whichever is smaller: a body that tells no length has only this to stop it.
                let limit = pending.route().body_limit.min(MOST_CONFIRMED);
                let patience = patience(&gateway, record.wants);
                let body = RequestBody::streaming(body, limit, patience, rules);
                drop(gateway);
                if is_logged {
                    record.describe(self, &parts, &trail, client_of(peer, trail.client));
                }
                self.confirm(pending, (parts, peer), body, (record, arrived)).await
            }
            Decision::Enter(entry) => {
                let rules = || rules(entry.reserved(), entry.stripping());
                let (limit, patience) =
                    (entry.route().body_limit, patience(&gateway, record.wants));
                let body = RequestBody::streaming(body, limit, patience, rules);
                drop(gateway);
                if is_logged {
                    record.describe(self, &parts, &trail, client_of(peer, None));
                }
                self.enter(entry, (parts, peer), body, (record, arrived)).await
            }
            Decision::Preflight(preflight) => {
                preflight.route().metrics.allowed(decided.duration_since(arrived));
                if is_logged {
                    record.describe(self, &parts, &trail, client_of(peer, None));
                }
                Answer::own(leave(&preflight, &parts), record)
            }
            Decision::Deny(denial) => {
                let route = gateway.metrics_of(trail.route.as_ref());
                route.denied(denial.reason().code(), decided.duration_since(arrived));
                if is_logged {
                    record.describe(self, &parts, &trail, client_of(peer, trail.client));
                }
                refuse(&denial, trail.voice(), record)
            }
        }
    }

    /// Answers a request on a connection for which there is no room.
    pub fn turn_away(
        &self,
        request: Request<Arriving>,
        connected: &Peer,
        arrived: Instant,
        crowd: Crowd,
    ) -> Response<Answer> {
        let gateway = self.live.current();
        let (parts, _unread) = request.into_parts();
        let (denial, trail) = (Denial::Crowded(crowd), gateway.unseen());
        gateway.unmatched().denied(denial.reason().code(), arrived.elapsed());
        let mut record = self.record(&gateway, &parts, &trail, arrived);
        if gateway.access_log().enabled {
            record.describe(self, &parts, &trail, connected.client);
        }
        refuse(&denial, trail.voice(), record)
    }

    /// Reads the whole body, which may hold the second factor, before anything goes on.
    async fn confirm(
        &self,
        pending: Pending,
        (mut parts, peer): (Parts, &Peer),
        body: RequestBody,
        (record, arrived): (Record, Instant),
    ) -> Response<Answer> {
        let route = Arc::clone(pending.route());
        let confirmed = match self.collect(Decision::Confirm(pending), &parts, peer, body).await {
            (Decision::Confirm(pending), body) => pending.confirm(&mut parts, body).await,
            (Decision::Allow(pass), body) => Ok((pass, body)),
            (Decision::Enter(_) | Decision::Preflight(_), _) => Err(Denial::NoRoute),
            (Decision::Deny(denial), _) => Err(denial),
        };
        let decided = Instant::now();
        match confirmed {
            Ok((mut pass, body)) => {
                route.metrics.allowed(decided.duration_since(arrived));
                prepare(&mut parts, peer, &mut pass);
                self.forward(pass, parts, RequestBody::whole(body), (record, decided)).await
            }
            Err(denial) => {
                route.metrics.denied(denial.reason().code(), decided.duration_since(arrived));
                refuse(&denial, &route.voice, record)
            }
        }
    }

    /// Reads the whole body of a call that ends with us, before anything of it is believed.
    async fn enter(
        &self,
        entry: Entry,
        (parts, peer): (Parts, &Peer),
        body: RequestBody,
        (record, arrived): (Record, Instant),
    ) -> Response<Answer> {
        let route = Arc::clone(entry.route());
        let denial = match self.collect(Decision::Enter(entry), &parts, peer, body).await {
            (Decision::Enter(entry), body) => {
                route.metrics.allowed(arrived.elapsed());
                let body = RequestBody::whole(body);
                let response = (self.within)(Within { entry, parts, body, id: *record.id() }).await;
                return Answer::own(response, record);
            }
            (Decision::Deny(denial), _) => denial,
            (Decision::Allow(_) | Decision::Confirm(_) | Decision::Preflight(_), _) => {
                Denial::NoRoute
            }
        };
        route.metrics.denied(denial.reason().code(), arrived.elapsed());
        refuse(&denial, &route.voice, record)
    }

    /// The whole body, and the decision as it is by then: a client may take hours over a body, and a
    /// token that expired or was revoked meanwhile must not do what it could no longer ask for.
    async fn collect(
        &self,
        decision: Decision,
        parts: &Parts,
        peer: &Peer,
        body: RequestBody,
    ) -> (Decision, Bytes) {
        if body.is_empty() {
            return (decision, Bytes::new());
        }
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(fault) => {
                let denial = Denial::from(&UpstreamError::RequestBody(fault));
                return (Decision::Deny(denial), Bytes::new());
            }
        };
        let (now, recent) = (self.clock.now(), &self.recent);
        let asking = Asking { peer, now, recent, round: Round::Again };
        let gateway = self.live.current();
        (gateway.decide(parts, &asking, &mut Trail::silent()).await, body)
    }

    async fn forward(
        &self,
        mut pass: Pass,
        mut parts: Parts,
        body: RequestBody,
        (mut record, decided): (Record, Instant),
    ) -> Response<Answer> {
        // In place of the client's own: the upstream's log is to name the line of ours.
        if let Some(id) = record.id().header() {
            pass.add(message::REQUEST_ID, id);
        }
        let (route, told) = (Arc::clone(pass.route()), pass.take_told());
        let idle = route.websocket_idle.filter(|_| pass.opens_websocket());
        let upgrade = idle.and_then(|idle| Some((parts.extensions.remove::<OnUpgrade>()?, idle)));
        let mut tenure = Tenure::begin(&self.landlord, pass.take_lease(), decided);
        let mut sending = pin!(self.upstreams.send(pass, parts, body, decided));
        let sent = poll_fn(|cx| {
            let sent = sending.as_mut().poll(cx);
            match tenure.as_mut().map_or(Ok(()), |tenure| tenure.extend_while_waiting(&sent)) {
                Ok(()) => sent.map(Ok),
                Err(denial) => Poll::Ready(Err(denial)),
            }
        });
        match sent.await {
            Err(denial) => {
                route.metrics.cut(denial.reason().code());
                refuse(&denial, &route.voice, record)
            }
            Ok(Ok(mut response)) => {
                let took = decided.elapsed();
                route.metrics.upstream_answered(took);
                record.upstream_answered(took);
                headers::forward_response(response.headers_mut());
                if let Some(told) = told {
                    told.write(response.headers_mut());
                }
                match upgrade {
                    Some(upgrade) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                        return switch(response, (upgrade, tenure), record);
                    }
                    _ if record.wants == Wanted::Socket && response.status().as_u16() < 300 => {
                        return refuse(&Denial::BadGateway, &route.voice, record);
                    }
                    _ => {}
                }
                Answer::of_upstream(response, tenure, record)
            }
            Ok(Err(error)) => {
                let denial = Denial::from(&error);
                log_failure(&error, route.target.name());
                refuse(&denial, &route.voice, record)
            }
        }
    }

    fn record(&self, gateway: &Gateway, parts: &Parts, trail: &Trail, arrived: Instant) -> Record {
        let metrics = trail.route.clone();
        let unmatched = metrics.is_none().then(|| Arc::clone(gateway.unmatched()));
        let crossing = trail.cors().map(|cors| Box::new(Crossing::begin(cors, parts)));
        Record::new(self.ids.next(), parts, (metrics, unmatched), (arrived, crossing))
    }
}

/// Answers that the connection is a tunnel from here on, and puts that beside the answer.
fn switch(
    response: Response<ResponseBody>,
    ((upgrade, idle), tenure): ((OnUpgrade, Duration), Option<Tenure>),
    mut record: Record,
) -> Response<Answer> {
    let (parts, body) = response.into_parts();
    let mut switching = Answer::switching(Response::from_parts(parts, ()), &mut record);
    let headers = switching.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(upstream) = body.into_tunnel() {
        let tunnel = Tunnel { upgrade, upstream, tenure, record, idle };
        // Extensions are to be cloned, and a tunnel cannot be.
        switching.extensions_mut().insert(Switched(Arc::new(Mutex::new(Some(tunnel)))));
    }
    switching
}

/// What a browser is told that asked beforehand.
fn leave(preflight: &Preflight, asked: &Parts) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = preflight.headers(&asked.headers);
    response
}

/// Tells a client why it gets nothing else, in the words that it expects.
fn refuse(denial: &Denial, voice: &Voice, mut record: Record) -> Response<Answer> {
    record.deny(denial);
    match record.wants {
        Wanted::Answer => Answer::own(voice.respond(denial, record.id()), record),
        Wanted::Call => {
            let response = denial.respond_to_grpc(record.id());
            Answer::of_status(denial.status(), response, record)
        }
        // No dialect's words: some of them make a success of a refusal.
        Wanted::Socket => Answer::own(denial.respond(record.id()), record),
    }
}

/// The body of a request that was let through. A call of gRPC may listen for long before it says more.
fn streaming(body: Arriving, pass: &Pass, gateway: &Gateway, wants: Wanted) -> RequestBody {
    let rules = || rules(pass.reserved(), pass.stripping());
    let route = pass.route();
    if wants == Wanted::Call && route.target.may_speak_http2() {
        return RequestBody::of_call(body, route.body_limit, gateway.stream_idle(), rules);
    }
    RequestBody::streaming(body, route.body_limit, patience(gateway, wants), rules)
}

/// A call of gRPC may say little for long; what it may not is say nothing.
fn patience(gateway: &Gateway, wants: Wanted) -> BodyPatience {
    let slowest = match wants {
        Wanted::Call => 0,
        Wanted::Answer | Wanted::Socket => gateway.slowest_body(),
    };
    BodyPatience { piece: gateway.body_timeout(), slowest }
}

fn rules(reserved: &Arc<IdentityNames>, stripping: &Arc<Stripping>) -> TrailerRules {
    TrailerRules {
        reserved: Arc::clone(reserved),
        stripping: Arc::clone(stripping),
        is_of_head: headers::is_of_head,
    }
}

/// Takes out of a head that was let through what concerns one connection only, and writes the way
/// here; what is left to do is the pass's to seal.
pub fn prepare(parts: &mut Parts, peer: &Peer, pass: &mut Pass) {
    // As it was judged: an upstream that compares this one must not see another spelling.
    let host = pass.host().or_else(|| parts.headers.get(header::HOST)).cloned();
    let way = Way { peer, client: pass.client(), host: host.as_ref() };
    headers::forward_request(&mut parts.headers, &way, |name, value| pass.add(name, value));
}

/// A client that hung up, sent nonsense or gave no more time is not our failure.
fn log_failure(error: &UpstreamError, upstream: &str) {
    if matches!(error, UpstreamError::RequestBody(_) | UpstreamError::Deadline) {
        tracing::debug!(upstream, %error, "the client ended the request");
    } else {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(upstream, %error, cause, "no answer from the upstream");
    }
}

/// A client address for the log, the one an application told before the socket's.
fn client_of(peer: &Peer, told: Option<IpAddr>) -> IpAddr {
    told.unwrap_or(peer.client)
}

/// How long a step took.
type Steps = Vec<(&'static str, Duration)>;
/// The most bytes of a body that is read whole before it goes on.
#[expect(clippy::as_conversions, reason = "a constant far below both bounds")]
const MOST_CONFIRMED: u64 = Pending::MAX_BODY_BYTES as u64;
