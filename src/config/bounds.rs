//! Every number the operator may set, with its default and its bounds: the one table of them.
//!
//! Settings are resolved by it, the schema describes it, and a test holds the reference file to it.

use std::time::Duration;

use super::finding::Findings;
use super::scalar::At;
use super::scalar::Length;
use super::scalar::Size;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds, written as a length of time.
    Time,
    /// Bytes, written as a size.
    Bytes,
    /// Things, written as a whole number.
    Count,
}

/// A key that holds a number.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Where it is written: `*` stands for any name, `[]` for any entry of a list.
    pub key: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// What holds when it is not written; none when something else decides.
    pub default: Option<u64>,
    /// The smallest value that is accepted.
    pub min: u64,
    /// The largest value that is accepted.
    pub max: u64,
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const fn time(key: &'static str, default: Option<u64>, [min, max]: [u64; 2]) -> Bound {
    Bound { key, unit: Unit::Time, default, min, max }
}

const fn bytes(key: &'static str, default: Option<u64>, [min, max]: [u64; 2]) -> Bound {
    Bound { key, unit: Unit::Bytes, default, min, max }
}

const fn count(key: &'static str, default: Option<u64>, [min, max]: [u64; 2]) -> Bound {
    Bound { key, unit: Unit::Count, default, min, max }
}

pub(super) const TLS_HANDSHAKE_TIMEOUT: Bound =
    time("listen.public.tls.handshake_timeout", Some(10 * SECOND), [100, MINUTE]);
pub(super) const TLS_HANDSHAKES: Bound =
    count("listen.public.tls.handshakes", Some(1000), [1, 100_000]);
pub(super) const UPSTREAM_TIMEOUT: Bound =
    time("upstreams.*.timeout", Some(30 * SECOND), [1, HOUR]);
pub(super) const ENDPOINT_WEIGHT: Bound =
    count("upstreams.*.endpoints[].weight", Some(1), [1, 100]);
pub(super) const UPSTREAM_READ_TIMEOUT: Bound = time("upstreams.*.read_timeout", None, [1, DAY]);
pub(super) const UPSTREAM_TOTAL_TIMEOUT: Bound = time("upstreams.*.total_timeout", None, [1, DAY]);
pub(super) const UPSTREAM_CONNECTIONS: Bound =
    count("upstreams.*.connections", None, [1, 1_000_000]);
pub(super) const UPSTREAM_IN_FLIGHT: Bound = count("upstreams.*.in_flight", None, [1, 1_000_000]);
pub(super) const UPSTREAM_QUEUE: Bound = count("upstreams.*.queue", Some(0), [0, 100_000]);
pub(super) const UPSTREAM_QUEUE_TIMEOUT: Bound =
    time("upstreams.*.queue_timeout", Some(SECOND), [1, MINUTE]);
pub(super) const HEALTH_INTERVAL: Bound =
    time("upstreams.*.health.interval", Some(5 * SECOND), [10, HOUR]);
pub(super) const HEALTH_TIMEOUT: Bound =
    time("upstreams.*.health.timeout", Some(2 * SECOND), [1, MINUTE]);
pub(super) const HEALTH_HEALTHY_AFTER: Bound =
    count("upstreams.*.health.healthy_after", Some(2), [1, 100]);
pub(super) const HEALTH_UNHEALTHY_AFTER: Bound =
    count("upstreams.*.health.unhealthy_after", Some(3), [1, 100]);
