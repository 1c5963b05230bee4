//! Whose turn it is: a choice by weight among those that may be asked.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::state::{Endpoint, Verdict};

/// Those that may be asked, each with its weight.
pub(super) struct Field<'f> {
    pub(super) endpoints: &'f [Arc<Endpoint>],
    /// Slots of those that were asked already.
    pub(super) tried: &'f [usize],
    pub(super) now: Instant,
    pub(super) slow_start: Duration,
}

impl<'f> Field<'f> {
    /// The better of two drawn at random: nearly as good as the best of all, and two workers that
    /// choose at the same instant do not both choose it.
    pub(super) fn least_pending(&self, random: u64) -> Option<&'f Arc<Endpoint>> {
        let first = self.draw(random, None)?;
        let Some(second) = self.draw(mix(random), Some(first.slot)) else { return Some(first) };
        let load = |endpoint: &Endpoint| u64::try_from(endpoint.pending()).unwrap_or(u64::MAX);
        let weight = |endpoint: &Endpoint| endpoint.weight_at(self.now, self.slow_start).max(1);
        // pending₁ ÷ weight₁ > pending₂ ÷ weight₂, without dividing.
        let is_busier =
            load(first).saturating_mul(weight(second)) > load(second).saturating_mul(weight(first));
        Some(if is_busier { second } else { first })
    }

    /// One after another; with unequal weights in proportion to them.
    pub(super) fn round_robin(&self, turn: u64) -> Option<&'f Arc<Endpoint>> {
        let mut weights = self.weighed(None).map(|(_, weight)| weight);
        let first = weights.next()?;
        if weights.all(|weight| weight == first) {
            let count = u64::try_from(self.weighed(None).count()).unwrap_or(1);
            let nth = usize::try_from(turn % count).unwrap_or(0);
            return self.weighed(None).nth(nth).map(|(endpoint, _)| endpoint);
        }
        // Multiples of the golden ratio fill a circle evenly from the first turn on.
        self.draw(turn.wrapping_mul(GOLDEN), None)
    }

    /// The one on whom a point of a circle falls that is divided by weight.
    fn draw(&self, point: u64, but: Option<usize>) -> Option<&'f Arc<Endpoint>> {
        let whole: u64 = self.weighed(but).map(|(_, weight)| weight).sum();
        let scaled = (u128::from(point) * u128::from(whole)) >> 64_u32;
        let mut left = u64::try_from(scaled).unwrap_or(0);
        self.weighed(but).find_map(|(endpoint, weight)| {
            let is_here = left < weight;
            left = left.saturating_sub(weight);
            is_here.then_some(endpoint)
        })
    }

    fn weighed(&self, but: Option<usize>) -> impl Iterator<Item = (&'f Arc<Endpoint>, u64)> {
        let (now, slow_start, tried) = (self.now, self.slow_start, self.tried);
        self.endpoints
            .iter()
            .filter(move |endpoint| {
                Some(endpoint.slot) != but
                    && !tried.contains(&endpoint.slot)
                    && endpoint.verdict(now) == Verdict::Healthy
            })
            .map(move |endpoint| (endpoint, endpoint.weight_at(now, slow_start)))
    }
}

/// A number that looks random, from one that does not (`SplitMix64`). Nothing secret depends on it.
pub(super) const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(GOLDEN);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
