//! The metrics of one upstream, resolved once.

use prometheus::{IntCounter, IntGauge};

use super::Metrics;

/// Handles to the children that carry one upstream's name.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// Endpoints that are asked.
    pub healthy: IntGauge,
    /// Endpoints whose checks fail.
    pub sick: IntGauge,
    /// Endpoints that rest.
    pub ejected: IntGauge,
    /// Times that an endpoint was ejected.
    pub ejections: IntCounter,
    /// Active checks that passed.
    pub checks_passed: IntCounter,
    /// Active checks that failed.
    pub checks_failed: IntCounter,
    /// Requests that another endpoint was asked.
    pub retried: IntCounter,
    /// Requests that were not repeated, for want of budget.
    pub not_retried: IntCounter,
    /// Requests refused because there are too many.
    pub refused_full: IntCounter,
    /// Requests refused because no endpoint is fit to be asked.
    pub refused_unfit: IntCounter,
    /// Requests under way.
    pub in_flight: IntGauge,
    /// Requests that wait.
    pub queued: IntGauge,
}

impl UpstreamMetrics {
    /// Takes the gauges of an upstream away that nobody names any more; counters stay.
    pub fn forget(metrics: &Metrics, upstream: &str) {
        // An error says that there was none.
        for state in ["healthy", "sick", "ejected"] {
            let _ = metrics.upstream_endpoints.remove_label_values(&[upstream, state]);
        }
        let _ = metrics.upstream_in_flight.remove_label_values(&[upstream]);
        let _ = metrics.upstream_queued.remove_label_values(&[upstream]);
    }

    /// The children for `upstream`.
    pub fn new(metrics: &Metrics, upstream: &str) -> Self {
        let endpoints = |state| metrics.upstream_endpoints.with_label_values(&[upstream, state]);
        let checks = |result| metrics.upstream_checks.with_label_values(&[upstream, result]);
        let retries = |outcome| metrics.upstream_retries.with_label_values(&[upstream, outcome]);
        let refused = |reason| metrics.upstream_refused.with_label_values(&[upstream, reason]);
        Self {
            healthy: endpoints("healthy"),
            sick: endpoints("sick"),
            ejected: endpoints("ejected"),
            ejections: metrics.upstream_ejections.with_label_values(&[upstream]),
            checks_passed: checks("passed"),
            checks_failed: checks("failed"),
            retried: retries("sent"),
            not_retried: retries("withheld"),
            refused_full: refused("full"),
            refused_unfit: refused("unfit"),
            in_flight: metrics.upstream_in_flight.with_label_values(&[upstream]),
            queued: metrics.upstream_queued.with_label_values(&[upstream]),
        }
    }
}
