//! What operators are told: every metric in one struct; the log; the access line per request.

pub mod metrics;

pub use metrics::Metrics;
