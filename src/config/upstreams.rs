//! The servers behind the gateway, made definite: where they are, how they are chosen, how long they are waited for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{UpstreamAddress, socket_path};
use super::bounds;
use super::document::Document;
use super::finding::Findings;
use super::scalar::{At, Place};
use super::upstream_entry::{
    BalanceWord, Eject, EndpointEntry, Health, ProxyHeader, Retry, Upstream,
};
use super::upstream_tls::TransportSettings;

/// One server, or several that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Where they are; at least one.
    pub endpoints: Vec<EndpointSettings>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// How long the first byte of an answer may take.
    pub timeout: Duration,
    /// How long the next piece of an answer may take, if that is bounded.
    pub read_timeout: Option<Duration>,
    /// How long a request and its answer may take together, if that is bounded.
    pub total_timeout: Option<Duration>,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Unused connections kept per worker and endpoint.
    pub idle_connections: usize,
    /// Connections to one endpoint at once, if they are bounded.
    pub connections: Option<usize>,
    /// Requests under way at once, if they are bounded.
    pub in_flight: Option<usize>,
    /// Requests that wait for one of them to end.
    pub queue: usize,
    /// For how long they wait.
    pub queue_timeout: Duration,
    /// Active checks.
    pub health: Option<HealthSettings>,
    /// When an endpoint rests whose requests fail.
    pub eject: Option<EjectSettings>,
    /// Within what time an endpoint that recovered gets its whole share again.
    pub slow_start: Duration,
    /// What is asked of another endpoint when one fails.
    pub retry: RetrySettings,
    /// With what header each connection begins, if with any.
    pub proxy_protocol: Option<ProxyHeader>,
    /// How often names are looked up; none: for each new connection.
    pub resolve: Option<Duration>,
    /// How it is spoken to.
    pub transport: TransportSettings,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Where it is.
    pub address: EndpointAddress,
    /// Its share of the requests, compared with those of others.
    pub weight: u32,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointAddress {
    /// At a host and port.
    Http(UpstreamAddress),
    /// At a Unix socket.
    Unix(PathBuf),
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The one of two drawn at random that has fewer requests under way.
    LeastPending,
    /// One after another.
    RoundRobin,
}

/// Active checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// What is asked for.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Checks in a row that must pass before a sick endpoint is asked again.
    pub healthy_after: u32,
    /// Checks in a row that must fail before an endpoint is asked no more.
    pub unhealthy_after: u32,
    /// Good statuses; empty stands for 200 to 399.
    pub expect: Vec<u16>,
}

/// When an endpoint rests whose requests fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectSettings {
    /// After how many failures in a row.
    pub failures: u32,
    /// For how long.
    pub rest: Duration,
    /// The most endpoints that rest at once, in hundredths of all.
    pub at_most: usize,
    /// Statuses that count as failures.
    pub statuses: Vec<u16>,
}

/// What is asked of another endpoint when one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// How many others are asked.
    pub attempts: usize,
    /// Of a hundred requests, how many are repeated at most.
    pub budget: u64,
}

impl UpstreamSettings {
    /// Reads one upstream; an address that cannot be read is an error and none.
    pub fn resolve(upstream: &At<Upstream>, findings: &mut Findings) -> Option<Self> {
        let endpoints = endpoints(upstream, findings);
        let count = endpoints.as_ref().map_or(1, Vec::len);
        let eject = match &upstream.eject {
            Some(eject) => Some(EjectSettings::resolve(eject, findings)),
            None if count > 1 => Some(EjectSettings::resolve(&Eject::default(), findings)),
            None => None,
        };
        let retry = upstream.retry.as_ref();
        let health = upstream.health.as_ref();
        let health = health.and_then(|health| HealthSettings::resolve(health, findings));
        let settings = Self {
            balance: match upstream.balance {
                None | Some(BalanceWord::LeastPending) => Balance::LeastPending,
                Some(BalanceWord::RoundRobin) => Balance::RoundRobin,
            },
            timeout: bounds::UPSTREAM_TIMEOUT.time(upstream.timeout.as_ref(), findings),
            read_timeout: bounds::UPSTREAM_READ_TIMEOUT
                .time_if(upstream.read_timeout.as_ref(), findings),
            total_timeout: bounds::UPSTREAM_TOTAL_TIMEOUT
                .time_if(upstream.total_timeout.as_ref(), findings),
            connect_timeout: bounds::UPSTREAM_CONNECT_TIMEOUT
                .time(upstream.connect_timeout.as_ref(), findings),
            idle_timeout: bounds::UPSTREAM_IDLE_TIMEOUT
                .time(upstream.idle_timeout.as_ref(), findings),
            idle_connections: bounds::UPSTREAM_IDLE_CONNECTIONS
                .count(upstream.idle_connections.as_ref(), findings),
            connections: bounds::UPSTREAM_CONNECTIONS
                .count_if(upstream.connections.as_ref(), findings),
            in_flight: bounds::UPSTREAM_IN_FLIGHT.count_if(upstream.in_flight.as_ref(), findings),
            queue: bounds::UPSTREAM_QUEUE.count(upstream.queue.as_ref(), findings),
            queue_timeout: bounds::UPSTREAM_QUEUE_TIMEOUT
                .time(upstream.queue_timeout.as_ref(), findings),
            health,
            eject,
            slow_start: bounds::UPSTREAM_SLOW_START.time(upstream.slow_start.as_ref(), findings),
            retry: RetrySettings::resolve(retry, findings),
            proxy_protocol: upstream.proxy_protocol,
            resolve: bounds::UPSTREAM_RESOLVE.time_if(upstream.resolve.as_ref(), findings),
            transport: TransportSettings::resolve(upstream, endpoints.as_deref(), findings),
            endpoints: endpoints?,
        };
        settings.judge(upstream, findings);
        Some(settings)
    }

