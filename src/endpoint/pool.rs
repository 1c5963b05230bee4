//! An upstream: its endpoints, and what is shared about it by all workers and kept over reloads.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::address::{Address, server_name};
use super::budget::Budget;
use super::load::Load;
use super::room::Room;
use super::slots::Slots;
use super::state::{Checked, Endpoint, Verdict};
use super::turn::{Field, mix};
use crate::config::Balance;
use crate::config::UpstreamSettings;
use crate::telemetry::Metrics;
use crate::telemetry::UpstreamMetrics;

/// An upstream.
#[derive(Debug)]
pub struct Pool {
    name: String,
    settings: UpstreamSettings,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// What each name among the endpoints stands for, once it was looked up.
    found: Mutex<Vec<Vec<SocketAddr>>>,
    slots: Arc<Slots>,
    turn: AtomicU64,
    retries: Budget,
    room: Option<Arc<Room>>,
    /// Held while it is decided whether one more may be ejected.
    ejecting: Mutex<()>,
    /// Made when first used: an upstream that is not counted has no lines that say 0.
    counted: OnceLock<UpstreamMetrics>,
    metrics: Metrics,
}

/// An upstream as it is now, for operators.
#[derive(Debug)]
pub struct Shown {
    /// Requests under way and waiting, where they are bounded.
    pub room: Option<Arc<Room>>,
    /// Its endpoints.
    pub endpoints: Arc<Vec<Arc<Endpoint>>>,
}

impl Pool {
    /// An upstream as it is written; takes over from `old` what is known of the same endpoints.
    pub fn new(
        name: &str,
        settings: &UpstreamSettings,
        (slots, metrics): (&Arc<Slots>, &Metrics),
        old: Option<&Self>,
    ) -> Self {
        let bounds = (settings.in_flight, settings.queue, settings.queue_timeout);
        let same = |old: &&Self| {
            (old.settings.in_flight, old.settings.queue, old.settings.queue_timeout) == bounds
        };
        let room = match old.filter(same) {
            Some(old) => old.room.clone(),
            None => settings
                .in_flight
                .map(|size| Arc::new(Room::new(size, settings.queue, settings.queue_timeout))),
        };
        let pool = Self {
            name: name.to_owned(),
            endpoints: ArcSwap::default(),
            found: Mutex::new(vec![Vec::new(); settings.endpoints.len()]),
            slots: Arc::clone(slots),
            turn: AtomicU64::new(0),
            retries: Budget::new(settings.retry.budget),
            room,
            ejecting: Mutex::default(),
            counted: OnceLock::new(),
            metrics: metrics.clone(),
            settings: settings.clone(),
        };
        let known = old.map(|old| old.endpoints.load_full()).unwrap_or_default();
        pool.rebuild(&known);
        pool
    }

