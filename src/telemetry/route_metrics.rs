//! The metrics of one route, resolved once, so that no request looks a label up.

use std::sync::OnceLock;
use std::time::Duration;

use http::Method;
use http::StatusCode;
use prometheus::Histogram;
use prometheus::IntCounter;

use super::Metrics;

/// Handles to the children that carry one route's name. Children come into being when first used,
/// so that a route nobody calls costs a few hundred bytes and no line of `/metrics`.
#[derive(Debug)]
pub struct RouteMetrics {
    metrics: Metrics,
    route: String,
    requests: [OnceLock<Box<ByCode>>; METHODS.len() + 1],
    times: OnceLock<Times>,
}

type ByCode = [OnceLock<IntCounter>; CODES.len()];

#[derive(Debug)]
struct Times {
    request: Histogram,
    upstream: Histogram,
    decision: Histogram,
    allowed: IntCounter,
}

impl RouteMetrics {
    /// The children for `route`.
    pub fn new(metrics: &Metrics, route: &str) -> Self {
        Self {
            metrics: metrics.clone(),
            route: route.to_owned(),
            requests: std::array::from_fn(|_| OnceLock::new()),
            times: OnceLock::new(),
        }
    }

    /// Counts an answer and how long it took to its end.
    pub fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        self.times().request.observe(took.as_secs_f64());
        let known = METHODS.iter().position(|known| known == method);
        let (row, method) = match known {
            Some(row) => (row, method.as_str()),
            None => (METHODS.len(), "_OTHER"),
        };
        let code = status.as_u16();
        let cell = self.requests.get(row).and_then(|by_code| {
            let by_code =
                by_code.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
            by_code.get(CODES.iter().position(|known| *known == code)?)
        });
        let child = || {
            let code = status.as_str();
            self.metrics.requests.with_label_values(&[self.route.as_str(), method, code])
        };
        match cell {
            Some(cell) => cell.get_or_init(child).inc(),
            None => child().inc(),
        }
    }

    /// Counts a pass and how long it took to grant.
    pub fn allowed(&self, took: Duration) {
        let times = self.times();
        times.decision.observe(took.as_secs_f64());
        times.allowed.inc();
    }

    /// Counts a stream that ended because its caller may not stay.
    pub fn cut(&self, reason: &'static str) {
        self.metrics.streams_cut.with_label_values(&[self.route.as_str(), reason]).inc();
    }

    /// Counts a refusal and how long it took to come to it.
    pub fn denied(&self, reason: &'static str, took: Duration) {
        self.times().decision.observe(took.as_secs_f64());
        self.metrics.decisions.with_label_values(&[self.route.as_str(), "deny", reason]).inc();
    }

    /// How long the upstream took to the head of its answer.
    pub fn upstream_answered(&self, took: Duration) {
        self.times().upstream.observe(took.as_secs_f64());
    }

    fn times(&self) -> &Times {
        self.times.get_or_init(|| {
            let route = &[self.route.as_str()];
            Times {
                request: self.metrics.request_seconds.with_label_values(route),
                upstream: self.metrics.upstream_seconds.with_label_values(route),
                decision: self.metrics.decision_seconds.with_label_values(route),
                allowed: self.metrics.decisions.with_label_values(&[
                    self.route.as_str(),
                    "allow",
                    "none",
                ]),
            }
        })
    }
}

/// Methods with a label of their own; every other is `_OTHER`.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
];

/// Statuses with a resolved child, the frequent ones first; others are looked up.
const CODES: [u16; 24] = [
    200, 201, 204, 304, 401, 403, 404, 400, 202, 206, 301, 302, 303, 307, 405, 409, 413, 422, 429,
    500, 502, 503, 504, 408,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_method_and_code_also_beyond_the_known_ones() {
        let metrics = Metrics::new().unwrap();
        let route = RouteMetrics::new(&metrics, "r");
        for method in [Method::GET, Method::from_bytes(b"PURGE").unwrap()] {
            for code in [200, 418] {
                let status = StatusCode::from_u16(code).unwrap();
                route.answered(&method, status, Duration::from_millis(1));
            }
        }
        for (method, code) in [("GET", "200"), ("GET", "418"), ("_OTHER", "200"), ("_OTHER", "418")]
        {
            assert_eq!(metrics.requests.with_label_values(&["r", method, code]).get(), 1);
        }
    }
}