    /// Whether a sole endpoint can be asked without counting or watching anything.
    pub fn is_plain(&self) -> bool {
        self.in_flight.is_none()
            && self.connections.is_none()
            && self.health.is_none()
            && self.eject.is_none()
            && self.read_timeout.is_none()
            && self.total_timeout.is_none()
            && self.proxy_protocol.is_none()
            && self.resolve.is_none()
    }

    /// What each setting alone does not tell.
    fn judge(&self, upstream: &At<Upstream>, findings: &mut Findings) {
        if let (Some(queue), None) = (&upstream.queue, self.in_flight) {
            findings
                .error(queue.place, "nothing would ever wait in this queue")
                .help("write `in_flight` too: requests beyond it wait");
        }
        if let Some(total) = self.total_timeout
            && let Some(written) = &upstream.total_timeout
            && total < self.timeout
            && upstream.timeout.is_some()
        {
            findings.warn(written.place, "`total_timeout` is shorter than `timeout`");
        }
        let is_named = |endpoint: &EndpointSettings| match &endpoint.address {
            EndpointAddress::Http(address) => address.host.parse::<std::net::IpAddr>().is_err(),
            EndpointAddress::Unix(_) => false,
        };
        if let Some(resolve) = &upstream.resolve
            && !self.endpoints.iter().any(is_named)
        {
            findings
                .error(resolve.place, "there is no name to look up")
                .help("`resolve` says how often names are looked up; an address needs no look-up");
        }
    }
}

fn endpoints(upstream: &At<Upstream>, findings: &mut Findings) -> Option<Vec<EndpointSettings>> {
    match (&upstream.url, &upstream.endpoints) {
        (Some(url), None) => {
            let address = address(url, findings)?;
            Some(vec![EndpointSettings { address, weight: 1 }])
        }
        (None, Some(entries)) => several(entries, findings),
        (Some(_), Some(entries)) => {
            findings
                .error(entries.place, "an upstream has `url` or `endpoints`")
                .help("put the `url` among the `endpoints`");
            None
        }
        (None, None) => {
            findings
                .error(upstream.place, "the upstream has no address")
                .help("write `url: http://HOST:PORT`, or several of them as `endpoints`");
            None
        }
    }
}

fn several(
    entries: &At<Vec<At<EndpointEntry>>>,
    findings: &mut Findings,
) -> Option<Vec<EndpointSettings>> {
    if entries.is_empty() || entries.len() > MOST_ENDPOINTS {
        findings.error(entries.place, format!("an upstream has 1 to {MOST_ENDPOINTS} endpoints"));
        return None;
    }
    let mut read = Vec::with_capacity(entries.len());
    for entry in &entries.value {
        let weight = bounds::ENDPOINT_WEIGHT.count(entry.weight.as_ref(), findings);
        // An address alone has the place of its entry.
        let place = if entry.url.place == Place::default() { entry.place } else { entry.url.place };
        let url = At { value: entry.url.value.clone(), place };
        let Some(address) = address(&url, findings) else { continue };
        let settings = EndpointSettings { address, weight: u32::try_from(weight).unwrap_or(1) };
        if read.iter().any(|other: &EndpointSettings| other.address == settings.address) {
            findings
                .error(place, "the endpoint is written twice")
                .help("give it a larger `weight` instead");
        }
        read.push(settings);
    }
    (read.len() == entries.len()).then_some(read)
}