    /// Comes into force: verdicts of checks that nobody makes any more are forgotten.
    pub fn begin(&self) {
        if self.settings.health.is_none() {
            self.endpoints.load().iter().for_each(|endpoint| endpoint.forget_checks());
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was written about it.
    pub const fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// Its counters.
    pub fn metrics(&self) -> &UpstreamMetrics {
        self.counted.get_or_init(|| UpstreamMetrics::new(&self.metrics, &self.name))
    }

    /// The one endpoint that there is for good, when nothing about it has to be watched or counted.
    pub fn sole(&self) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        match endpoints.as_slice() {
            [sole] if self.settings.is_plain() => Some(Arc::clone(sole)),
            _ => None,
        }
    }

    /// Whether there is one endpoint to ask and no more.
    pub fn is_single(&self) -> bool {
        self.endpoints.load().len() == 1
    }

    /// How many requests may be under way, if that is bounded.
    pub const fn room(&self) -> Option<&Arc<Room>> {
        self.room.as_ref()
    }

    /// The endpoint to ask, but none of those in `tried`; none when there is none left to ask.
    pub fn pick(self: &Arc<Self>, tried: &[usize], now: Instant) -> Option<Load> {
        let endpoints = self.endpoints.load();
        let slow_start = self.settings.slow_start;
        let field = Field { endpoints: &endpoints, tried, now, slow_start };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let endpoint = match self.settings.balance {
            Balance::LeastPending => field.least_pending(mix(turn)),
            Balance::RoundRobin => field.round_robin(turn),
        };
        endpoint.map(|endpoint| Load::new(Arc::clone(endpoint), Arc::clone(self)))
    }

    /// A request came that might have to be repeated.
    pub fn count_request(&self) {
        self.retries.deposit();
    }

    /// Whether a request may be repeated that was tried `times` times.
    pub fn may_retry(&self, times: usize) -> bool {
        if times > self.settings.retry.attempts {
            return false;
        }
        let may = self.retries.withdraw();
        let metrics = self.metrics();
        if may { &metrics.retried } else { &metrics.not_retried }.inc();
        may
    }

    /// A request to this endpoint failed; too many in a row, and it rests.
    pub(super) fn failed(&self, endpoint: &Endpoint, now: Instant) {
        let failures = endpoint.failed();
        let Some(eject) = &self.settings.eject else { return };
        if failures < eject.failures || endpoint.verdict(now) != Verdict::Healthy {
            return;
        }
        let _one_at_a_time = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = self.endpoints.load();
        let is_out = |other: &&Arc<Endpoint>| other.verdict(now) != Verdict::Healthy;
        let out = endpoints.iter().filter(is_out).count() + 1;
        // However many fail: somebody has to be asked.
        if out * 100 <= eject.at_most * endpoints.len() && endpoint.verdict(now) == Verdict::Healthy
        {
            endpoint.eject(now, eject.rest);
            self.metrics().ejections.inc();
            let (upstream, address) = (&self.name, &endpoint.address);
            tracing::warn!(upstream, %address, failures, "an endpoint is ejected");
        }
    }

    /// Takes the result of an active check.
    pub fn checked(&self, endpoint: &Endpoint, checked: Checked) {
        let Some(health) = &self.settings.health else { return };
        let fault = checked.fault.clone();
        let metrics = self.metrics();
        if fault.is_some() { &metrics.checks_failed } else { &metrics.checks_passed }.inc();
        if endpoint.checked(checked, [health.healthy_after, health.unhealthy_after]) {
            let (upstream, address) = (&self.name, &endpoint.address);
            if let Some(fault) = fault {
                tracing::warn!(upstream, %address, fault, "an endpoint is sick");
            } else {
                tracing::info!(upstream, %address, "an endpoint is healthy again");
            }
        }
    }

    /// Names to look up, each with its place among the endpoints that are written.
    pub fn names(&self) -> impl Iterator<Item = (usize, String, u16)> {
        let named = self.settings.endpoints.iter().enumerate();
        named.filter_map(|(index, written)| match Address::from(&written.address) {
            Address::Name(name, port) => Some((index, name, port)),
            Address::Socket(_) | Address::Unix(_) => None,
        })
    }

    /// What a name stands for now; nothing changes when that is nothing.
    pub fn found(&self, index: usize, mut addresses: Vec<SocketAddr>) {
        addresses.sort();
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() {
            return;
        }
        {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            match found.get_mut(index) {
                Some(known) if *known != addresses => *known = addresses,
                Some(_) | None => return,
            }
        }
        let known = self.endpoints.load_full();
        self.rebuild(&known);
    }

    /// How it is now.
    pub fn show(&self) -> Shown {
        Shown { room: self.room.clone(), endpoints: self.endpoints.load_full() }
    }

    /// Brings the gauges up to date.
    pub fn observe(&self, now: Instant) {
        if self.sole().is_some() {
            return;
        }
        let metrics = self.metrics();
        let Shown { room, endpoints } = self.show();
        for (verdict, gauge) in [
            (Verdict::Healthy, &metrics.healthy),
            (Verdict::Sick, &metrics.sick),
            (Verdict::Ejected, &metrics.ejected),
        ] {
            let alike = endpoints.iter().filter(|endpoint| endpoint.verdict(now) == verdict);
            gauge.set(i64::try_from(alike.count()).unwrap_or(i64::MAX));
        }
        let in_flight = match &room {
            Some(room) => room.taken(),
            None => endpoints.iter().map(|endpoint| endpoint.pending()).sum(),
        };
        metrics.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        let waiting = room.map_or(0, |room| room.waiting());
        metrics.queued.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    fn rebuild(&self, known: &[Arc<Endpoint>]) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(self.settings.endpoints.len());
        let written = self.settings.endpoints.iter().zip(found.iter());
        let addresses = written.flat_map(|(written, found)| {
            let own = found.is_empty().then(|| Address::from(&written.address));
            let found = found.iter().copied().map(Address::Socket).chain(own);
            found.map(move |address| (address, written))
        });
        for (address, written) in addresses {
            let (weight, name) = (written.weight, server_name(&written.address));
            // Two names for one server do not make it two.
            if endpoints.iter().any(|endpoint| endpoint.address == address) {
                continue;
            }
            let known = known.iter().find(|known| known.address == address);
            let endpoint = if let Some(known) = known {
                known.weighing(weight, name)
            } else {
                let slot = self.slots.of(&self.name, &address);
                Endpoint::new(address, slot, weight, name)
            };
            endpoints.push(Arc::new(endpoint));
        }
        self.endpoints.store(Arc::new(endpoints));
    }
}

impl fmt::Display for Pool {
    /// Where its endpoints are, as far as names were looked up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, endpoint) in self.endpoints.load().iter().enumerate() {
            let before = if index > 0 { ", " } else { "" };
            write!(f, "{before}{}", endpoint.address)?;
        }
        Ok(())
    }
}

/// Addresses of one name that are endpoints.
const MOST_ADDRESSES: usize = 64;
