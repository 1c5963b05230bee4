//! What clients are told about rates: the fields `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers), and how long a refused one is to wait.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;

use super::quota::{Outcome, Quota};
use super::rate::Rate;
use crate::clock::whole_seconds;

/// The rates that a request was counted by, and where each stands; in the order of the configuration.
#[derive(Debug, Default)]
pub struct Told {
    policy: String,
    state: String,
}

/// The rate that a request came too soon for.
#[derive(Debug)]
pub struct Exceeded {
    /// Which one.
    pub rate: Arc<Rate>,
    /// How long until it is worth trying again.
    pub wait: Duration,
}

impl Told {
    /// Adds a rate after a take.
    pub fn add(&mut self, rate: &Rate, outcome: Outcome) {
        let comma = if self.policy.is_empty() { "" } else { ", " };
        let (left, reset) = match outcome {
            Outcome::Taken { left, reset } => (left, reset),
            Outcome::Refused { wait } => (0, wait),
        };
        let name = rate.name();
        // Writing into a text does not fail.
        let _ = write!(self.policy, "{comma}\"{name}\";q={}", rate.quota().requests());
        if let Some(window) = window(rate.quota()) {
            let _ = write!(self.policy, ";w={window}");
        }
        let _ = write!(self.state, "{comma}\"{name}\";r={left};t={}", whole_seconds(reset));
    }

    /// Writes the fields, beside those of an upstream that counts too: both are lists.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, text) in [(POLICY, &self.policy), (STATE, &self.state)] {
            if text.is_empty() {
                continue;
            }
            // Names of rates are words, so this is always a value.
            if let Ok(value) = HeaderValue::try_from(text.as_str()) {
                headers.append(name, value);
            }
        }
    }
}

impl Exceeded {
    /// The fields that tell of it.
    pub fn told(&self) -> Told {
        let mut told = Told::default();
        told.add(&self.rate, Outcome::Refused { wait: self.wait });
        told
    }
}

/// The window of a policy is told in whole seconds or not at all.
fn window(quota: &Quota) -> Option<u64> {
    let every = quota.every();
    (every.subsec_nanos() == 0).then_some(every.as_secs())
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