fn address(written: &At<String>, findings: &mut Findings) -> Option<EndpointAddress> {
    match EndpointAddress::parse(written) {
        Ok(address) => Some(address),
        Err((what, help)) => {
            // The text is not repeated: it may hold a password.
            findings.error(written.place, format!("bad upstream address: {what}")).help(help);
            None
        }
    }
}

impl EndpointAddress {
    /// Reads `http://HOST[:PORT]` or `unix:/PATH`; the error says what is wrong and what to do.
    pub fn parse(text: &str) -> Result<Self, (&'static str, &'static str)> {
        let Some(path) = text.strip_prefix("unix:") else {
            return UpstreamAddress::parse(text).map(Self::Http);
        };
        socket_path(path).map(Self::Unix).ok_or((
            "the path of the socket is none",
            "write `unix:/PATH`, absolute and of at most 100 bytes",
        ))
    }
}

impl HealthSettings {
    fn resolve(health: &Health, findings: &mut Findings) -> Option<Self> {
        let path = &health.path;
        let is_path = path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !is_path {
            findings
                .error(path.place, "the path of the check is none")
                .help("write a path that a request can ask for, such as `/healthz`");
            return None;
        }
        let count = |bound: &bounds::Bound, written: Option<&At<u32>>, findings: &mut Findings| {
            u32::try_from(bound.count(written, findings)).unwrap_or(u32::MAX)
        };
        Some(Self {
            path: path.value.clone(),
            interval: bounds::HEALTH_INTERVAL.time(health.interval.as_ref(), findings),
            timeout: bounds::HEALTH_TIMEOUT.time(health.timeout.as_ref(), findings),
            healthy_after: count(
                &bounds::HEALTH_HEALTHY_AFTER,
                health.healthy_after.as_ref(),
                findings,
            ),
            unhealthy_after: count(
                &bounds::HEALTH_UNHEALTHY_AFTER,
                health.unhealthy_after.as_ref(),
                findings,
            ),
            expect: statuses(&health.expect, findings),
        })
    }
}

impl EjectSettings {
    fn resolve(eject: &Eject, findings: &mut Findings) -> Self {
        let failures = bounds::EJECT_FAILURES.count(eject.failures.as_ref(), findings);
        Self {
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            rest: bounds::EJECT_FOR.time(eject.rest.as_ref(), findings),
            at_most: bounds::EJECT_AT_MOST.count(eject.at_most.as_ref(), findings),
            statuses: match &eject.statuses {
                Some(written) => statuses(written, findings),
                None => FAILURES.to_vec(),
            },
        }
    }
}

impl RetrySettings {
    fn resolve(retry: Option<&Retry>, findings: &mut Findings) -> Self {
        let attempts = retry.and_then(|retry| retry.attempts.as_ref());
        let budget = retry.and_then(|retry| retry.budget.as_ref());
        let budget = bounds::RETRY_BUDGET.count(budget, findings);
        Self {
            attempts: bounds::RETRY_ATTEMPTS.count(attempts, findings),
            budget: u64::try_from(budget).unwrap_or(0),
        }
    }
}

fn statuses(written: &[At<u16>], findings: &mut Findings) -> Vec<u16> {
    let mut good = Vec::with_capacity(written.len());
    for status in written {
        if (200..=599).contains(&status.value) {
            good.push(status.value);
        } else {
            findings
                .error(status.place, format!("`{}` is no status of an answer", status.value))
                .help("write statuses from 200 to 599");
        }
    }
    good
}

pub(super) fn resolve_all(
    document: &Document,
    findings: &mut Findings,
) -> BTreeMap<String, UpstreamSettings> {
    document
        .upstreams
        .iter()
        .filter_map(|(name, upstream)| {
            super::checks::judge_name("upstream", name, upstream.place, findings);
            Some((name.clone(), UpstreamSettings::resolve(upstream, findings)?))
        })
        .collect()
}

