//! The document made definite: every default filled in, every number within its bounds, every address read.
//!
//! Judges only what the document alone tells: names that point elsewhere, keys and expressions are
//! judged where they are compiled. Finds everything there is to find, then goes on with defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::address::Listeners;
use super::address::StoreAddress;
use super::address::{judge_local, proxies};
use super::apps;
use super::apps::AppSettings;
use super::bounds;
use super::bounds::Bound;
use super::checks::CheckSettings;
use super::cors::CorsSettings;
use super::document::Cache;
use super::document::Cors;
use super::document::RouteEntry;
use super::document::Shutdown;
use super::document::Timeouts;
use super::finding::Findings;
use super::http2::Http2Settings;
use super::limits::LimitSettings;
use super::load::Loaded;
use super::logins;
use super::logins::LoginSettings;
use super::logins::PasswordSettings;
use super::rates;
use super::rates::RateSettings;
use super::scalar::At;
use super::scalar::SecretRef;
use super::upstreams;
use super::upstreams::UpstreamSettings;
use crate::inquiry::TrustedProxies;

/// What the document says, apart from its routes.
#[derive(Debug)]
pub struct Settings {
    /// The addresses to listen on.
    pub listen: Listeners,
    /// Whose connections begin with a PROXY header.
    pub proxied: TrustedProxies,
    /// Whose forwarded addresses are believed.
    pub trusted_proxies: TrustedProxies,
    /// Where applications and users are kept.
    pub store: Option<StoreAddress>,
    /// The key that seals what the store keeps; there is one when there is a login service.
    pub master: Option<At<SecretRef>>,
    /// The servers behind, by name.
    pub upstreams: BTreeMap<String, UpstreamSettings>,
    /// Applications known without a store.
    pub apps: Vec<AppSettings>,
    /// What can be checked, by name; a check with an error is left out.
    pub checks: BTreeMap<String, CheckSettings>,
    /// Login services of our own; one with an error is left out.
    pub logins: Vec<LoginSettings>,
    /// How passwords are judged and kept.
    pub passwords: PasswordSettings,
    /// How often somebody may call, by name; one with an error is left out.
    pub rates: BTreeMap<String, RateSettings>,
    /// Sizes and counts.
    pub limits: LimitSettings,
    /// Waiting times.
    pub timeouts: TimeoutSettings,
    /// What a client may do with HTTP/2.
    pub http2: Http2Settings,
    /// What is remembered.
    pub cache: CacheSettings,
    /// Which pages of other origins may read answers, unless a route says otherwise.
    pub cors: Option<CorsSettings>,
    /// What becomes of answers that take long.
    pub streams: StreamSettings,
    /// How a stop goes.
    pub shutdown: ShutdownSettings,
    /// What is written per request.
    pub access_log: AccessLogSettings,
    /// Threads that serve requests, if the operator fixed their number.
    pub workers: Option<usize>,
}

/// How long the gateway waits for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutSettings {
    /// For a whole request head.
    pub header: Duration,
    /// For the next piece of a request body.
    pub body: Duration,
    /// For the next request on an open connection, and for a client to take more of its answer.
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

/// What becomes of answers that take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// How long one goes on when its caller may not any more.
    pub grace: Duration,
    /// How long a WebSocket may be silent.
    pub idle: Duration,
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

/// The numbers of one route; none means that upstream, limits or defaults decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteNumbers {
    /// How long the first byte of an answer may take.
    pub timeout: Option<Duration>,
    /// Largest request body, in bytes.
    pub body: Option<u64>,
    /// Which pages of other origins may read answers.
    pub cors: Option<CorsSettings>,
}

