//! What operators are told: every metric in one struct; the log; the access line per request.

pub mod access;
pub mod log;
pub mod metrics;
mod route_metrics;
mod upstream_metrics;

pub use access::AccessLog;
pub use metrics::Metrics;
pub use route_metrics::RouteMetrics;
pub use upstream_metrics::UpstreamMetrics;
