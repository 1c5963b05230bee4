//! The arithmetic of a rate: one number says how much of it is used up (GCRA, ITU-T I.371).
//!
//! The number is the instant at which everything taken will have been regained; in the past it says
//! nothing. Taking moves it forward by the time that one request is worth, and is refused when it would
//! come to lie further ahead than a full burst is worth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;

/// So many requests in so much time, of which so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    requests: u64,
    every: Duration,
    /// What one request is worth.
    interval_nanos: u64,
    /// What a full burst is worth.
    burst_nanos: u64,
}

/// What became of a try to take one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is let through.
    Taken {
        /// How many more could follow at once.
        left: u64,
        /// How long until all of it is regained.
        reset: Duration,
    },
    /// It comes too soon.
    Refused {
        /// How long until one more is let through, if nobody else takes it.
        wait: Duration,
    },
}

impl Quota {
    /// `requests` in each `every`, and `burst` at once; none of them is 0.
    pub fn new(requests: u64, every: Duration, burst: u64) -> Self {
        let nanos = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        // Rounded up: a rate is never exceeded for the sake of a fraction.
        let interval_nanos = nanos.div_ceil(requests.max(1)).max(1);
        // Far beyond any bound of the settings; it keeps every sum below within its type.
        let burst_nanos = interval_nanos.saturating_mul(burst.max(1)).min(u64::MAX / 4);
        Self { requests, every, interval_nanos, burst_nanos }
    }

    /// Requests in each [`Quota::every`].
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// The time that [`Quota::requests`] are counted in.
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Takes one request out of `bucket`, or leaves it as it is.
    pub fn take(&self, bucket: &AtomicU64, now: Timestamp) -> Outcome {
        let now = nanos(now);
        let mut seen = bucket.load(Ordering::SeqCst);
        loop {
            let (next, outcome) = self.judge(seen, now);
            if matches!(outcome, Outcome::Refused { .. }) {
                return outcome;
            }
            match bucket.compare_exchange_weak(seen, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return outcome,
                Err(other) => seen = other,
            }
        }
    }

    /// What [`Quota::take`] would say, with nothing taken.
    pub fn look(&self, bucket: &AtomicU64, now: Timestamp) -> Outcome {
        self.judge(bucket.load(Ordering::SeqCst), nanos(now)).1
    }

    fn judge(&self, full_at: u64, now: u64) -> (u64, Outcome) {
        let furthest = now.saturating_add(self.burst_nanos);
        // Further ahead than any burst: the clock was set back. It is taken for used up, not for more.
        let next = full_at.clamp(now, furthest).saturating_add(self.interval_nanos);
        if let Some(room) = furthest.checked_sub(next) {
            let left = room.checked_div(self.interval_nanos).unwrap_or(0);
            let reset = Duration::from_nanos(next.saturating_sub(now));
            (next, Outcome::Taken { left, reset })
        } else {
            let wait = Duration::from_nanos(next.saturating_sub(furthest));
            (full_at, Outcome::Refused { wait })
        }
    }
}

/// Whether a bucket says nothing any more.
pub(super) fn is_full(full_at: u64, now: Timestamp) -> bool {
    full_at <= nanos(now)
}

fn nanos(now: Timestamp) -> u64 {
    u64::try_from(now.millis()).unwrap_or(0).saturating_mul(NANOS_PER_MILLI)
}

const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: i64 = 1_790_000_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(START + millis)
    }

    fn passes(quota: &Quota, bucket: &AtomicU64, millis: i64) -> bool {
        matches!(quota.take(bucket, at(millis)), Outcome::Taken { .. })
    }

    #[test]
    fn a_burst_passes_and_the_next_waits_for_its_turn() {
        let (quota, bucket) = (Quota::new(10, Duration::from_secs(1), 3), AtomicU64::new(0));
        let millis = Duration::from_millis;
        for (left, reset) in [(2, 100), (1, 200), (0, 300)] {
            let taken = Outcome::Taken { left, reset: millis(reset) };
            assert_eq!(quota.take(&bucket, at(0)), taken);
        }
        assert_eq!(quota.take(&bucket, at(0)), Outcome::Refused { wait: millis(100) });
        assert_eq!(quota.look(&bucket, at(99)), Outcome::Refused { wait: millis(1) });
        assert!(!passes(&quota, &bucket, 99));
        assert!(passes(&quota, &bucket, 100));
        assert!(!passes(&quota, &bucket, 199));
        assert!(passes(&quota, &bucket, 200));
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let (quota, bucket) = (Quota::new(1, Duration::from_mins(1), 1), AtomicU64::new(0));
        assert!(passes(&quota, &bucket, 0));
        for millis in 1..1000 {
            assert!(!passes(&quota, &bucket, millis * 59));
        }
        assert!(!passes(&quota, &bucket, 59_999));
        assert!(passes(&quota, &bucket, 60_000));
    }

    #[test]
    fn a_clock_set_back_leaves_a_bucket_used_up_and_no_worse() {
        let (quota, bucket) = (Quota::new(1, Duration::from_secs(1), 2), AtomicU64::new(0));
        assert!(passes(&quota, &bucket, 3_600_000));
        assert!(!passes(&quota, &bucket, 0));
        assert_eq!(quota.look(&bucket, at(0)), Outcome::Refused { wait: Duration::from_secs(1) });
    }

    #[test]
    fn extreme_rates_stay_within_their_type() {
        let day = Duration::from_hours(24);
        for (requests, every, burst) in
            [(1, day, 1_000_000), (1_000_000, Duration::from_secs(1), 1), (1, day, 1)]
        {
            let (quota, bucket) = (Quota::new(requests, every, burst), AtomicU64::new(u64::MAX));
            assert!(!passes(&quota, &bucket, 0));
            let bucket = AtomicU64::new(0);
            assert!(passes(&quota, &bucket, 0));
        }
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_a_burst_and_its_share(
            requests in 1_u64..50, burst in 1_u64..20, steps in prop::collection::vec(0_i64..200, 1..300),
        ) {
            let (quota, bucket) = (Quota::new(requests, Duration::from_secs(1), burst), AtomicU64::new(0));
            let mut now = 0;
            let mut taken = Vec::new();
            for step in steps {
                now += step;
                if passes(&quota, &bucket, now) {
                    taken.push(now);
                }
            }
            for (from, first) in taken.iter().enumerate() {
                for (to, last) in taken.iter().enumerate().skip(from) {
                    let window = u64::try_from(last - first).unwrap();
                    let most = burst + window * requests / 1000;
                    prop_assert!(u64::try_from(to - from + 1).unwrap() <= most);
                }
            }
        }
    }
}
