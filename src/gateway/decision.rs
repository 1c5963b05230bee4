//! The answer to an inquiry: a pass that cannot be forged, or a denial.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use http::HeaderValue;
use http::Uri;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::Gateway;
use super::cors::Preflight;
use super::denial::Denial;
use super::door::Door;
use super::identity::IdentityNames;
use super::lease::Lease;
use super::pending::Pending;
use super::route::Destination;
use super::route::Route;
use super::strip::Stripping;
use crate::limits::Told;
use crate::principal::Principal;

/// Yes or no. Not a `Result`: a refusal is an answer, and `?` must not carry it past a face.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// The request may be forwarded, as the pass says.
    Allow(Pass),
    /// The request may be forwarded once its user has shown a second factor, if there is one.
    Confirm(Pending),
    /// The request is a call of a login service of ours, and may be made.
    Enter(Entry),
    /// A browser asks what another request may be.
    Preflight(Preflight),
    /// It may not.
    Deny(Denial),
}

/// Leave to forward one request: built only by the decision, spent by sending.
///
/// It owns what was judged (the target, the host) and what was found (who calls), so that nothing
/// else can be sent.
#[derive(Debug)]
#[must_use]
pub struct Pass {
    pub(super) route: Arc<Route>,
    pub(super) destination: Arc<Destination>,
    /// Who calls; gone once it is taken out.
    pub(super) lease: Option<Box<Lease>>,
    pub(super) target: PathAndQuery,
    /// Set when the host was not written in its canonical form.
    pub(super) host: Option<HeaderValue>,
    /// Who calls, in headers, and what faces add; written behind what the client sent.
    pub(super) ours: Vec<(HeaderName, HeaderValue)>,
    pub(super) reserved: Arc<IdentityNames>,
    pub(super) stripping: Arc<Stripping>,
    /// Where no check of this request looked, although one of its route would have.
    pub(super) unjudged: Option<Box<Stripping>>,
    /// Told by a verified application about its own client.
    pub(super) client: Option<IpAddr>,
    /// What its client is told about rates, where it is.
    pub(super) told: Option<Box<Told>>,
    /// The client, as far as proxies told it that are trusted.
    pub(super) peer: IpAddr,
    /// Whether the answer may be a tunnel.
    pub(super) opens_websocket: bool,
}

/// Leave to make one call of a login service: what was judged, for whoever answers it.
#[derive(Debug)]
#[must_use]
pub struct Entry {
    pub(super) route: Arc<Route>,
    pub(super) door: Arc<Door>,
    pub(super) principal: Principal,
    pub(super) peer: IpAddr,
    pub(super) reserved: Arc<IdentityNames>,
    pub(super) stripping: Arc<Stripping>,
}

impl Entry {
    pub(super) fn new(
        gateway: &Gateway,
        (route, door): (&Arc<Route>, &Arc<Door>),
        (principal, peer): (Principal, IpAddr),
    ) -> Self {
        Self {
            route: Arc::clone(route),
            door: Arc::clone(door),
            principal,
            peer,
            reserved: Arc::clone(&gateway.reserved),
            stripping: Arc::clone(&gateway.stripping),
        }
    }

    /// The route that was matched.
    pub const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Which call of which service.
    pub const fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Who calls: at most an application, since a call checks its user itself.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The client, as far as proxies told it that are trusted.
    pub const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Header names that only we may write.
    pub const fn reserved(&self) -> &Arc<IdentityNames> {
        &self.reserved
    }

    /// Credentials that go no further.
    pub const fn stripping(&self) -> &Arc<Stripping> {
        &self.stripping
    }
}

impl Pass {
    /// The route that was matched.
    pub const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The upstream to which it may go.
    pub const fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    /// Who calls.
    pub fn principal(&self) -> &Principal {
        self.lease.as_ref().map_or(&NOBODY, |lease| &lease.principal)
    }

    /// Takes out what has to be judged again while the answer goes on.
    pub const fn take_lease(&mut self) -> Option<Box<Lease>> {
        self.lease.take()
    }

    /// The address of its client that a verified application told, if any.
    pub const fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Whether the answer may switch to a WebSocket.
    pub const fn opens_websocket(&self) -> bool {
        self.opens_websocket
    }

    /// The host as it was judged, where the client wrote it otherwise.
    pub const fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// Header names that only we may write.
    pub const fn reserved(&self) -> &Arc<IdentityNames> {
        &self.reserved
    }

    /// Where credentials are taken out.
    pub const fn stripping(&self) -> &Arc<Stripping> {
        &self.stripping
    }

    /// What its client is to be told about rates.
    pub const fn take_told(&mut self) -> Option<Box<Told>> {
        self.told.take()
    }

    /// Adds a field of our own, of a name that was removed from what the client sent.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.ours.push((name, value));
    }

    /// Turns the head of the client's request into the one that was judged: canonical target and host,
    /// credentials out, forged identity out, ours beside it.
    pub fn seal(self, mut parts: Parts) -> Sealed {
        parts.uri = Uri::from(self.target);
        parts.version = http::Version::HTTP_11;
        if let Some(host) = self.host {
            parts.headers.insert(header::HOST, host);
        }
        self.stripping.apply(&mut parts.headers);
        if let Some(unjudged) = self.unjudged {
            unjudged.apply(&mut parts.headers);
        }
        // Ours come last: nothing the client wrote can remove or double them.
        self.reserved.strip(&mut parts.headers);
        let mut ours = self.ours;
        if self.opens_websocket {
            ours.push((header::CONNECTION, HeaderValue::from_static("Upgrade")));
            ours.push((header::UPGRADE, HeaderValue::from_static("websocket")));
        }
        Sealed {
            parts,
            ours,
            destination: self.destination,
            client: self.client.unwrap_or(self.peer),
            opens_websocket: self.opens_websocket,
        }
    }
}

/// A request as it may go out.
#[derive(Debug)]
pub struct Sealed {
    /// What the client sent, as it was judged.
    pub parts: Parts,
    /// What we add; none of these names is left among the client's.
    pub ours: Vec<(HeaderName, HeaderValue)>,
    /// Where it may go.
    pub destination: Arc<Destination>,
    /// For whom it goes there.
    pub client: IpAddr,
    /// Whether the answer may switch to a WebSocket.
    pub opens_websocket: bool,
}

static NOBODY: Principal = Principal { app: None, user: None, facts: None, certificate: None };
