//! Which pages of other origins may read answers (Fetch, section 3.3): preflights and the headers of answers.
//!
//! Keeps nobody out: a request from a foreign page is judged like any other, and its page does not get
//! to read the answer.

use std::sync::Arc;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::header;
use http::request::Parts;

use super::Gateway;
use super::checks::Presented;
use super::denial::Denial;
use super::route::Route;
use super::trail::{Step, Trail};
use crate::config::CorsSettings;
use crate::config::OriginSetting;
use crate::route::Lookup;

/// What one `cors:` block says.
#[derive(Debug, PartialEq, Eq)]
pub struct Cors(CorsSettings);

/// A preflight that a route answers; the request that is to follow is judged when it comes.
#[derive(Debug)]
pub struct Preflight {
    pub(super) route: Arc<Route>,
    pub(super) cors: Arc<Cors>,
}

impl Preflight {
    /// The route of the request that is to follow.
    pub const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// What its sender may do.
    pub fn headers(&self, asked: &HeaderMap) -> HeaderMap {
        let Cors(settings) = &*self.cors;
        let mut headers = HeaderMap::new();
        let method = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned();
        let lists = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, settings.methods.clone().or(method)),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, settings.headers.clone()),
            (header::ACCESS_CONTROL_MAX_AGE, settings.max_age.map(|age| age.as_secs().into())),
        ];
        for (name, value) in lists {
            headers.extend(value.map(|value| (name, value)));
        }
        headers
    }
}

impl Gateway {
    /// What becomes of a browser's question whether it may send a request: answered where a route
    /// would take that and says something of other origins. It comes without credentials, and counts
    /// by its address like what is to follow.
    pub(super) fn preflight(
        &self,
        presented: &Presented<'_>,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<Option<Preflight>, Denial> {
        let Some(asked) = Asked::of(parts) else { return Ok(None) };
        let inquiry = presented.inquiry;
        let find = |method: &str| {
            let found = self.routes.find(method, inquiry.host.name(), inquiry.path.as_str());
            let Lookup::Found { route, .. } = found else { return None };
            let cors = Arc::clone(route.cors.as_ref()?);
            Some(Preflight { route: Arc::clone(route), cors })
        };
        let to_follow = find(asked.method);
        let would_be_taken = to_follow.is_some();
        let Some(preflight) = to_follow.or_else(|| find(inquiry.method.as_str())) else {
            return Ok(None);
        };
        let Preflight { route, cors } = &preflight;
        trail.route = Some(Arc::clone(route));
        trail.cors = Some(Arc::clone(cors));
        trail.note(Step::Match, || format!("asks for route `{}`", route.id));
        trail.mark(Step::Match);
        self.count_arrival(&route.rates, presented.asking)?;
        // A route that takes OPTIONS, but not what is asked for: its upstream need not hear of that.
        let judged = if would_be_taken { cors.judge(&asked) } else { Err(Denial::BeyondCors) };
        if judged.is_err() {
            // A page that is refused is not told who else might have asked.
            trail.cors = None;
        }
        judged.map(|()| Some(preflight))
    }
}

impl Cors {
    pub(super) const fn new(settings: CorsSettings) -> Self {
        Self(settings)
    }

    /// Whether this origin is named; `*` names nobody.
    pub(super) fn names(&self, origin: &HeaderValue) -> bool {
        self.0.origins.iter().flatten().any(|named| matches(named, origin.as_bytes()))
    }

    /// Whether a page may send what it asks about. Told by the status: a browser goes on with GET, HEAD
    /// and POST whatever methods it is given, once the origin is right.
    fn judge(&self, asked: &Asked<'_>) -> Result<(), Denial> {
        let Self(settings) = self;
        if settings.origins.is_some() && !self.names(asked.origin) {
            return Err(Denial::ForeignOrigin);
        }
        let takes_method = settings
            .methods
            .as_ref()
            .is_none_or(|list| items(list).any(|method| method == asked.method.as_bytes()));
        let headers = asked.headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let takes_headers = headers.iter().flat_map(items).all(|name| {
            settings.headers.iter().flat_map(items).any(|taken| taken.eq_ignore_ascii_case(name))
        });
        if takes_method && takes_headers { Ok(()) } else { Err(Denial::BeyondCors) }
    }

    /// Whose page asks.
    pub fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
        only(headers, &header::ORIGIN)
    }

    /// Takes out of an answer what its upstream says of who may read it.
    pub fn forget(headers: &mut HeaderMap) {
        for name in THEIRS {
            headers.remove(name);
        }
    }

    /// Writes into an answer who may read it.
    pub fn write(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        let Self(settings) = self;
        let allowed = if settings.origins.is_none() {
            Some(HeaderValue::from_static("*"))
        } else {
            vary(headers);
            origin.filter(|origin| self.names(origin)).cloned()
        };
        let (Some(allowed), Some(_)) = (allowed, origin) else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if settings.credentials {
            let name = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
            headers.insert(name, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &settings.expose {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

/// What a browser asks before it sends a request. An OPTIONS without these is a request like any other.
#[derive(Clone, Copy, Debug)]
struct Asked<'p> {
    method: &'p str,
    origin: &'p HeaderValue,
    headers: &'p HeaderMap,
}

impl<'p> Asked<'p> {
    fn of(parts: &'p Parts) -> Option<Self> {
        if parts.method != Method::OPTIONS {
            return None;
        }
        let headers = &parts.headers;
        let origin = Cors::origin(headers)?;
        let method = only(headers, &header::ACCESS_CONTROL_REQUEST_METHOD)?.to_str().ok()?;
        Some(Self { method, origin, headers })
    }
}

/// A field that stands there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Compared byte by byte: a browser writes an origin in one way only.
fn matches(named: &OriginSetting, origin: &[u8]) -> bool {
    match named {
        OriginSetting::This(named) => named.as_bytes() == origin,
        OriginSetting::Below { scheme, domain } => origin
            .strip_prefix(scheme.as_bytes())
            .and_then(|rest| rest.strip_suffix(domain.as_bytes()))
            .is_some_and(are_labels),
    }
}

/// One label of a host name or several, as browsers write them, before the dot of a domain.
fn are_labels(text: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        !label.is_empty()
            && label.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    text.split(|byte| *byte == b'.').all(is_label)
}

/// The items of a list in a header.
fn items(list: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let items = list.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    items.filter(|item| !item.is_empty())
}

/// One page's answer is not another's, also where a cache stands between.
fn vary(headers: &mut HeaderMap) {
    let mut names = headers.get_all(header::VARY).iter().flat_map(items);
    let is_told = names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"));
    drop(names);
    if !is_told {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

const THEIRS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];
