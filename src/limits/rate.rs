//! One rate of the configuration: whom it counts together, how many it lets through, where it counts.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::quota::{Outcome, Quota};
use crate::clock::Timestamp;
use crate::inquiry::Network;

/// Whom a rate counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// Whoever comes from one place, before anything else is looked at.
    Address,
    /// One application.
    App,
    /// One user.
    User,
    /// Everybody who may call one route.
    Route,
    /// Everybody.
    All,
}

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller<'a> {
    /// A place.
    Network(Network),
    /// An application, by its id.
    App(&'a str),
    /// A user, by the issuer that speaks of them and their name there.
    User(&'a str, &'a str),
    /// Everybody on a route, by its name.
    Route(&'a str),
    /// Everybody.
    All,
}

/// Where takes are counted. This process counts in [`super::Buckets`]; a store that several share would
/// hand out allotments ahead of need, since a request does not wait for anything here.
pub trait Tally: fmt::Debug + Send + Sync {
    /// Takes one request of `rate` for `caller`; none when there is no room to count it apart.
    fn take(&self, rate: &Rate, caller: &Caller<'_>, now: Timestamp) -> Option<Outcome>;

    /// What [`Tally::take`] would say, with nothing taken.
    fn look(&self, rate: &Rate, caller: &Caller<'_>, now: Timestamp) -> Option<Outcome>;
}

/// A rate in force.
#[derive(Debug)]
pub struct Rate {
    name: String,
    per: Per,
    quota: Quota,
    number: u64,
    tally: Arc<dyn Tally>,
    /// For callers who find no room: none of them is let through unlimited.
    shared: [AtomicU64; Self::SHARED],
}

impl Rate {
    /// Buckets shared by those who find no room of their own.
    pub const SHARED: usize = 16;

    /// A rate that nothing was taken of; no other rate in `tally` has its number.
    pub fn new(name: &str, per: Per, quota: Quota, (number, tally): (u64, Arc<dyn Tally>)) -> Self {
        let shared = std::array::from_fn(|_| AtomicU64::new(0));
        Self { name: name.to_owned(), per, quota, number, tally, shared }
    }

    /// Its name in metrics, logs and headers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom it counts together.
    pub const fn per(&self) -> Per {
        self.per
    }

    /// How many it lets through.
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Its number in the tally.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Takes one request for `caller`.
    pub fn take(&self, caller: &Caller<'_>, now: Timestamp) -> Outcome {
        let own = self.tally.take(self, caller, now);
        own.unwrap_or_else(|| self.quota.take(self.shared_by(caller), now))
    }

    /// What [`Rate::take`] would say, with nothing taken.
    pub fn look(&self, caller: &Caller<'_>, now: Timestamp) -> Outcome {
        let own = self.tally.look(self, caller, now);
        own.unwrap_or_else(|| self.quota.look(self.shared_by(caller), now))
    }

    fn shared_by(&self, caller: &Caller<'_>) -> &AtomicU64 {
        let [first, rest @ ..] = &self.shared;
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(caller);
        let index = usize::try_from(hash % SHARED).unwrap_or(0);
        index.checked_sub(1).and_then(|index| rest.get(index)).unwrap_or(first)
    }
}

impl Caller<'_> {
    /// Whoever comes from the place of `address`.
    pub fn of_address(address: IpAddr) -> Self {
        Self::Network(Network::of(address))
    }
}

#[expect(clippy::as_conversions, reason = "a small constant")]
const SHARED: u64 = Rate::SHARED as u64;
