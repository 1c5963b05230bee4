//! Every metric of the gateway, in one struct, registered once.
//!
//! Label sets are closed: route names, known methods, statuses, reasons, issuers. Never a user, a
//! key, a token, a host or a path. Children are resolved when a route or key set is built.

#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

/// All metrics and the registry that gathers them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// What `/metrics` gathers.
    pub registry: Registry,
    /// Requests by route, method and status.
    pub requests: IntCounterVec,
    /// From the head of a request to the end of its answer, by route.
    pub request_seconds: HistogramVec,
    /// From sending a request upstream to the head of the answer, by route.
    pub upstream_seconds: HistogramVec,
    /// Decisions by route, result and reason.
    pub decisions: IntCounterVec,
    /// How long deciding took, by route.
    pub decision_seconds: HistogramVec,
    /// Answers cut because their caller may not stay, by route and reason.
    pub streams_cut: IntCounterVec,
    /// Client connections open now.
    pub connections: IntGauge,
    /// Those of them that wait for a request to begin, and keep nothing for it yet.
    pub connections_parked: IntGauge,
    /// Handshakes of TLS with clients, by outcome.
    pub tls_handshakes: IntCounterVec,
    /// Until when a certificate in force is good, by the first name in it.
    pub tls_certificate_expiry: IntGaugeVec,
    /// Client connections refused because of a limit.
    pub connections_refused: IntCounter,
    /// Requests refused because they came too fast, by rate.
    pub rate_limited: IntCounterVec,
    /// Client connections that speak HTTP/2 now; they are among all of them.
    pub http2_connections: IntGauge,
    /// Requests that came over HTTP/2.
    pub http2_requests: IntCounter,
    /// Those that ended before their answer was whole: the client gave up, or took too long.
    pub http2_abandoned: IntCounter,
    /// Requests that were malformed below the level of a decision.
    pub malformed: IntCounter,
    /// Connections to upstreams, by upstream and outcome (`opened`, `failed`).
    pub upstream_connections: IntCounterVec,
    /// Endpoints by upstream and state (`healthy`, `sick`, `ejected`).
    pub upstream_endpoints: IntGaugeVec,
    /// Times that an endpoint was ejected, by upstream.
    pub upstream_ejections: IntCounterVec,
    /// Active checks by upstream and result (`passed`, `failed`).
    pub upstream_checks: IntCounterVec,
    /// Requests repeated at another endpoint, by upstream and outcome (`sent`, `withheld`).
    pub upstream_retries: IntCounterVec,
    /// Requests refused by upstream and reason (`full`, `unfit`).
    pub upstream_refused: IntCounterVec,
    /// Requests under way, by upstream.
    pub upstream_in_flight: IntGaugeVec,
    /// Requests that wait for one under way to end, by upstream.
    pub upstream_queued: IntGaugeVec,
    /// Verified tokens found in the cache.
    pub token_hits: IntCounter,
    /// Tokens not found in the cache.
    pub token_misses: IntCounter,
    /// Tokens dropped from the cache for want of room.
    pub token_evictions: IntCounter,
    /// Fetches of a key set, by issuer and result.
    pub jwks_refresh: IntCounterVec,
    /// Seconds since a key set was last fetched whole, by issuer.
    pub jwks_age: GaugeVec,
    /// Seconds until the next planned fetch, by issuer.
    pub jwks_next_fetch: GaugeVec,
    /// Keys in force, 1 for each, by issuer and key id.
    pub jwks_keys: IntGaugeVec,
    /// Application keys found in the cache.
    pub app_key_hits: IntCounter,
    /// Application keys looked up in the store.
    pub app_key_misses: IntCounter,
    /// Seconds since the store last answered.
    pub store_age: Gauge,
    /// Reloads of the configuration by result.
    pub reloads: IntCounterVec,
    /// Hashes of passwords computed, those for nobody among them.
    pub password_hashes: IntCounter,
    /// Calls of login services, by service, dialect, call and outcome.
    pub logins: IntCounterVec,
    /// When the configuration in force was loaded, seconds since the epoch.
    pub reload_success: Gauge,
    /// Access lines lost because the reader was too slow.
    pub access_lines_lost: IntCounter,
    /// Requests that ended in a panic.
    pub panics: IntCounter,
}

