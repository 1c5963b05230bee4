//! Whether the caller of an answer under way may stay.
//!
//! Costs a short request nothing: the first look is due half a second after the decision.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use crate::clock::Clock;
use crate::gateway::Denial;
use crate::gateway::Lease;
use crate::gateway::Live;
use crate::upstream::LOOK_EVERY;

/// Whom the answers of one worker ask; its own, so that workers do not count on one number together.
pub struct Landlord {
    live: Arc<Live>,
    clock: Clock,
}

/// What was proved when one request was let in.
#[derive(Debug)]
pub(super) struct Tenure {
    landlord: Arc<Landlord>,
    lease: Box<Lease>,
    looked: Instant,
    waits: u32,
}

impl Landlord {
    /// Judges by the gateway in force and this clock.
    pub const fn new(live: Arc<Live>, clock: Clock) -> Self {
        Self { live, clock }
    }
}

impl fmt::Debug for Landlord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Landlord").finish_non_exhaustive()
    }
}

impl Tenure {
    /// Begins with the decision; none where nothing could be revoked.
    pub(super) fn begin(
        landlord: &Arc<Landlord>,
        lease: Option<Box<Lease>>,
        decided: Instant,
    ) -> Option<Self> {
        let lease = lease.filter(|lease| !lease.is_empty())?;
        Some(Self { landlord: Arc::clone(landlord), lease, looked: decided, waits: 0 })
    }

    /// Looks, whatever the time.
    pub(super) fn extend(&mut self) -> Result<(), Denial> {
        let now = self.landlord.clock.now();
        self.landlord.live.current().extend(&mut self.lease, now)
    }

    /// Looks if that is due. Every request waits once for its upstream: that one asks no clock.
    pub(super) fn extend_while_waiting<T>(&mut self, outcome: &Poll<T>) -> Result<(), Denial> {
        if outcome.is_ready() {
            return Ok(());
        }
        self.waits = self.waits.saturating_add(1);
        if self.waits == 1 || self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        self.extend()
    }
}