pub(super) const EJECT_FAILURES: Bound = count("upstreams.*.eject.failures", Some(5), [1, 1000]);
pub(super) const EJECT_FOR: Bound = time("upstreams.*.eject.for", Some(10 * SECOND), [10, HOUR]);
pub(super) const EJECT_AT_MOST: Bound = count("upstreams.*.eject.at_most", Some(50), [0, 100]);
pub(super) const UPSTREAM_SLOW_START: Bound = time("upstreams.*.slow_start", Some(0), [0, HOUR]);
pub(super) const RETRY_ATTEMPTS: Bound = count("upstreams.*.retry.attempts", Some(1), [0, 5]);
pub(super) const RETRY_BUDGET: Bound = count("upstreams.*.retry.budget", Some(20), [0, 100]);
pub(super) const UPSTREAM_RESOLVE: Bound = time("upstreams.*.resolve", None, [100, HOUR]);
pub(super) const UPSTREAM_CONNECT_TIMEOUT: Bound =
    time("upstreams.*.connect_timeout", Some(2 * SECOND), [1, MINUTE]);
pub(super) const UPSTREAM_IDLE_TIMEOUT: Bound =
    time("upstreams.*.idle_timeout", Some(60 * SECOND), [0, HOUR]);
pub(super) const UPSTREAM_IDLE_CONNECTIONS: Bound =
    count("upstreams.*.idle_connections", Some(256), [0, 10_000]);
pub(super) const JWT_LEEWAY: Bound = time("checks.*.jwt[].leeway", Some(0), [0, 5 * MINUTE]);
pub(super) const JWT_MAX_STALE: Bound =
    time("checks.*.jwt[].max_stale", Some(DAY), [MINUTE, 30 * DAY]);
pub(super) const DEFAULT_CORS_MAX_AGE: Bound = time("defaults.cors.max_age", None, [0, DAY]);
pub(super) const ROUTE_CORS_MAX_AGE: Bound = time("routes[].cors.max_age", None, [0, DAY]);
pub(super) const ROUTE_TIMEOUT: Bound = time("routes[].timeout", None, [1, HOUR]);
pub(super) const ROUTE_BODY: Bound = bytes("routes[].body", None, [0, TIB]);
pub(super) const LOGIN_LIFETIME: Bound = time("login[].lifetime", None, [SECOND, 400 * DAY]);
pub(super) const LOGIN_SESSIONS: Bound = count("login[].sessions", Some(100), [1, 10_000]);
pub(super) const PASSWORD_MEMORY: Bound =
    bytes("passwords.memory", Some(19 * MIB), [19 * MIB, GIB]);
pub(super) const PASSWORD_PASSES: Bound = count("passwords.passes", Some(2), [2, 16]);
pub(super) const PASSWORD_LANES: Bound = count("passwords.lanes", Some(1), [1, 16]);
pub(super) const PASSWORD_MIN_LENGTH: Bound = count("passwords.min_length", Some(8), [8, 256]);
pub(super) const PASSWORD_CONCURRENT: Bound = count("passwords.concurrent", None, [1, 256]);
pub(super) const PASSWORD_QUEUE: Bound = count("passwords.queue", Some(64), [1, 10_000]);
pub(super) const RATE_REQUESTS: Bound = count("rates.*.requests", None, [1, 1_000_000]);
pub(super) const RATE_EVERY: Bound = time("rates.*.every", None, [SECOND, DAY]);
pub(super) const RATE_BURST: Bound = count("rates.*.burst", None, [1, 1_000_000]);
pub(super) const LIMIT_TARGET: Bound = bytes("limits.target", Some(8 * KIB), [64, 60 * KIB]);
pub(super) const LIMIT_HEADERS: Bound = bytes("limits.headers", Some(32 * KIB), [KIB, 64 * KIB]);
pub(super) const LIMIT_HEADER_COUNT: Bound = count("limits.header_count", Some(96), [8, 96]);
pub(super) const LIMIT_BODY: Bound = bytes("limits.body", Some(100 * MIB), [0, TIB]);
pub(super) const LIMIT_SLOWEST_BODY: Bound = bytes("limits.slowest_body", Some(64), [0, MIB]);
pub(super) const LIMIT_TOKEN: Bound = bytes("limits.token", Some(8 * KIB), [256, 16 * KIB]);
pub(super) const LIMIT_CONNECTIONS: Bound =
    count("limits.connections", Some(10_000), [1, 1_000_000]);