impl Metrics {
    /// Registers everything in a registry of its own.
    #[expect(clippy::too_many_lines, reason = "a list: each metric is one entry")]
    pub fn new() -> Result<Self, prometheus::Error> {
        // Without a prefix of its own: what every process tells is named alike everywhere.
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let r = &registry;
        int_gauges(r, "build_info", "1, for the version that runs.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let metrics = Self {
            requests: counters(
                r,
                "http_requests_total",
                "Requests.",
                &["route", "method", "code"],
            )?,
            request_seconds: histogram(
                r,
                "http_request_duration_seconds",
                "From the head of a request to the end of its answer.",
                REQUEST_BUCKETS,
            )?,
            upstream_seconds: histogram(
                r,
                "upstream_duration_seconds",
                "From sending a request to the head of its answer.",
                REQUEST_BUCKETS,
            )?,
            decisions: counters(
                r,
                "auth_decisions_total",
                "Decisions.",
                &["route", "result", "reason"],
            )?,
            decision_seconds: histogram(
                r,
                "auth_duration_seconds",
                "How long deciding took.",
                DECISION_BUCKETS,
            )?,
            streams_cut: counters(
                r,
                "streams_cut_total",
                "Answers cut because their token expired or a credential was revoked.",
                &["route", "reason"],
            )?,
            connections: gauge(r, "connections", "Client connections open now.")?,
            tls_handshakes: counters(
                r,
                "tls_handshakes_total",
                "Handshakes of TLS with clients.",
                &["outcome"],
            )?,
            tls_certificate_expiry: int_gauges(
                r,
                "tls_certificate_expiry_timestamp_seconds",
                "Until when a certificate in force is good.",
                &["certificate"],
            )?,
            connections_parked: gauge(
                r,
                "connections_parked",
                "Client connections that wait for a request to begin.",
            )?,
            connections_refused: counter(
                r,
                "connections_refused_total",
                "Client connections refused because of a limit.",
            )?,
            rate_limited: counters(
                r,
                "rate_limited_total",
                "Requests refused because they came too fast.",
                &["rate"],
            )?,
            http2_connections: gauge(
                r,
                "http2_connections",
                "Client connections that speak HTTP/2 now.",
            )?,
            http2_requests: counter(r, "http2_requests_total", "Requests that came over HTTP/2.")?,
            http2_abandoned: counter(
                r,
                "http2_abandoned_total",
                "Requests over HTTP/2 that ended before their answer was whole.",
            )?,
            malformed: counter(
                r,
                "http_malformed_total",
                "Requests malformed below the level of a decision.",
            )?,
            upstream_connections: counters(
                r,
                "upstream_connections_total",
                "Connections to upstreams.",
                &["upstream", "outcome"],
            )?,
            upstream_endpoints: int_gauges(
                r,
                "upstream_endpoints",
                "Endpoints by state.",
                &["upstream", "state"],
            )?,
            upstream_ejections: counters(
                r,
                "upstream_ejections_total",
                "Times that an endpoint was ejected.",
                &["upstream"],
            )?,
            upstream_checks: counters(
                r,
                "upstream_checks_total",
                "Active checks.",
                &["upstream", "result"],
            )?,
            upstream_retries: counters(
                r,
                "upstream_retries_total",
                "Requests repeated at another endpoint, or not for want of budget.",
                &["upstream", "outcome"],
            )?,
            upstream_refused: counters(
                r,
                "upstream_refused_total",
                "Requests refused before an endpoint was asked.",
                &["upstream", "reason"],
            )?,
            upstream_in_flight: int_gauges(
                r,
                "upstream_in_flight",
                "Requests under way, where they are counted.",
                &["upstream"],
            )?,
            upstream_queued: int_gauges(
                r,
                "upstream_queued",
                "Requests that wait for one under way to end.",
                &["upstream"],
            )?,
            token_hits: counter(
                r,
                "token_cache_hits_total",
                "Verified tokens found in the cache.",
            )?,
            token_misses: counter(r, "token_cache_misses_total", "Tokens not found in the cache.")?,
            token_evictions: counter(
                r,
                "token_cache_evictions_total",
                "Tokens dropped for want of room.",
            )?,
            jwks_refresh: counters(
                r,
                "jwks_refresh_total",
                "Fetches of a key set.",
                &["issuer", "result"],
            )?,
            jwks_age: gauges(
                r,
                "jwks_age_seconds",
                "Seconds since a key set was last fetched.",
                &["issuer"],
            )?,
            jwks_next_fetch: gauges(
                r,
                "jwks_next_fetch_seconds",
                "Seconds until the next planned fetch.",
                &["issuer"],
            )?,
            jwks_keys: int_gauges(r, "jwks_keys", "Keys in force.", &["issuer", "kid"])?,
            app_key_hits: counter(
                r,
                "app_key_cache_hits_total",
                "Application keys found in the cache.",
            )?,
            app_key_misses: counter(
                r,
                "app_key_cache_misses_total",
                "Application keys looked up in the store.",
            )?,
            store_age: float_gauge(
                r,
                "store_age_seconds",
                "Seconds since the store last answered.",
            )?,
            reloads: counters(
                r,
                "config_reload_total",
                "Reloads of the configuration.",
                &["result"],
            )?,
            password_hashes: counter(r, "password_hashes_total", "Hashes of passwords computed.")?,
            logins: counters(
                r,
                "login_calls_total",
                "Calls of login services.",
                &["service", "dialect", "call", "outcome"],
            )?,
            reload_success: float_gauge(
                r,
                "config_last_reload_success_timestamp_seconds",
                "When the configuration in force was loaded.",
            )?,
            access_lines_lost: counter(
                r,
                "access_lines_lost_total",
                "Access lines lost because the reader was too slow.",
            )?,
            panics: counter(r, "panics_total", "Requests that ended in a panic.")?,
            registry,
        };
        Ok(metrics)
    }
}

fn counters(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(full(name), help), labels)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let metric = IntCounter::new(full(name), help)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(full(name), help)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn float_gauge(r: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    let metric = Gauge::new(full(name), help)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    let metric = GaugeVec::new(Opts::new(full(name), help), labels)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn int_gauges(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(full(name), help), labels)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(
    r: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(full(name), help).buckets(buckets.to_vec());
    let metric = HistogramVec::new(options, &["route"])?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn full(name: &str) -> String {
    format!("portcullis_{name}")
}

/// The OpenTelemetry boundaries, and three below them.
const REQUEST_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0,
];
/// Five microseconds to a tenth of a second.
const DECISION_BUCKETS: &[f64] =
    &[0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.01, 0.1];

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn every_name_begins_with_ours_or_tells_of_the_process() {
        let families = Metrics::new().unwrap().registry.gather();
        let names: Vec<&str> = families.iter().map(prometheus::proto::MetricFamily::name).collect();
        for name in &names {
            assert!(name.starts_with("portcullis_") || name.starts_with("process_"), "{name}");
        }
        for name in ["portcullis_build_info", "process_resident_memory_bytes", "process_open_fds"] {
            assert!(names.contains(&name), "{name} is missing of {names:?}");
        }
    }
}
