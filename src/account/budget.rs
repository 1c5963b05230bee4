//! One budget of failures: so many within a window, then a pause.
//!
//! It knows not whose it is. A try that is under way is neither a failure nor a success, but there is
//! never more of both together than the budget allows.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::dialect::Lockout;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    under_way: u32,
    failures: u32,
    times: Option<Times>,
}

/// When the failures that count were.
#[derive(Clone, Copy, Debug)]
struct Times {
    first: Timestamp,
    last: Timestamp,
    /// From here on none of them counts.
    over: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Exhausted { retry_after: Duration },
    Contended,
}

impl Budget {
    /// Whether one more try may begin.
    pub(super) fn judge(&self, lockout: Lockout, now: Timestamp) -> Result<(), Refusal> {
        if lockout.failures == 0 {
            return Ok(());
        }
        let failures = self.failures_at(lockout, now);
        if failures >= lockout.failures {
            let until = self.times.map_or(now, |times| times.last.plus(lockout.lock));
            return Err(Refusal::Exhausted { retry_after: until.since(now) });
        }
        let all = failures.saturating_add(self.under_way);
        if all >= lockout.failures { Err(Refusal::Contended) } else { Ok(()) }
    }

    pub(super) const fn take(&mut self) {
        self.under_way = self.under_way.saturating_add(1);
    }

    /// The try was right.
    pub(super) const fn forgive(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The try that began at `at` failed.
    pub(super) fn fail(&mut self, lockout: Lockout, at: Timestamp) {
        self.forgive();
        let failures = self.failures_at(lockout, at);
        let before = self.times.filter(|_| failures > 0);
        let first = before.map_or(at, |times| times.first);
        let last = before.map_or(at, |times| times.last.max(at));
        let over = first.plus(lockout.window).max(last.plus(lockout.lock));
        self.failures = failures.saturating_add(1);
        self.times = Some(Times { first, last, over });
    }

    /// Forgets the failures; what is under way still counts.
    pub(super) const fn clear(&mut self) {
        self.failures = 0;
        self.times = None;
    }

    /// Whether nothing would change if it were forgotten.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.under_way == 0 && self.times.is_none_or(|times| now >= times.over)
    }

    /// The failures that still count: as long as their window lasts, or the lock that they closed.
    fn failures_at(&self, lockout: Lockout, now: Timestamp) -> u32 {
        let Some(times) = self.times else { return 0 };
        let counts = if self.failures >= lockout.failures {
            now.since(times.last) < lockout.lock
        } else {
            now.since(times.first) < lockout.window
        };
        if counts { self.failures } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKOUT: Lockout =
        Lockout { failures: 3, window: Duration::from_secs(100), lock: Duration::from_secs(200) };

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn failed(times: &[i64]) -> Budget {
        let mut budget = Budget::default();
        for time in times {
            budget.take();
            budget.fail(LOCKOUT, at(*time));
        }
        budget
    }

    #[track_caller]
    fn check(budget: Budget, now: i64, retry_after: Option<u64>) {
        let retry_after = retry_after.map(Duration::from_secs);
        let refusal = retry_after.map(|retry_after| Refusal::Exhausted { retry_after });
        assert_eq!(budget.judge(LOCKOUT, at(now)).err(), refusal);
    }

    #[test]
    fn so_many_failures_within_the_window_lock_for_so_long_after_the_last() {
        check(failed(&[]), 0, None);
        check(failed(&[0, 1]), 1, None);
        check(failed(&[0, 1, 99]), 99, Some(200));
        check(failed(&[0, 1, 99]), 298, Some(1));
        check(failed(&[0, 1, 99]), 299, None);
        // A lock is over: counting begins anew.
        check(failed(&[0, 1, 99, 299, 300]), 300, None);
        check(failed(&[0, 1, 99, 299, 300, 301]), 301, Some(200));
    }

    #[test]
    fn failures_before_the_window_do_not_count() {
        check(failed(&[0, 1, 100]), 100, None);
        check(failed(&[0, 99, 100, 101]), 101, None);
        check(failed(&[0, 99, 100, 101, 102]), 102, Some(200));
    }

    #[test]
    fn tries_under_way_make_later_ones_wait_and_lock_nobody_out() {
        let mut budget = failed(&[0]);
        budget.take();
        check(budget, 1, None);
        budget.take();
        assert_eq!(budget.judge(LOCKOUT, at(1)), Err(Refusal::Contended));
        budget.forgive();
        check(budget, 1, None);
        budget.fail(LOCKOUT, at(1));
        check(budget, 1, None);
        budget.take();
        budget.fail(LOCKOUT, at(1));
        check(budget, 1, Some(200));
    }

    #[test]
    fn zero_failures_never_lock() {
        let never = Lockout { failures: 0, ..LOCKOUT };
        assert_eq!(failed(&[0; 9]).judge(never, at(0)), Ok(()));
    }

    #[test]
    fn what_was_cleared_may_be_tried_but_for_what_is_under_way() {
        let mut budget = failed(&[0, 0, 0]);
        budget.clear();
        check(budget, 0, None);
        assert!(budget.is_over(at(0)));
        budget.take();
        assert!(!budget.is_over(at(0)));
    }

    #[test]
    fn a_budget_is_kept_until_neither_window_nor_lock_is_left() {
        assert!(!failed(&[50]).is_over(at(249)));
        assert!(failed(&[50]).is_over(at(250)));
        let mut one = Budget::default();
        one.fail(Lockout { lock: Duration::ZERO, ..LOCKOUT }, at(0));
        assert!(!one.is_over(at(99)));
        assert!(one.is_over(at(100)));
    }

    #[test]
    fn a_failure_noted_late_does_not_move_the_lock_back() {
        let mut budget = failed(&[0, 50]);
        budget.take();
        budget.fail(LOCKOUT, at(10));
        check(budget, 50, Some(200));
    }
}
