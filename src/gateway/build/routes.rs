//! The entries of `routes`, each compiled, all put into one table.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use http::header;

use super::rates::Known;
use super::requirements;
use super::requirements::Names;
use super::transports::Transports;
use crate::config::At;
use crate::config::CorsSettings;
use crate::config::Findings;
use crate::config::Loaded;
use crate::config::RouteEntry;
use crate::config::RouteNumbers;
use crate::config::Settings;
use crate::config::UpstreamHttp2;
use crate::config::UpstreamSettings;
use crate::config::is_ours;
use crate::dialect::SecondFactor;
use crate::gateway::checks::{Check, Gate};
use crate::gateway::cors::Cors;
use crate::gateway::denial::Kind;
use crate::gateway::identity::Fact;
use crate::gateway::identity::ForwardRule;
use crate::gateway::kept::Kept;
use crate::gateway::route::Access;
use crate::gateway::route::Destination;
use crate::gateway::route::Route;
use crate::gateway::route::Target;
use crate::gateway::transport::Transport;
use crate::gateway::voice::Voice;
use crate::id::RouteId;
use crate::id::UpstreamName;
use crate::policy::Expression;
use crate::policy::PermissionRule;
use crate::policy::Policy;
use crate::route::Conflict;
use crate::route::Pattern;
use crate::route::Require;
use crate::route::RouteTable;
use crate::telemetry::RouteMetrics;

pub(super) struct Routes {
    pub(super) table: RouteTable<Arc<Route>>,
    pub(super) identity_names: Vec<HeaderName>,
    /// By which paths are judged that no route encloses.
    pub(super) fallback: Option<Require>,
    /// Whether any route lets other origins in.
    pub(super) has_cors: bool,
    /// Every upstream, whether a route leads there or not.
    pub(super) destinations: Vec<Arc<Destination>>,
}

/// What every route is compiled against.
struct Ground<'g> {
    names: &'g Names,
    checks: &'g [Check],
    rates: &'g Known,
    default_rates: &'g [At<String>],
    settings: &'g Settings,
    kept: &'g Kept,
    fallback: Option<Require>,
    /// Whether `defaults` has a `require`, be it good or bad.
    has_default: bool,
    forward: Vec<ForwardRule>,
    destinations: BTreeMap<&'g str, Arc<Destination>>,
    /// That of `defaults`.
    cors: Option<Arc<Cors>>,
}

/// The routes of login services, made elsewhere.
type Calls = Vec<(Pattern, Arc<Route>, At<String>)>;

pub(super) fn compile(
    (names, checks, rates): (&Names, &[Check], &Known),
    loaded: &Loaded,
    (settings, kept, transports): (&Settings, &Kept, &Transports<'_>),
    (calls, cors): (Calls, Option<&Arc<Cors>>),
    findings: &mut Findings,
) -> Option<Routes> {
    let document = &loaded.document;
    let fallback = requirements::default(names, loaded, findings);
    let forward = forward_rules(document.defaults.forward.as_ref(), findings);
    let destinations = settings
        .upstreams
        .iter()
        .filter_map(|(name, upstream)| {
            let transport = transports.get(name.as_str())?.clone();
            Some((name.as_str(), Arc::new(destination(name, upstream, transport, kept))))
        })
        .collect();
    let default_rates = document.defaults.rates.as_slice();
    let has_default = document.defaults.require.is_some();
    let cors = cors.cloned();
    let ground = Ground {
        names,
        checks,
        rates,
        default_rates,
        settings,
        kept,
        fallback,
        has_default,
        forward,
        destinations,
        cors,
    };
    let mut compiled = Vec::with_capacity(document.routes.len() + calls.len());
    let mut written = Vec::with_capacity(document.routes.len() + calls.len());
    if document.routes.is_empty() && document.login.is_empty() {
        let place = document.listen.public.place;
        findings.error(place, "there is no route: nothing would ever be forwarded");
    }
    for entry in &document.routes {
        let pattern = match Pattern::parse(&entry.pattern) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let place = requirements::within(&entry.pattern, error.range.start);
                findings
                    .error(place, format!("`match`: {}", error.message))
                    .help("a match is `METHODS [host]/path`, for example `GET /orders/{id}` or `* api.example.com/v1/**`");
                None
            }
        };
        if let Some(pattern) = pattern
            && let Some(route) = ground.route(entry, &pattern, findings)
        {
            compiled.push((pattern, Arc::new(route)));
            written.push(entry.pattern.clone());
        }
    }
    for (pattern, route, text) in calls {
        compiled.push((pattern, route));
        written.push(text);
    }
    let identity_names =
        compiled.iter().flat_map(|(_, route)| &route.forward).chain(&ground.forward);
    let identity_names = identity_names.map(|rule| rule.name.clone()).collect();
    let has_cors = compiled.iter().any(|(_, route)| route.cors.is_some());
    let destinations = ground.destinations.values().map(Arc::clone).collect();
    let fallback = ground.fallback;
    match RouteTable::build(compiled) {
        Ok(table) => Some(Routes { table, identity_names, fallback, has_cors, destinations }),
        Err(conflicts) => {
            for conflict in conflicts {
                report(conflict, &written, findings);
            }
            None
        }
    }
}

