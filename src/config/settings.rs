//! The document made definite: every default filled in, every number within its bounds, every address read.
//!
//! Judges only what the document alone tells: names that point elsewhere, keys and expressions are
//! judged where they are compiled. Finds everything there is to find, then goes on with defaults.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::id::AppId;
use crate::id::Digest;

use super::address::Listeners;
use super::address::StoreAddress;
use super::address::UpstreamAddress;
use super::address::networks;
use super::bounds;
use super::bounds::to_usize;
use super::checks::CheckSettings;
use super::document::AppEntry;
use super::document::Cache;
use super::document::Document;
use super::document::Limits;
use super::document::RouteEntry;
use super::document::Shutdown;
use super::document::Timeouts;
use super::document::Upstream;
use super::finding::Findings;
use super::load::Loaded;
use super::scalar::At;

/// What the document says, apart from its routes.
#[derive(Debug)]
pub struct Settings {
    /// The addresses to listen on.
    pub listen: Listeners,
    /// Networks whose forwarded addresses are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where applications are kept.
    pub store: Option<StoreAddress>,
    /// The servers behind, by name.
    pub upstreams: BTreeMap<String, UpstreamSettings>,
    /// Applications known without a store.
    pub apps: Vec<AppSettings>,
    /// What can be checked, by name; a check with an error is left out.
    pub checks: BTreeMap<String, CheckSettings>,
    /// Sizes and counts.
    pub limits: LimitSettings,
    /// Waiting times.
    pub timeouts: TimeoutSettings,
    /// What is remembered.
    pub cache: CacheSettings,
    /// How a stop goes.
    pub shutdown: ShutdownSettings,
    /// What is written per request.
    pub access_log: AccessLogSettings,
    /// Threads that serve requests, if the operator fixed their number.
    pub workers: Option<usize>,
}

/// A server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Where it is.
    pub address: UpstreamAddress,
    /// How long the first byte of an answer may take.
    pub timeout: Duration,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Unused connections kept per worker.
    pub idle_connections: usize,
}

/// An application known without a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSettings {
    /// Its public id.
    pub id: AppId,
    /// The digest of its key or secret.
    pub digest: Digest,
    /// What it may be used for.
    pub scopes: Vec<String>,
}

/// Sizes and counts beyond which a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Longest request target, in bytes.
    pub target: usize,
    /// All header fields together, in bytes.
    pub headers: usize,
    /// Number of header fields.
    pub header_count: usize,
    /// Largest request body, in bytes.
    pub body: u64,
    /// Longest token, in bytes.
    pub token: usize,
    /// Client connections open at once.
    pub connections: usize,
}

/// How long the gateway waits for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutSettings {
    /// For a whole request head.
    pub header: Duration,
    /// For the next piece of a request body.
    pub body: Duration,
    /// For the next request on an open connection.
    pub idle: Duration,
}

/// How much is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Memory for verified tokens, in bytes; 0 is off.
    pub tokens: u64,
    /// Application keys remembered.
    pub apps: usize,
    /// Folder in which the last good key sets survive a restart.
    pub key_sets: Option<PathBuf>,
}

/// How a stop goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// How long to serve on while readiness already fails.
    pub delay: Duration,
    /// How long requests in flight may take to finish.
    pub grace: Duration,
}

/// What is written to the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Whether one line per request is written.
    pub enabled: bool,
    /// Whether the line holds the query string.
    pub query: bool,
}

/// The numbers of one route; none means that upstream or limits decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteNumbers {
    /// How long the first byte of an answer may take.
    pub timeout: Option<Duration>,
    /// Largest request body, in bytes.
    pub body: Option<u64>,
}

impl Settings {
    /// Reads the settings out of a document; what is wrong with them is added to `findings`.
    ///
    /// Without usable listeners there are no settings, but everything else has been judged too.
    pub fn resolve(loaded: &Loaded, findings: &mut Findings) -> Option<Self> {
        let document = &loaded.document;
        let folder = loaded.source.folder();
        let listen = Listeners::resolve(&document.listen, findings);
        let trusted_proxies = networks(&document.trusted_proxies, findings);
        let store = document
            .store
            .as_ref()
            .and_then(|store| StoreAddress::resolve(store, folder, findings));
        let upstreams = upstreams(document, findings);
        let apps = apps(&document.apps, findings);
        let checks = CheckSettings::resolve_all(&document.checks, folder, findings);
        let limits = LimitSettings::resolve(&document.limits, findings);
        let timeouts = TimeoutSettings::resolve(&document.timeouts, findings);
        let mut cache = CacheSettings::resolve(&document.cache, findings);
        cache.key_sets = cache.key_sets.map(|path| folder.join(path));
        let shutdown = ShutdownSettings::resolve(&document.shutdown, findings);
        let access_log = AccessLogSettings {
            enabled: document.access_log.enabled.unwrap_or(true),
            query: document.access_log.query.unwrap_or(false),
        };
        let workers = bounds::WORKERS.count_if(document.workers.as_ref(), findings);
        Some(Self {
            listen: listen?,
            trusted_proxies,
            store,
            upstreams,
            apps,
            checks,
            limits,
            timeouts,
            cache,
            shutdown,
            access_log,
            workers,
        })
    }
}