/// Endpoints of one upstream.
const MOST_ENDPOINTS: usize = 256;
/// What servers in front of servers say when those behind them fail.
const FAILURES: [u16; 3] = [502, 503, 504];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::parse;
    use crate::config::settings::Settings;
    use crate::config::source::Source;

    /// The upstream `api` of these keys, and what is found: `line:column message`.
    #[track_caller]
    fn resolve(keys: &str) -> (Option<UpstreamSettings>, Vec<String>) {
        let text = format!(
            "listen: {{ public: 127.0.0.1:80 }}\nroutes: []\nupstreams:\n  api: {{ {keys} }}\n"
        );
        let loaded = parse(Source::new("p.yaml", text)).unwrap_or_else(|report| panic!("{report}"));
        let mut findings = Findings::new();
        let mut settings = Settings::resolve(&loaded, &mut findings).unwrap();
        let found = findings
            .iter()
            .map(|one| format!("{}:{} {}", one.place.line, one.place.column, one.message));
        (settings.upstreams.remove("api"), found.collect())
    }

    #[track_caller]
    fn good(keys: &str) -> UpstreamSettings {
        let (settings, found) = resolve(keys);
        assert!(found.is_empty(), "{found:?}");
        settings.unwrap()
    }

    #[test]
    fn an_endpoint_is_an_address_or_one_with_a_weight() {
        let upstream = good(
            "endpoints: [\"http://a:1\", { url: \"http://[::1]:2\", weight: 7 }, \"unix:/run/a.sock\"]",
        );
        let written: Vec<_> = upstream.endpoints.iter().map(|one| one.weight).collect();
        assert_eq!(written, [1, 7, 1]);
        let unix = EndpointAddress::Unix(PathBuf::from("/run/a.sock"));
        assert_eq!(upstream.endpoints[2].address, unix);
        assert_eq!(upstream.balance, Balance::LeastPending);
        assert_eq!(good("url: \"unix:/a\"").endpoints.len(), 1);
    }

    #[test]
    fn several_endpoints_have_rules_for_failures_and_one_has_none() {
        let several = good("endpoints: [\"http://a\", \"http://b\"]");
        let eject = several.eject.unwrap();
        assert_eq!((eject.failures, eject.at_most, eject.statuses.len()), (5, 50, 3));
        assert_eq!(several.retry, RetrySettings { attempts: 1, budget: 20 });
        assert_eq!(good("url: \"http://a\"").eject, None);
        assert_eq!(good("endpoints: [\"http://a\"]").eject, None);
        let written = good("url: \"http://a\", eject: { for: 1s, statuses: [500] }").eject.unwrap();
        assert_eq!((written.rest, written.statuses), (Duration::from_secs(1), vec![500]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (keys, found) in [
            ("timeout: 1s", "4:8 the upstream has no address"),
            (
                "url: \"http://a\", endpoints: [\"http://b\"]",
                "4:38 an upstream has `url` or `endpoints`",
            ),
            ("endpoints: []", "4:21 an upstream has 1 to 256 endpoints"),
            (
                "endpoints: [\"http://a\", \"https://b\"]",
                "4:8 some endpoints are at `https://` and some are not",
            ),
            (
                "endpoints: [\"http://a\", { url: \"http://A:80\" }]",
                "4:41 the endpoint is written twice",
            ),
            (
                "endpoints: [{ url: \"http://a\", weight: 0 }]",
                "4:49 `weight` is 0, which is out of bounds",
            ),
            (
                "endpoints: [{ url: \"http://a\", weight: 101 }]",
                "4:49 `weight` is 101, which is out of bounds",
            ),
            ("url: \"unix:a.sock\"", "4:15 bad upstream address: the path of the socket is none"),
            ("url: \"unix:/a/\"", "4:15 bad upstream address: the path of the socket is none"),
            ("url: \"http://a\", queue: 5", "4:34 nothing would ever wait in this queue"),
            ("url: \"http://127.0.0.1\", resolve: 5s", "4:44 there is no name to look up"),
            ("url: \"http://a\", health: { path: healthz }", "4:43 the path of the check is none"),
            ("url: \"http://a\", health: { path: \"/a b\" }", "4:43 the path of the check is none"),
            (
                "url: \"http://a\", health: { path: /, expect: [199] }",
                "4:55 `199` is no status of an answer",
            ),
            (
                "url: \"http://a\", eject: { at_most: 101 }",
                "4:45 `at_most` is 101, which is out of bounds",
            ),
        ] {
            assert_eq!(resolve(keys).1, [found], "{keys}");
        }
    }

    #[test]
    fn a_socket_has_an_absolute_path_that_the_system_takes() {
        let long = |length: usize| format!("unix:/{}", "a".repeat(length - 1));
        assert!(EndpointAddress::parse(&long(100)).is_ok());
        for text in [&long(101), "unix:", "unix:/", "unix://run/a", "unix:run/a", "UNIX:/a"] {
            assert!(EndpointAddress::parse(text).is_err(), "{text}");
        }
    }
}