fn report(conflict: Conflict, written: &[At<String>], findings: &mut Findings) {
    let of = |number: usize| written.get(number);
    match conflict {
        Conflict::Tie { first, second } => {
            let (Some(first), Some(second)) = (of(first), of(second)) else { return };
            findings
                .error(
                    second.place,
                    format!("`{}` and `{}` take the same requests", **second, **first),
                )
                .help(format!(
                    "the other one stands in line {}; make one of them more specific",
                    first.place.line
                ));
        }
        Conflict::Unreachable { pattern } => {
            let Some(pattern) = of(pattern) else { return };
            findings.error(
                pattern.place,
                format!("no request can reach `{}`: more specific routes take them all", **pattern),
            );
        }
    }
}

impl Ground<'_> {
    fn route(
        &self,
        entry: &At<RouteEntry>,
        pattern: &Pattern,
        findings: &mut Findings,
    ) -> Option<Route> {
        let numbers = RouteNumbers::resolve(entry, findings);
        let access = self.access(entry, findings);
        let destination = self.destination(&entry.to, findings);
        let params: Vec<String> = pattern.params().map(str::to_owned).collect();
        let policy = self.policy(entry, access.as_ref(), &params, findings);
        let forward = match &entry.forward {
            Some(_) => forward_rules(entry.forward.as_ref(), findings),
            None => self.forward.clone(),
        };
        let id = entry.name.as_ref().map_or(pattern.text(), |name| name.value.as_str());
        let destination = destination?;
        let timeout = self.settings.upstreams.get(destination.name.as_str())?.timeout;
        let opens_websockets = upgrades(entry, &destination, findings);
        Some(Route {
            id: RouteId::new(id),
            target: Target::Upstream(destination),
            second_factor: self.second_factor(entry, access.as_ref()?, findings),
            voice: self.voice(access.as_ref()?),
            access: access?,
            policy: policy?,
            forward,
            params,
            response_timeout: numbers.timeout.unwrap_or(timeout),
            body_limit: numbers.body.unwrap_or(self.settings.limits.body),
            rates: self
                .rates
                .of_route(entry.rates.as_deref().unwrap_or(self.default_rates), findings),
            websocket_idle: opens_websockets.then_some(self.settings.streams.idle),
            cors: self.cors(numbers.cors),
            metrics: RouteMetrics::new(&self.kept.metrics, id),
        })
    }

    fn cors(&self, own: Option<CorsSettings>) -> Option<Arc<Cors>> {
        own.map(|own| Arc::new(Cors::new(own))).or_else(|| self.cors.clone())
    }

    /// How a second factor is shown on a route that is marked so.
    fn second_factor(
        &self,
        entry: &At<RouteEntry>,
        access: &Access,
        findings: &mut Findings,
    ) -> Option<Arc<SecondFactor>> {
        if !entry.second_factor {
            return None;
        }
        let voice = self.voice(access);
        let factor = match &voice {
            Voice::Dialect(dialect) => dialect.second_factor.clone(),
            Voice::Plain | Voice::Door(_) => None,
        };
        if factor.is_none() {
            findings
                .error(entry.pattern.place, "nothing says how a second factor is shown here")
                .help("`require` a check with `issuer: self` whose dialect has a `second_factor`");
        }
        factor
    }

    /// In whose words the route refuses: those of the first dialect whose tokens it takes.
    fn voice(&self, access: &Access) -> Voice {
        let Access::Guarded(require) = access else { return Voice::Plain };
        let checks = require.checks();
        let mut gates = checks.iter().filter_map(|index| match &self.checks.get(index.0)?.gate {
            Gate::User(user) => user.dialect.clone(),
            Gate::App(_) | Gate::Basic(_) | Gate::Header(_) | Gate::Certificate(_) => None,
        });
        gates.next().map_or(Voice::Plain, Voice::Dialect)
    }

    fn access(&self, entry: &At<RouteEntry>, findings: &mut Findings) -> Option<Access> {
        let place = entry.pattern.place;
        match (&entry.require, entry.public) {
            (Some(require), true) => {
                findings
                    .error(require.place, "a public route requires nothing")
                    .help("remove `public: true` or `require`");
                None
            }
            (None, true) => {
                findings.warn(place, format!("`{}` is public: nobody is checked", *entry.pattern));
                Some(Access::Public)
            }
            (Some(text), false) => {
                let require = requirements::compile(self.names, text, findings)?;
                if self.fallback.as_ref().is_some_and(|default| require.weaker_than(default)) {
                    findings.warn(
                        text.place,
                        format!("`{}` requires less than `defaults` do", *entry.pattern),
                    );
                }
                Some(Access::Guarded(require))
            }
            (None, false) => {
                if !self.has_default {
                    findings
                        .error(
                            place,
                            "the route requires nothing, and `defaults` have no `require`",
                        )
                        .help("write `require:`, or `public: true` if nobody is to be checked");
                }
                self.fallback.clone().map(Access::Guarded)
            }
        }
    }

    fn destination(&self, to: &At<String>, findings: &mut Findings) -> Option<Arc<Destination>> {
        if !self.names.upstreams.contains(&to.value) {
            findings
                .error(to.place, format!("no upstream is named `{}`", **to))
                .suggest(to, self.names.upstreams.iter().map(String::as_str));
        }
        self.destinations.get(to.value.as_str()).cloned()
    }

    fn policy(
        &self,
        entry: &At<RouteEntry>,
        access: Option<&Access>,
        params: &[String],
        findings: &mut Findings,
    ) -> Option<Policy> {
        let yields_user = match access {
            Some(Access::Guarded(require)) => require
                .checks()
                .iter()
                .any(|index| matches!(self.names.kind(*index), Some(Kind::User | Kind::Basic))),
            Some(Access::Public) => false,
            // Its own error is reported already.
            None => true,
        };
        if let Some(permission) = entry.permissions.first()
            && !yields_user
        {
            findings
                .error(
                    permission.place,
                    "no check of this route yields a user who could have permissions",
                )
                .help("`require` a `jwt` check");
            return None;
        }
        let permissions: Option<Vec<PermissionRule>> = entry
            .permissions
            .iter()
            .map(|name| {
                PermissionRule::parse(name)
                    .map_err(|error| findings.error(name.place, format!("`{}`: {error}", **name)))
                    .ok()
            })
            .collect();
        let allow = match &entry.allow {
            Some(text) => Some(allow(text, params, findings)?),
            None => None,
        };
        Some(Policy { permissions: permissions?, allow })
    }
}