impl LimitSettings {
    /// Reads the limits.
    pub fn resolve(limits: &Limits, findings: &mut Findings) -> Self {
        Self {
            target: to_usize(bounds::LIMIT_TARGET.bytes(limits.target.as_ref(), findings)),
            headers: to_usize(bounds::LIMIT_HEADERS.bytes(limits.headers.as_ref(), findings)),
            header_count: bounds::LIMIT_HEADER_COUNT.count(limits.header_count.as_ref(), findings),
            body: bounds::LIMIT_BODY.bytes(limits.body.as_ref(), findings),
            token: to_usize(bounds::LIMIT_TOKEN.bytes(limits.token.as_ref(), findings)),
            connections: bounds::LIMIT_CONNECTIONS.count(limits.connections.as_ref(), findings),
        }
    }
}

impl TimeoutSettings {
    /// Reads the waiting times.
    pub fn resolve(timeouts: &Timeouts, findings: &mut Findings) -> Self {
        Self {
            header: bounds::TIMEOUT_HEADER.time(timeouts.header.as_ref(), findings),
            body: bounds::TIMEOUT_BODY.time(timeouts.body.as_ref(), findings),
            idle: bounds::TIMEOUT_IDLE.time(timeouts.idle.as_ref(), findings),
        }
    }
}

impl CacheSettings {
    /// Reads the sizes of the caches; the folder is left as it was written.
    pub fn resolve(cache: &Cache, findings: &mut Findings) -> Self {
        Self {
            tokens: bounds::CACHE_TOKENS.bytes(cache.tokens.as_ref(), findings),
            apps: bounds::CACHE_APPS.count(cache.apps.as_ref(), findings),
            key_sets: cache.key_sets.as_ref().map(|folder| PathBuf::from(&folder.value)),
        }
    }
}

impl ShutdownSettings {
    /// Reads how a stop goes.
    pub fn resolve(shutdown: &Shutdown, findings: &mut Findings) -> Self {
        Self {
            delay: bounds::SHUTDOWN_DELAY.time(shutdown.delay.as_ref(), findings),
            grace: bounds::SHUTDOWN_GRACE.time(shutdown.grace.as_ref(), findings),
        }
    }
}

impl RouteNumbers {
    /// Reads the numbers of a route.
    pub fn resolve(route: &RouteEntry, findings: &mut Findings) -> Self {
        Self {
            timeout: bounds::ROUTE_TIMEOUT.time_if(route.timeout.as_ref(), findings),
            body: bounds::ROUTE_BODY.bytes_if(route.body.as_ref(), findings),
        }
    }
}

impl UpstreamSettings {
    /// Reads one upstream; an address that cannot be read is an error and none.
    pub fn resolve(upstream: &Upstream, findings: &mut Findings) -> Option<Self> {
        let address = match UpstreamAddress::parse(&upstream.url) {
            Ok(address) => Some(address),
            Err((what, help)) => {
                // The text is not repeated: it may hold a password.
                findings
                    .error(upstream.url.place, format!("bad upstream address: {what}"))
                    .help(help);
                None
            }
        };
        let timeout = bounds::UPSTREAM_TIMEOUT.time(upstream.timeout.as_ref(), findings);
        let connect_timeout =
            bounds::UPSTREAM_CONNECT_TIMEOUT.time(upstream.connect_timeout.as_ref(), findings);
        let idle_timeout =
            bounds::UPSTREAM_IDLE_TIMEOUT.time(upstream.idle_timeout.as_ref(), findings);
        let idle_connections =
            bounds::UPSTREAM_IDLE_CONNECTIONS.count(upstream.idle_connections.as_ref(), findings);
        let address = address?;
        Some(Self { address, timeout, connect_timeout, idle_timeout, idle_connections })
    }
}

fn upstreams(document: &Document, findings: &mut Findings) -> BTreeMap<String, UpstreamSettings> {
    document
        .upstreams
        .iter()
        .filter_map(|(name, upstream)| {
            super::checks::judge_name("upstream", name, upstream.place, findings);
            Some((name.clone(), UpstreamSettings::resolve(upstream, findings)?))
        })
        .collect()
}

fn apps(entries: &[At<AppEntry>], findings: &mut Findings) -> Vec<AppSettings> {
    let mut ids = HashMap::new();
    let mut digests = HashMap::new();
    let mut apps = Vec::new();
    for entry in entries {
        if let Some(problem) = app_id_problem(&entry.id) {
            findings.error(entry.id.place, format!("bad application id: {problem}"));
        }
        if let Some(line) = ids.insert(entry.id.value.as_str(), entry.id.place.line) {
            let id = &entry.id.value;
            findings.error(entry.id.place, format!("`{id}` is already the id in line {line}"));
        }
        let Some(digest) = Digest::from_hex(&entry.sha256) else {
            findings
                .error(entry.sha256.place, "not a SHA-256 digest: expected 64 hexadecimal digits")
                .help("`printf %s \"$KEY\" | sha256sum` prints the digest of a key");
            continue;
        };
        if let Some(line) = digests.insert(digest, entry.sha256.place.line) {
            findings
                .error(entry.sha256.place, format!("this digest already stands in line {line}"))
                .help("two applications with one key cannot be told apart");
        }
        let id = AppId::new(entry.id.value.as_str());
        apps.push(AppSettings { id, digest, scopes: entry.scopes.clone() });
    }
    apps
}

/// An id is sent upstream as the value of a header, so it must be one.
fn app_id_problem(id: &str) -> Option<&'static str> {
    match id.len() {
        0 => Some("it is empty"),
        129.. => Some("it is longer than 128 bytes"),
        _ if !id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some("only visible ASCII characters can stand in a header")
        }
        _ => None,
    }
}
