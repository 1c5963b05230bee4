//! One endpoint and how it fares: numbers that every worker reads and writes without a lock.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use std::time::Instant;

use rustls::pki_types::ServerName;

use super::address::Address;

/// One server behind an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Its number in each worker's table of connections; the same over reloads.
    pub slot: usize,
    /// Its share of the requests, compared with those of others.
    pub(super) weight: u32,
    /// The name that its certificate must bear, if it shows one.
    pub server_name: Option<ServerName<'static>>,
    state: Arc<State>,
}

/// What is kept of an endpoint when the configuration changes around it.
#[derive(Debug)]
struct State {
    /// All instants below are milliseconds since this one, and one more; 0 stands for never.
    began: Instant,
    pending: AtomicUsize,
    connections: AtomicUsize,
    /// Somebody was refused a connection while others kept unused ones.
    is_starving: AtomicBool,
    /// Failures in a row.
    failures: AtomicU32,
    /// Ejections without a success between them.
    ejections: AtomicU32,
    ejected_until: AtomicU64,
    recovered_at: AtomicU64,
    is_sick: AtomicBool,
    checks: Mutex<Checks>,
    /// What the last connection agreed on where both ends have to: 0 for nothing yet.
    agreed: AtomicU32,
}

/// What active checks found.
#[derive(Debug, Default)]
struct Checks {
    /// Results in a row that contradict the verdict in force.
    against: u32,
    last: Option<Checked>,
}

/// The last active check of an endpoint.
#[derive(Clone, Debug)]
pub struct Checked {
    /// When it ended.
    pub at: Instant,
    /// What was wrong, if anything was.
    pub fault: Option<String>,
}

/// Whether an endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is asked.
    Healthy,
    /// Active checks fail.
    Sick,
    /// Requests failed; it rests for a while.
    Ejected,
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Connected(Arc<State>);

impl Endpoint {
    pub(super) fn new(
        address: Address,
        slot: usize,
        weight: u32,
        server_name: Option<ServerName<'static>>,
    ) -> Self {
        Self { address, slot, weight, server_name, state: Arc::new(State::new()) }
    }

    /// The same server with another weight.
    pub(super) fn weighing(&self, weight: u32, server_name: Option<ServerName<'static>>) -> Self {
        let state = Arc::clone(&self.state);
        Self { address: self.address.clone(), slot: self.slot, weight, server_name, state }
    }

    /// Whether it is asked now.
    pub fn verdict(&self, now: Instant) -> Verdict {
        if self.state.is_sick.load(Ordering::Relaxed) {
            return Verdict::Sick;
        }
        match self.state.ejected_until.load(Ordering::Relaxed) {
            0 => Verdict::Healthy,
            until if self.state.millis(now) < until => Verdict::Ejected,
            _ => Verdict::Healthy,
        }
    }

    /// Requests under way.
    pub fn pending(&self) -> usize {
        self.state.pending.load(Ordering::Relaxed)
    }

    /// Connections open, where they are counted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// For how long it rests still.
    pub fn rests_for(&self, now: Instant) -> Option<Duration> {
        let until = self.state.ejected_until.load(Ordering::Relaxed);
        let left = until.saturating_sub(self.state.millis(now));
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// The last active check.
    pub fn last_check(&self) -> Option<Checked> {
        self.state.checks().last.clone()
    }

    /// A connection was opened on which both ends agreed on HTTP/2, or on HTTP/1.1.
    pub fn note_agreement(&self, is_http2: bool) {
        let version = if is_http2 { 2 } else { 1 };
        self.state.agreed.store(version, Ordering::Relaxed);
    }

    /// Whether the last agreement was on HTTP/2; none before the first.
    pub fn agreed_on_http2(&self) -> Option<bool> {
        match self.state.agreed.load(Ordering::Relaxed) {
            0 => None,
            version => Some(version == 2),
        }
    }

    /// Its weight now, in hundredths: after a recovery it grows to the whole within `slow_start`.
    pub(super) fn weight_at(&self, now: Instant, slow_start: Duration) -> u64 {
        let whole = u64::from(self.weight) * 100;
        let ejected = self.state.ejected_until.load(Ordering::Relaxed);
        let since = self.state.recovered_at.load(Ordering::Relaxed).max(ejected);
        let needs = millis(slow_start);
        if since == 0 || needs == 0 {
            return whole;
        }
        let elapsed = self.state.millis(now).saturating_sub(since);
        let percent = (elapsed.saturating_mul(100) / needs).clamp(LEAST_PERCENT, 100);
        u64::from(self.weight) * percent
    }

    /// A connection to be opened, unless there are `most` already.
    pub fn connect(&self, most: usize) -> Option<Connected> {
        let one_more = |open: usize| (open < most).then_some(open + 1);
        let counted =
            self.state.connections.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if counted.is_err() {
            self.state.is_starving.store(true, Ordering::Relaxed);
            return None;
        }
        Some(Connected(Arc::clone(&self.state)))
    }

    pub(super) fn begin(&self) {
        self.state.pending.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.state.pending.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn succeeded(&self) {
        // Read first: while all is well nothing is written.
        if self.state.failures.load(Ordering::Relaxed) > 0 {
            self.state.failures.store(0, Ordering::Relaxed);
            self.state.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failure; how many there are in a row now.
    pub(super) fn failed(&self) -> u32 {
        self.state.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Lets it rest, each time longer until it succeeds. It comes back on probation: one more
    /// failure, and it rests again.
    pub(super) fn eject(&self, now: Instant, rest: Duration) {
        let times = self.state.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let rest = rest.saturating_mul(times.min(MOST_RESTS));
        let until = self.state.millis(now).saturating_add(millis(rest));
        self.state.ejected_until.store(until, Ordering::Relaxed);
    }

    /// Takes the result of an active check; whether the verdict changed.
    pub(super) fn checked(&self, checked: Checked, needed: [u32; 2]) -> bool {
        let [to_heal, to_fall] = needed;
        let is_sick = self.state.is_sick.load(Ordering::Relaxed);
        let is_fault = checked.fault.is_some();
        let now = checked.at;
        let mut checks = self.state.checks();
        checks.last = Some(checked);
        checks.against = if is_fault == is_sick { 0 } else { checks.against.saturating_add(1) };
        if checks.against < if is_sick { to_heal } else { to_fall } {
            return false;
        }
        if is_fault == is_sick {
            return false;
        }
        checks.against = 0;
        drop(checks);
        if !is_fault {
            self.state.recovered_at.store(self.state.millis(now), Ordering::Relaxed);
        }
        self.state.is_sick.store(is_fault, Ordering::Relaxed);
        true
    }

    /// Forgets what active checks found, when there are none any more.
    pub(super) fn forget_checks(&self) {
        self.state.is_sick.store(false, Ordering::Relaxed);
        *self.state.checks() = Checks::default();
    }
}

impl State {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            pending: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            is_starving: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            recovered_at: AtomicU64::new(0),
            is_sick: AtomicBool::new(false),
            checks: Mutex::default(),
            agreed: AtomicU32::new(0),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        // Never 0, which stands for never.
        millis(now.saturating_duration_since(self.began)).saturating_add(1)
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    /// Whether somebody waits for a connection: then an unused one is better closed.
    pub fn is_wanted(&self) -> bool {
        self.0.is_starving.load(Ordering::Relaxed)
            && self.0.is_starving.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where a slow start begins.
const LEAST_PERCENT: u64 = 10;
/// By how much a rest may grow.
const MOST_RESTS: u32 = 10;
