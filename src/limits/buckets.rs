//! The buckets of all rates: one table of fixed size, read and counted in without a lock.
//!
//! A place in the table holds whose bucket it is and the one number of it. A bucket that has been
//! regained says nothing and gives its place up to the next caller. Only giving a place to somebody else
//! takes a lock, one of many.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::quota::{Outcome, is_full};
use super::rate::{Caller, Rate, Tally};
use crate::clock::Timestamp;

/// The buckets that one process keeps.
pub struct Buckets {
    sets: Box<[Set]>,
    /// Keyed anew in each process, so that nobody outside can make callers meet.
    hasher: RandomState,
    claims: Box<[Mutex<()>]>,
}

/// The places where one key may lie.
#[derive(Default)]
struct Set([Place; WAYS]);

#[derive(Default)]
struct Place {
    /// Whose bucket it is; [`NOBODY`] while it is given to somebody else.
    key: AtomicU64,
    full_at: AtomicU64,
}

impl Buckets {
    /// Room for `capacity` callers at least.
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        Self {
            sets: std::iter::repeat_with(Set::default).take(sets).collect(),
            hasher: RandomState::new(),
            // No more than sets: one set is always under the same lock.
            claims: std::iter::repeat_with(Mutex::default).take(CLAIMS.min(sets)).collect(),
        }
    }

    /// How many callers there is room for; each takes 16 bytes.
    pub fn capacity(&self) -> usize {
        self.sets.len().saturating_mul(WAYS)
    }

    fn key_of(&self, rate: &Rate, caller: &Caller<'_>) -> u64 {
        self.hasher.hash_one((rate.number(), caller)).max(NOBODY + 1)
    }

    fn set_of(&self, key: u64) -> Option<(&Set, &Mutex<()>)> {
        Some((pick(&self.sets, key)?, pick(&self.claims, key)?))
    }
}

impl Tally for Buckets {
    fn take(&self, rate: &Rate, caller: &Caller<'_>, now: Timestamp) -> Option<Outcome> {
        let key = self.key_of(rate, caller);
        let (set, claim) = self.set_of(key)?;
        for _ in 0..TRIES {
            let place = match set.find(key) {
                Some(place) => place,
                None => set.claim(key, claim, now)?,
            };
            let outcome = rate.quota().take(&place.full_at, now);
            // Given away meanwhile: what was taken is the other's loss, and is taken again where ours is.
            if place.key.load(Ordering::SeqCst) == key {
                return Some(outcome);
            }
        }
        None
    }

    fn look(&self, rate: &Rate, caller: &Caller<'_>, now: Timestamp) -> Option<Outcome> {
        let key = self.key_of(rate, caller);
        let (set, _) = self.set_of(key)?;
        if let Some(place) = set.find(key) {
            return Some(rate.quota().look(&place.full_at, now));
        }
        // A bucket that nobody took from yet, unless there is no room for one.
        let has_room = set.0.iter().any(|place| place.is_idle(now));
        has_room.then(|| rate.quota().look(&AtomicU64::new(0), now))
    }
}

impl Set {
    fn find(&self, key: u64) -> Option<&Place> {
        self.0.iter().find(|place| place.key.load(Ordering::SeqCst) == key)
    }

    /// Gives a place to `key` that nobody needs; none when all are in use.
    fn claim(&self, key: u64, claim: &Mutex<()>, now: Timestamp) -> Option<&Place> {
        let _claiming = claim.lock().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been first: one caller must not have two buckets.
        if let Some(place) = self.find(key) {
            return Some(place);
        }
        self.0.iter().find(|place| place.give_to(key, now))
    }
}

impl Place {
    fn is_idle(&self, now: Timestamp) -> bool {
        is_full(self.full_at.load(Ordering::SeqCst), now)
    }

    /// Called under the lock of its set.
    fn give_to(&self, key: u64, now: Timestamp) -> bool {
        if !self.is_idle(now) {
            return false;
        }
        // Taken from its owner first, looked at again then: the owner either sees that it lost the place
        // or is seen to have used it.
        let owner = self.key.swap(NOBODY, Ordering::SeqCst);
        let is_free = self.is_idle(now);
        self.key.store(if is_free { key } else { owner }, Ordering::SeqCst);
        is_free
    }
}