pub(super) const LIMIT_CONNECTIONS_PER_ADDRESS: Bound =
    count("limits.connections_per_address", None, [1, 1_000_000]);
pub(super) const LIMIT_CALLERS: Bound = count("limits.callers", Some(131_072), [1024, 16_777_216]);
pub(super) const TIMEOUT_HEADER: Bound =
    time("timeouts.header", Some(10 * SECOND), [100, 5 * MINUTE]);
pub(super) const TIMEOUT_BODY: Bound = time("timeouts.body", Some(30 * SECOND), [100, HOUR]);
pub(super) const TIMEOUT_IDLE: Bound = time("timeouts.idle", Some(60 * SECOND), [SECOND, HOUR]);
pub(super) const HTTP2_STREAMS: Bound = count("http2.streams", Some(100), [1, 1000]);
pub(super) const HTTP2_RESETS: Bound = count("http2.resets", Some(20), [1, 1000]);
pub(super) const HTTP2_FRAME: Bound = bytes("http2.frame", Some(16 * KIB), [16 * KIB, MIB]);
pub(super) const HTTP2_STREAM_WINDOW: Bound =
    bytes("http2.stream_window", Some(64 * KIB), [16 * KIB, 16 * MIB]);
pub(super) const HTTP2_CONNECTION_WINDOW: Bound =
    bytes("http2.connection_window", Some(MIB), [64 * KIB, 64 * MIB]);
pub(super) const HTTP2_SEND_BUFFER: Bound =
    bytes("http2.send_buffer", Some(64 * KIB), [16 * KIB, 16 * MIB]);
pub(super) const HTTP2_KEEP_ALIVE: Bound =
    time("http2.keep_alive", Some(30 * SECOND), [SECOND, HOUR]);
pub(super) const CACHE_TOKENS: Bound = bytes("cache.tokens", Some(64 * MIB), [0, 16 * GIB]);
pub(super) const CACHE_APPS: Bound = count("cache.apps", Some(100_000), [16, 10_000_000]);
pub(super) const STREAM_GRACE: Bound = time("streams.grace", Some(0), [0, HOUR]);
pub(super) const STREAM_IDLE: Bound = time("streams.idle", Some(10 * MINUTE), [SECOND, DAY]);
pub(super) const SHUTDOWN_DELAY: Bound = time("shutdown.delay", Some(5 * SECOND), [0, 5 * MINUTE]);
pub(super) const SHUTDOWN_GRACE: Bound = time("shutdown.grace", Some(25 * SECOND), [0, HOUR]);
pub(super) const WORKERS: Bound = count("workers", None, [1, 1024]);

