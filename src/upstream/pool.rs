//! The unused connections of one worker, per destination; the last one used is the first one taken.

use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use prometheus::IntCounterVec;

use super::UpstreamError;
use super::link::Link;
use crate::gateway::Destination;
use crate::telemetry::Metrics;

/// One stack of unused connections per destination slot. The lock is never contended (one worker)
/// and never held across an await.
#[derive(Debug)]
pub(super) struct Pools {
    idle: Mutex<Stacks>,
    connections: IntCounterVec,
}

/// Boxed: a link travels on into the body of its answer, as a pointer.
type Stacks = Vec<Vec<Box<Link>>>;

impl Pools {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { idle: Mutex::default(), connections: metrics.upstream_connections.clone() }
    }

    /// Takes an unused connection that is still open.
    pub(super) async fn checkout(
        &self,
        destination: &Destination,
        now: Instant,
    ) -> Option<Box<Link>> {
        poll_fn(|cx| Poll::Ready(self.take_open(destination, now, cx))).await
    }

    /// Opens a new connection.
    pub(super) async fn open(&self, destination: &Destination) -> Result<Box<Link>, UpstreamError> {
        let link = Link::open(destination).await.map(Box::new);
        let outcome = if link.is_ok() { "opened" } else { "failed" };
        self.connections.with_label_values(&[destination.name.as_str(), outcome]).inc();
        link
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn give_back(&self, destination: &Destination, mut link: Box<Link>) {
        link.idle_since = Instant::now();
        let mut stacks = self.lock();
        if stacks.len() <= destination.slot {
            stacks.resize_with(destination.slot + 1, Vec::new);
        }
        if let Some(stack) = stacks.get_mut(destination.slot)
            && stack.len() < destination.idle_connections
        {
            stack.push(link);
        }
    }

    /// Drops what was unused for too long or was closed by the other end.
    pub(super) fn sweep(&self) {
        let mut cx = Context::from_waker(Waker::noop());
        let now = Instant::now();
        for stack in self.lock().iter_mut() {
            stack.retain_mut(|link| !link.is_stale(now) && link.is_open(&mut cx));
        }
    }

    fn take_open(
        &self,
        destination: &Destination,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Option<Box<Link>> {
        let mut stacks = self.lock();
        let stack = stacks.get_mut(destination.slot)?;
        while let Some(mut link) = stack.pop() {
            if link.is_stale(now) {
                // Those below have been unused for longer still.
                stack.clear();
            } else if link.is_open(cx) {
                return Some(link);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Stacks> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