/// The table's length is a power of two.
fn pick<T>(table: &[T], key: u64) -> Option<&T> {
    let mask = u64::try_from(table.len()).ok()?.checked_sub(1)?;
    table.get(usize::try_from(key & mask).ok()?)
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// Places in which a key is looked for: two lines of a processor's cache.
const WAYS: usize = 8;
/// Locks under which places are given away.
const CLAIMS: usize = 256;
/// The key of no caller.
const NOBODY: u64 = 0;
/// How often a place may be lost to somebody else within one call.
const TRIES: usize = 4;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::limits::Per;
    use crate::limits::Quota;

    const START: i64 = 1_790_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(START).plus(Duration::from_secs(seconds.try_into().unwrap()))
    }

    fn rate(buckets: &Arc<Buckets>, burst: u64) -> Rate {
        let quota = Quota::new(1, Duration::from_mins(1), burst);
        let tally: Arc<dyn Tally> = buckets.clone();
        Rate::new("test", Per::Address, quota, (7, tally))
    }

    fn caller(number: u32) -> Caller<'static> {
        Caller::of_address(IpAddr::V4(Ipv4Addr::from(number)))
    }

    fn passes(rate: &Rate, number: u32, now: Timestamp) -> bool {
        matches!(rate.take(&caller(number), now), Outcome::Taken { .. })
    }

    #[test]
    fn callers_are_counted_apart_while_there_is_room() {
        let buckets = Arc::new(Buckets::new(100_000));
        let rate = rate(&buckets, 2);
        for number in 0..1000 {
            assert!(passes(&rate, number, at(0)) && passes(&rate, number, at(0)), "{number}");
            assert!(!passes(&rate, number, at(0)), "{number}");
        }
    }

    #[test]
    fn two_hundred_thousand_callers_find_no_more_room_than_there_is_and_none_passes_twice() {
        let buckets = Arc::new(Buckets::new(4096));
        let rate = rate(&buckets, 1);
        assert_eq!(buckets.capacity(), 4096);
        let passed = (0..200_000).filter(|number| passes(&rate, *number, at(0))).count();
        // Each place, and each bucket that is shared for want of places, lets one through.
        assert!((4000..=4096 + Rate::SHARED).contains(&passed), "{passed}");
        assert_eq!((0..200_000).filter(|number| passes(&rate, *number, at(59))).count(), 0);
        let again = (0..200_000).filter(|number| passes(&rate, *number, at(60))).count();
        assert!((4000..=4096 + Rate::SHARED).contains(&again), "{again}");
    }

    #[test]
    fn parallel_takes_let_exactly_a_burst_through() {
        let buckets = Arc::new(Buckets::new(64));
        let rate = rate(&buckets, 500);
        let passed: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| passes(&rate, 1, at(0))).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 500);
    }

    #[test]
    fn parallel_strangers_never_get_more_than_the_places_and_the_shared_buckets() {
        for round in 0..20 {
            let buckets = Arc::new(Buckets::new(8));
            let rate = rate(&buckets, 1);
            let passed: usize = std::thread::scope(|scope| {
                let take = || (0..100).filter(|number| passes(&rate, *number, at(round))).count();
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert!(passed <= WAYS + Rate::SHARED, "{passed}");
        }
    }

    #[test]
    fn looking_takes_nothing() {
        let buckets = Arc::new(Buckets::new(64));
        let rate = rate(&buckets, 1);
        for _ in 0..3 {
            assert!(matches!(rate.look(&caller(1), at(0)), Outcome::Taken { left: 0, .. }));
        }
        assert!(passes(&rate, 1, at(0)));
        assert!(matches!(rate.look(&caller(1), at(0)), Outcome::Refused { .. }));
        assert!(matches!(rate.look(&caller(2), at(0)), Outcome::Taken { .. }));
    }
}