/// The whole table, in the order of the reference file.
pub const BOUNDS: [&Bound; 67] = [
    &TLS_HANDSHAKE_TIMEOUT,
    &TLS_HANDSHAKES,
    &ENDPOINT_WEIGHT,
    &UPSTREAM_TIMEOUT,
    &UPSTREAM_READ_TIMEOUT,
    &UPSTREAM_TOTAL_TIMEOUT,
    &UPSTREAM_CONNECT_TIMEOUT,
    &UPSTREAM_IDLE_TIMEOUT,
    &UPSTREAM_IDLE_CONNECTIONS,
    &UPSTREAM_CONNECTIONS,
    &UPSTREAM_IN_FLIGHT,
    &UPSTREAM_QUEUE,
    &UPSTREAM_QUEUE_TIMEOUT,
    &HEALTH_INTERVAL,
    &HEALTH_TIMEOUT,
    &HEALTH_HEALTHY_AFTER,
    &HEALTH_UNHEALTHY_AFTER,
    &EJECT_FAILURES,
    &EJECT_FOR,
    &EJECT_AT_MOST,
    &UPSTREAM_SLOW_START,
    &RETRY_ATTEMPTS,
    &RETRY_BUDGET,
    &UPSTREAM_RESOLVE,
    &JWT_LEEWAY,
    &JWT_MAX_STALE,
    &DEFAULT_CORS_MAX_AGE,
    &ROUTE_TIMEOUT,
    &ROUTE_BODY,
    &ROUTE_CORS_MAX_AGE,
    &LOGIN_LIFETIME,
    &LOGIN_SESSIONS,
    &PASSWORD_MEMORY,
    &PASSWORD_PASSES,
    &PASSWORD_LANES,
    &PASSWORD_MIN_LENGTH,
    &PASSWORD_CONCURRENT,
    &PASSWORD_QUEUE,
    &RATE_REQUESTS,
    &RATE_EVERY,
    &RATE_BURST,
    &LIMIT_TARGET,
    &LIMIT_HEADERS,
    &LIMIT_HEADER_COUNT,
    &LIMIT_BODY,
    &LIMIT_SLOWEST_BODY,
    &LIMIT_TOKEN,
    &LIMIT_CONNECTIONS,
    &LIMIT_CONNECTIONS_PER_ADDRESS,
    &LIMIT_CALLERS,
    &TIMEOUT_HEADER,
    &TIMEOUT_BODY,
    &TIMEOUT_IDLE,
    &HTTP2_STREAMS,
    &HTTP2_RESETS,
    &HTTP2_FRAME,
    &HTTP2_STREAM_WINDOW,
    &HTTP2_CONNECTION_WINDOW,
    &HTTP2_SEND_BUFFER,
    &HTTP2_KEEP_ALIVE,
    &CACHE_TOKENS,
    &CACHE_APPS,
    &STREAM_GRACE,
    &STREAM_IDLE,
    &SHUTDOWN_DELAY,
    &SHUTDOWN_GRACE,
    &WORKERS,
];

impl Bound {
    /// The value written, when it is within the bounds; otherwise an error and none.
    fn judge<T>(
        &self,
        written: Option<&At<T>>,
        number: impl Fn(&T) -> u64,
        findings: &mut Findings,
    ) -> Option<u64> {
        let written = written?;
        let value = number(written);
        if (self.min..=self.max).contains(&value) {
            return Some(value);
        }
        let name = self.key.rsplit('.').next().unwrap_or(self.key);
        let value = self.unit.write(value);
        findings
            .error(written.place, format!("`{name}` is {value}, which is out of bounds"))
            .help(format!("`{}` may be {}", self.key, self.range()));
        None
    }

    /// A length of time, if one was written.
    pub(super) fn time_if(
        &self,
        written: Option<&At<Length>>,
        findings: &mut Findings,
    ) -> Option<Duration> {
        let millis = |length: &Length| u64::try_from(length.0.as_millis()).unwrap_or(u64::MAX);
        self.judge(written, millis, findings).map(Duration::from_millis)
    }

    /// A length of time, or the default.
    pub(super) fn time(&self, written: Option<&At<Length>>, findings: &mut Findings) -> Duration {
        self.time_if(written, findings).unwrap_or(Duration::from_millis(self.fallback()))
    }

    /// A number of bytes, if one was written.
    pub(super) fn bytes_if(
        &self,
        written: Option<&At<Size>>,
        findings: &mut Findings,
    ) -> Option<u64> {
        self.judge(written, |size| size.0, findings)
    }

    /// A number of bytes, or the default.
    pub(super) fn bytes(&self, written: Option<&At<Size>>, findings: &mut Findings) -> u64 {
        self.bytes_if(written, findings).unwrap_or(self.fallback())
    }

    /// A number of things, if one was written.
    pub(super) fn count_if<T: Copy + Into<u64>>(
        &self,
        written: Option<&At<T>>,
        findings: &mut Findings,
    ) -> Option<usize> {
        self.judge(written, |count| (*count).into(), findings).map(to_usize)
    }

