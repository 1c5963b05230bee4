//! One request on its way to an endpoint: counted as long as it lasts, and told of when it ends.

use std::sync::Arc;
use std::time::Instant;

use super::pool::Pool;
use super::room::Place;
use super::state::Endpoint;

/// One request at one endpoint.
#[derive(Debug)]
pub struct Load {
    endpoint: Arc<Endpoint>,
    pool: Arc<Pool>,
    is_settled: bool,
    place: Option<Place>,
}

impl Load {
    pub(super) fn new(endpoint: Arc<Endpoint>, pool: Arc<Pool>) -> Self {
        endpoint.begin();
        Self { endpoint, pool, is_settled: false, place: None }
    }

    /// Who is asked.
    pub const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Keeps the place of the request for as long as this lasts.
    pub fn keep(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// The answer came whole.
    pub fn succeeded(&mut self) {
        if !std::mem::replace(&mut self.is_settled, true) {
            self.endpoint.succeeded();
        }
    }

    /// No answer came, or one that tells of a failure, or half of one.
    pub fn failed(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.is_settled, true) {
            self.pool.failed(&self.endpoint, now);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.endpoint.end();
    }
}