impl Settings {
    /// Reads the settings out of a document; what is wrong with them is added to `findings`.
    ///
    /// Without usable listeners there are no settings, but everything else has been judged too.
    pub fn resolve(loaded: &Loaded, findings: &mut Findings) -> Option<Self> {
        let document = &loaded.document;
        let folder = loaded.source.folder();
        let listen = Listeners::resolve(&document.listen, findings);
        let public = listen.as_ref().map(|listen| &listen.public);
        let proxied = proxies(&document.listen.proxy_protocol, public, findings);
        let trusted_proxies = proxies(&document.trusted_proxies, public, findings);
        if let Some(public) = public {
            let place = document.listen.public.place;
            judge_local(public, place, [&proxied, &trusted_proxies], findings);
        }
        let store = document
            .store
            .as_ref()
            .and_then(|store| StoreAddress::resolve(store, folder, findings));
        let upstreams = upstreams::resolve_all(document, findings);
        let apps = apps::resolve(&document.apps, findings);
        let logins = LoginSettings::resolve_all(&document.login, findings);
        let checks = CheckSettings::resolve_all(&document.checks, &document.login, findings);
        logins::judge_needs(document, findings);
        let passwords = PasswordSettings::resolve(&document.passwords, findings);
        let rates = rates::resolve(&document.rates, findings);
        let limits = LimitSettings::resolve(&document.limits, findings);
        let timeouts = TimeoutSettings::resolve(&document.timeouts, findings);
        let http2 = Http2Settings::resolve(&document.http2, findings);
        let mut cache = CacheSettings::resolve(&document.cache, findings);
        cache.key_sets = cache.key_sets.map(|path| folder.join(path));
        let default = document.defaults.cors.as_ref();
        let cors = cors(default, &bounds::DEFAULT_CORS_MAX_AGE, findings);
        let streams = StreamSettings {
            grace: bounds::STREAM_GRACE.time(document.streams.grace.as_ref(), findings),
            idle: bounds::STREAM_IDLE.time(document.streams.idle.as_ref(), findings),
        };
        let shutdown = ShutdownSettings::resolve(&document.shutdown, findings);
        let access_log = AccessLogSettings {
            enabled: document.access_log.enabled.unwrap_or(true),
            query: document.access_log.query.unwrap_or(false),
        };
        let workers = bounds::WORKERS.count_if(document.workers.as_ref(), findings);
        Some(Self {
            listen: listen?,
            proxied,
            trusted_proxies,
            store,
            master: document.secrets.master.clone(),
            upstreams,
            apps,
            checks,
            logins,
            passwords,
            rates,
            limits,
            timeouts,
            http2,
            cache,
            cors,
            streams,
            shutdown,
            access_log,
            workers,
        })
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
            cors: cors(route.cors.as_ref(), &bounds::ROUTE_CORS_MAX_AGE, findings),
        }
    }
}