fn upgrades(entry: &RouteEntry, to: &Destination, findings: &mut Findings) -> bool {
    let Some(upgrade) = &entry.upgrade else { return false };
    if upgrade.value != "websocket" {
        findings
            .error(upgrade.place, format!("`{}` cannot be upgraded to", **upgrade))
            .help("the one protocol is `websocket`");
    }
    if to.transport.http2 != UpstreamHttp2::Never {
        findings
            .error(upgrade.place, "the upstream speaks HTTP/2, which has no upgrades")
            .help("lead the route to an upstream with `http2: never`");
    }
    true
}

fn allow(text: &At<String>, params: &[String], findings: &mut Findings) -> Option<Expression> {
    let params: Vec<&str> = params.iter().map(String::as_str).collect();
    Expression::parse(text, &params)
        .map_err(|error| {
            let place = requirements::within(text, error.range.start);
            findings.error(place, format!("`allow`: {}", error.message));
        })
        .ok()
}

fn destination(
    name: &str,
    upstream: &UpstreamSettings,
    transport: Transport,
    kept: &Kept,
) -> Destination {
    let pool = kept.pool(name, upstream);
    Destination {
        name: UpstreamName::new(name),
        sole: pool.sole(),
        pool,
        transport,
        connect_timeout: upstream.connect_timeout,
        idle_timeout: upstream.idle_timeout,
        idle_connections: upstream.idle_connections,
        connections: upstream.connections,
        announces: upstream.proxy_protocol,
    }
}

fn forward_rules(
    written: Option<&BTreeMap<String, At<String>>>,
    findings: &mut Findings,
) -> Vec<ForwardRule> {
    let mut rules = Vec::new();
    for (name, fact) in written.into_iter().flatten() {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        let is_free = |name: &HeaderName| !NOT_IDENTITY.contains(name) && !is_ours(name);
        let Some(header) = header.filter(is_free) else {
            findings.error(fact.place, format!("`{name}` is no header that can tell who calls"));
            continue;
        };
        match Fact::parse(fact) {
            Some(fact) => rules.push(ForwardRule { name: header, fact }),
            None => findings
                .error(fact.place, format!("`{}` is no fact about the caller", **fact))
                .help(
                    "write app.id, app.scopes, user.id, user.issuer, user.CLAIM such as user.sub, \
                     certificate.subject, certificate.sha256, certificate.dns or certificate.uris",
                ),
        }
    }
    rules
}

/// Names with a meaning of their own, which stripping or setting would break.
const NOT_IDENTITY: [HeaderName; 10] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::CONTENT_TYPE,
    header::COOKIE,
];
