//! When a key set is fetched next: a calculation on instants, without clock and without I/O.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::Digest;

/// How long a fetched set is used before the next fetch, whatever the issuer says.
const MIN_AGE: Duration = Duration::from_mins(1);
/// Likewise, at most.
const MAX_AGE: Duration = Duration::from_hours(1);
/// Likewise, when the issuer says nothing.
const USUAL_AGE: Duration = Duration::from_mins(5);
/// The first wait after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_mins(1);

/// The plan of one key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// When the next fetch is due.
    pub(super) next: Timestamp,
    /// How many fetches have failed in a row.
    pub(super) failures: u32,
}

impl Schedule {
    /// A plan whose first fetch is due now.
    pub(super) const fn due_at(now: Timestamp) -> Self {
        Self { next: now, failures: 0 }
    }

    /// The plan after a fetch: before the set ages out or grows older than `longest`, early by up to
    /// a fifth.
    pub(super) fn succeeded(
        now: Timestamp,
        max_age: Option<Duration>,
        longest: Duration,
        spread: Spread,
    ) -> Self {
        let age = max_age.unwrap_or(USUAL_AGE).clamp(MIN_AGE, MAX_AGE).min(longest);
        Self { next: now.plus(age.saturating_sub(spread.part_of(age / 5))), failures: 0 }
    }

    /// The plan after a failure: soon, then less and less often.
    pub(super) fn failed(self, now: Timestamp, spread: Spread) -> Self {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
        let wait = doubled.min(LAST_RETRY);
        let next = now.plus(wait.saturating_sub(spread.part_of(wait / 4)));
        Self { next, failures: self.failures.saturating_add(1) }
    }
}

/// A fraction that differs between issuers, instants and processes, so that replicas do not fetch
/// in step; it needs to be uneven, not unpredictable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread(u16);

impl Spread {
    /// The fraction for `label` at `now`.
    pub(super) fn of(label: &str, seed: u64, now: Timestamp) -> Self {
        let digest = Digest::of(format!("{label} {seed} {}", now.millis()).as_bytes());
        let [first, second, ..] = *digest.as_bytes();
        Self(u16::from_be_bytes([first, second]))
    }

    fn part_of(self, whole: Duration) -> Duration {
        whole.saturating_mul(u32::from(self.0)) / (u32::from(u16::MAX) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
    const SPREADS: [Spread; 3] = [Spread(0), Spread(u16::MAX / 2), Spread(u16::MAX)];

    fn wait(plan: Schedule) -> Duration {
        plan.next.since(NOW)
    }

    #[test]
    fn refreshes_before_the_set_ages_out_within_bounds() {
        for spread in SPREADS {
            for (told, age) in [
                (None, 300),
                (Some(0), 60),
                (Some(59), 60),
                (Some(600), 600),
                (Some(3600), 3600),
                (Some(3601), 3600),
                (Some(u64::MAX), 3600),
            ] {
                let told = told.map(Duration::from_secs);
                let plan = Schedule::succeeded(NOW, told, Duration::from_hours(24), spread);
                let age = Duration::from_secs(age);
                assert!(wait(plan) <= age && wait(plan) >= age * 4 / 5, "{told:?} {plan:?}");
                assert_eq!(plan.failures, 0);
            }
        }
    }

    #[test]
    fn retries_soon_then_less_and_less_often_and_never_stops() {
        for spread in SPREADS {
            let mut plan = Schedule::due_at(NOW);
            for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
                plan = plan.failed(NOW, spread);
                let longest = Duration::from_secs(seconds);
                assert!(wait(plan) <= longest && wait(plan) >= longest * 3 / 4, "{plan:?}");
            }
            plan.failures = u32::MAX;
            assert!(wait(plan.failed(NOW, spread)) <= LAST_RETRY);
        }
    }

    #[test]
    fn two_processes_do_not_fetch_in_step() {
        let of = |seed| Spread::of("issuer", seed, NOW).0;
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
