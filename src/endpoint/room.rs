//! How many requests an upstream has under way, and how many wait for one of them to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// The bound of one upstream, for all workers together.
#[derive(Debug)]
pub struct Room {
    places: Arc<Semaphore>,
    size: usize,
    queue: usize,
    patience: Duration,
    waiting: AtomicUsize,
}

/// A request under way; its place is free when it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// There is no place, and none came free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Room {
    /// Room for `size` requests; `queue` more wait, each for `patience` at most.
    pub(super) fn new(size: usize, queue: usize, patience: Duration) -> Self {
        let places = Arc::new(Semaphore::new(size));
        Self { places, size, queue, patience, waiting: AtomicUsize::new(0) }
    }

    /// Takes a place, or waits for one in the order of arrival.
    pub async fn enter(&self) -> Result<Place, Full> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Place { _permit: permit });
        }
        let _waiting = Waiting::join(self)?;
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.patience, place).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }

    /// Requests under way.
    pub fn taken(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// One who waits; gone also when the request is dropped while it does.
struct Waiting<'r>(&'r Room);

impl<'r> Waiting<'r> {
    fn join(room: &'r Room) -> Result<Self, Full> {
        let join = |waiting: usize| (waiting < room.queue).then_some(waiting + 1);
        room.waiting.try_update(Ordering::Relaxed, Ordering::Relaxed, join).map_err(|_| Full)?;
        Ok(Self(room))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
