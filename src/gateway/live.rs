//! The gateway in force: swapped whole, read without a lock.

use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::Guard;

use super::Gateway;

/// Holds the gateway in force.
#[derive(Debug)]
pub struct Live(ArcSwap<Gateway>);

impl Live {
    /// Puts the first gateway in force.
    pub fn new(gateway: Gateway) -> Self {
        Self(ArcSwap::from_pointee(gateway))
    }

    /// The gateway in force now; a request that holds it is judged by it to its end.
    pub fn current(&self) -> Guard<Arc<Gateway>> {
        self.0.load()
    }

    /// Puts another gateway in force; requests under way keep the one they began with.
    pub fn replace(&self, next: Gateway) {
        self.0.store(Arc::new(next));
    }
}
