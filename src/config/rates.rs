//! The entries of `rates`, as they are written and made definite.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds;
use super::bounds::to_usize;
use super::checks::judge_name;
use super::finding::Findings;
use super::scalar::At;
use super::scalar::Length;

/// So many requests in so much time, or 429.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateEntry {
    /// Whom it counts together.
    pub per: RatePer,
    /// Requests let through in each `every`.
    pub requests: At<u32>,
    /// The time in which they are counted.
    pub every: At<Length>,
    /// How many may come at once; `requests` by default.
    #[serde(default)]
    pub burst: Option<At<u32>>,
}

/// Whom a rate counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RatePer {
    /// Whoever comes from one address (IPv6: one /64), before credentials are looked at.
    Address,
    /// One application.
    App,
    /// One user.
    User,
    /// Everybody who was let through on one route.
    Route,
    /// Everybody who was let through.
    All,
}

/// So many requests in so much time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RateSettings {
    /// Whom it counts together.
    pub per: RatePer,
    /// Requests let through in each `every`.
    pub requests: usize,
    /// The time in which they are counted.
    pub every: Duration,
    /// How many may come at once.
    pub burst: usize,
}

pub(super) fn resolve(
    entries: &BTreeMap<String, At<RateEntry>>,
    findings: &mut Findings,
) -> BTreeMap<String, RateSettings> {
    let resolved = entries.iter().filter_map(|(name, entry)| {
        judge_name("rate", name, entry.place, findings);
        let requests = bounds::RATE_REQUESTS.count_if(Some(&entry.requests), findings);
        let every = bounds::RATE_EVERY.time_if(Some(&entry.every), findings);
        let burst = bounds::RATE_BURST.count_if(entry.burst.as_ref(), findings);
        let (requests, every) = (requests?, every?);
        let at_once = burst.unwrap_or(requests).min(to_usize(bounds::RATE_BURST.max));
        let settings = RateSettings { per: entry.per, requests, every, burst: at_once };
        Some((name.clone(), settings))
    });
    resolved.collect()
}
