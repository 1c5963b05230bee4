//! Where a request may end with us: one call of a login service.

use std::sync::Arc;

/// One call of one login service.
#[derive(Debug)]
pub struct Door {
    /// Which service.
    pub service: Arc<Service>,
}

/// A login service that the gateway offers.
#[derive(Debug)]
pub struct Service {
    /// Its name in checks, metrics and logs.
    pub name: String,
}
