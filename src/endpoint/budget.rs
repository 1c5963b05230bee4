//! How many requests may be repeated: a share of those that came, so that a sick upstream is not asked
//! several times as often as a well one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each request pays a share of a repetition in; each repetition takes a whole one out.
#[derive(Debug)]
pub(super) struct Budget {
    /// In hundredths of a repetition.
    saved: AtomicU64,
    percent: u64,
}

impl Budget {
    /// Of a hundred requests, `percent` may be repeated, and a few at the start.
    pub(super) const fn new(percent: u64) -> Self {
        let saved = if percent == 0 { 0 } else { MOST_SAVED };
        Self { saved: AtomicU64::new(saved), percent }
    }

    /// A request came.
    pub(super) fn deposit(&self) {
        // Full most of the time: then nothing is written.
        let _ = self.saved.try_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
            (saved < MOST_SAVED).then(|| (saved + self.percent).min(MOST_SAVED))
        });
    }

    /// Whether one more may be repeated.
    pub(super) fn withdraw(&self) -> bool {
        let take = |saved: u64| saved.checked_sub(ONE);
        self.saved.try_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

const ONE: u64 = 100;
/// Repetitions that may be saved up.
const MOST_SAVED: u64 = 10 * ONE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_requests_may_be_repeated() {
        let budget = Budget::new(20);
        let spend = || (0..100).filter(|_| budget.withdraw()).count();
        assert_eq!(spend(), 10, "what was saved at the start");
        for (requests, repeated) in [(4, 0), (1, 1), (50, 10), (10_000, 10)] {
            (0..requests).for_each(|_| budget.deposit());
            assert_eq!(spend(), repeated, "after {requests}");
        }
    }

    #[test]
    fn an_empty_budget_repeats_nothing() {
        let budget = Budget::new(0);
        (0..1000).for_each(|_| budget.deposit());
        assert!(!budget.withdraw());
    }
}