    /// A number of things, or the default.
    pub(super) fn count<T: Copy + Into<u64>>(
        &self,
        written: Option<&At<T>>,
        findings: &mut Findings,
    ) -> usize {
        self.count_if(written, findings).unwrap_or(to_usize(self.fallback()))
    }

    /// The bounds in words: `64B to 60KiB`.
    pub fn range(&self) -> String {
        format!("{} to {}", self.unit.write(self.min), self.unit.write(self.max))
    }

    fn fallback(&self) -> u64 {
        self.default.unwrap_or(self.min)
    }
}

impl Unit {
    /// A number in the largest unit that expresses it exactly.
    pub fn write(self, number: u64) -> String {
        let units: &[(u64, &str)] = match self {
            Self::Time => &[(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"), (1, "ms")],
            Self::Bytes => &[(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B")],
            Self::Count => &[(1, "")],
        };
        if number == 0 && self == Self::Time {
            return "0s".to_owned();
        }
        units.iter().find(|(size, _)| number >= *size && number.is_multiple_of(*size)).map_or_else(
            || format!("{number}{}", self.smallest()),
            |(size, unit)| format!("{}{unit}", number / size),
        )
    }

    const fn smallest(self) -> &'static str {
        match self {
            Self::Time => "ms",
            Self::Bytes => "B",
            Self::Count => "",
        }
    }
}

pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scalar::Place;

    #[test]
    fn every_default_is_within_its_bounds_and_every_key_stands_once() {
        for (index, bound) in BOUNDS.iter().enumerate() {
            assert!(bound.min <= bound.max, "{}", bound.key);
            assert!(
                bound.default.is_none_or(|d| d >= bound.min && d <= bound.max),
                "{}",
                bound.key
            );
            assert!(BOUNDS.iter().skip(index + 1).all(|other| other.key != bound.key));
        }
    }

    #[test]
    fn both_ends_of_a_range_are_accepted_and_their_neighbours_are_refused() {
        let at = |value| At { value: Size(value), place: Place { line: 3, column: 9 } };
        let judge = |value| {
            let mut findings = Findings::new();
            let value = LIMIT_TARGET.bytes(Some(&at(value)), &mut findings);
            (value, findings.iter().next().map(|finding| finding.message.clone()))
        };
        assert_eq!(judge(64), (64, None));
        assert_eq!(judge(60 << 10), (60 << 10, None));
        let below = "`target` is 63B, which is out of bounds".to_owned();
        assert_eq!(judge(63), (8 << 10, Some(below)));
        let above = "`target` is 61441B, which is out of bounds".to_owned();
        assert_eq!(judge((60 << 10) + 1), (8 << 10, Some(above)));
    }

    #[test]
    fn what_is_not_written_is_the_default() {
        let mut findings = Findings::new();
        assert_eq!(TIMEOUT_HEADER.time(None, &mut findings), Duration::from_secs(10));
        assert_eq!(LIMIT_CONNECTIONS.count(None::<&At<u32>>, &mut findings), 10_000);
        assert_eq!(ROUTE_BODY.bytes_if(None, &mut findings), None);
        assert!(!findings.has_errors());
    }

    #[test]
    fn numbers_are_written_in_the_largest_unit_that_is_exact() {
        for (unit, number, text) in [
            (Unit::Time, 0, "0s"),
            (Unit::Time, 1500, "1500ms"),
            (Unit::Time, 60_000, "1m"),
            (Unit::Time, 61_000, "61s"),
            (Unit::Time, 30 * DAY, "30d"),
            (Unit::Bytes, 0, "0B"),
            (Unit::Bytes, 1536, "1536B"),
            (Unit::Bytes, 8192, "8KiB"),
            (Unit::Bytes, 16 << 30, "16GiB"),
            (Unit::Count, 96, "96"),
            (Unit::Count, 0, "0"),
        ] {
            assert_eq!(unit.write(number), text);
        }
    }
}