fn cors(
    written: Option<&At<Cors>>,
    max_age: &Bound,
    findings: &mut Findings,
) -> Option<CorsSettings> {
    written.map(|written| CorsSettings::resolve(written, max_age, findings))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::load::parse;
    use crate::config::report::Report;
    use crate::config::source::Source;

    const BASE: &str = "listen: { public: 127.0.0.1:80 }\nupstreams: {}\nroutes: []\n";

    /// What is found in a document that begins with three good lines: `line:column message`.
    #[track_caller]
    pub(in crate::config) fn remarks(rest: &str) -> Vec<String> {
        let (findings, _) = resolve(&format!("{BASE}{rest}"));
        let place = |at: super::super::Place| format!("{}:{}", at.line, at.column);
        findings.iter().map(|one| format!("{} {}", place(one.place), one.message)).collect()
    }

    /// The settings of a document that begins with three good lines and has no errors.
    #[track_caller]
    pub(in crate::config) fn settings(rest: &str) -> Settings {
        let (findings, settings) = resolve(&format!("{BASE}{rest}"));
        assert!(!findings.has_errors(), "{findings:?}");
        settings.unwrap()
    }

    #[track_caller]
    fn resolve(text: &str) -> (Findings, Option<Settings>) {
        let source = Source::new("/etc/portcullis/p.yaml", text);
        let loaded = parse(source).unwrap_or_else(|report| panic!("{report}"));
        let mut findings = Findings::new();
        let settings = Settings::resolve(&loaded, &mut findings);
        (findings, settings)
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let settings = settings("");
        assert_eq!(settings.limits.target, 8 << 10);
        assert_eq!(settings.limits.body, 100 << 20);
        assert_eq!(settings.timeouts.header, Duration::from_secs(10));
        assert_eq!(settings.cache.key_sets, None);
        assert_eq!(settings.shutdown.grace, Duration::from_secs(25));
        assert_eq!(settings.access_log, AccessLogSettings { enabled: true, query: false });
        assert_eq!(settings.workers, None);
        assert!(settings.trusted_proxies == TrustedProxies::default() && settings.store.is_none());
    }

    #[test]
    fn what_is_written_holds_and_paths_start_at_the_file() {
        let settings = settings(
            "limits: { target: 64B }\ncache: { tokens: 0B, key_sets: keys }\nworkers: 2\nstore: sqlite:p.db\n",
        );
        assert_eq!(settings.limits.target, 64);
        assert_eq!(settings.cache.tokens, 0);
        assert_eq!(settings.cache.key_sets, Some(PathBuf::from("/etc/portcullis/keys")));
        assert_eq!(settings.workers, Some(2));
        let db = PathBuf::from("/etc/portcullis/p.db");
        assert_eq!(settings.store, Some(StoreAddress::Sqlite(db)));
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_everywhere() {
        for (rest, found) in [
            ("workers: 0", "4:10 `workers` is 0, which is out of bounds"),
            ("limits: { connections: 0 }", "4:24 `connections` is 0, which is out of bounds"),
            ("limits: { body: 2TiB }", "4:17 `body` is 2TiB, which is out of bounds"),
            ("timeouts: { idle: 999ms }", "4:19 `idle` is 999ms, which is out of bounds"),
            ("timeouts: { idle: 61m }", "4:19 `idle` is 61m, which is out of bounds"),
            ("cache: { apps: 15 }", "4:16 `apps` is 15, which is out of bounds"),
            ("shutdown: { delay: 301s }", "4:20 `delay` is 301s, which is out of bounds"),
        ] {
            assert_eq!(remarks(rest), [found]);
        }
        for rest in [
            "workers: 1024",
            "limits: { body: 1TiB }",
            "timeouts: { idle: 60m }",
            "cache: { apps: 16 }",
        ] {
            assert_eq!(remarks(rest), [""; 0], "{rest}");
        }
    }

    #[test]
    fn an_upstream_is_judged_whole() {
        let text = BASE.replace(
            "upstreams: {}",
            "upstreams:\n  good: { url: \"http://a:1\", timeout: 1h }\n  9bad: { url: \"https://user:hunter2@a\", timeout: 2h, idle_connections: 10001 }",
        );
        let (findings, settings) = resolve(&text);
        let found: Vec<_> = findings.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            found,
            [
                "`9bad` cannot be the name of a upstream",
                "bad upstream address: a user or password in an address is not supported",
                "`timeout` is 2h, which is out of bounds",
                "`idle_connections` is 10001, which is out of bounds",
            ]
        );
        let upstreams = settings.unwrap().upstreams;
        assert_eq!(upstreams.keys().collect::<Vec<_>>(), ["good"]);
        assert_eq!(upstreams["good"].timeout, Duration::from_hours(1));
        assert_eq!(upstreams["good"].idle_timeout, Duration::from_mins(1));
    }

    #[test]
    fn everything_wrong_is_reported_at_once_in_the_order_of_the_file() {
        let text = "\
listen: { public: 0.0.0.0:80, admin: 127.0.0.1:80 }
trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]
store: mysql://root:hunter2@db
upstreams:
  api: { url: \"http://127.0.0.1:9000/v1\", timeout: 0s }
routes: []
limits: { target: 1MiB }
";
        let source = Source::new("p.yaml", text);
        let loaded = parse(source.clone()).unwrap();
        let mut findings = Findings::new();
        Settings::resolve(&loaded, &mut findings);
        let report = Report::new(source, findings).to_string();
        let expected = r#"
error: the admin address is the public address
 --> p.yaml:1:38
  |
1 | listen: { public: 0.0.0.0:80, admin: 127.0.0.1:80 }
  |                                      ^^^^^^^^^^^^
  |
  = help: whoever reaches the API must not reach health and metrics: use another address

error: `0.0.0.0/0` believes everybody
 --> p.yaml:2:31
  |
2 | trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]
  |                               ^^^^^^^^^
  |
  = help: name the networks of your own proxies: anyone else could claim any address

error: the store is not of a known kind
 --> p.yaml:3:8
  |
3 | store: mysql://************@db
  |        ^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write `sqlite:PATH`, such as `sqlite:/var/lib/portcullis/portcullis.db`

error: bad upstream address: a path or query is not supported
 --> p.yaml:5:15
  |
5 |   api: { url: "http://127.0.0.1:9000/v1", timeout: 0s }
  |               ^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: the path of the request is forwarded as it was judged

error: `timeout` is 0s, which is out of bounds
 --> p.yaml:5:52
  |
5 |   api: { url: "http://127.0.0.1:9000/v1", timeout: 0s }
  |                                                    ^^
  |
  = help: `upstreams.*.timeout` may be 1ms to 1h

error: `target` is 1MiB, which is out of bounds
 --> p.yaml:7:19
  |
7 | limits: { target: 1MiB }
  |                   ^^^^
  |
  = help: `limits.target` may be 64B to 60KiB
"#;
        assert_eq!(report.trim_end(), expected.trim());
    }
}
