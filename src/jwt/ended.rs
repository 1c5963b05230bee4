//! What of our own tokens was revoked: sessions that ended and single tokens, as workers know them.
//!
//! Read on every request with a token of ours and without a lock. Told by whoever watches the store;
//! when that one has been silent for too long, no token of ours can be called good.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::TokenError;
use crate::clock::Timestamp;

/// Sessions and tokens that are no longer good, each until its last token would have expired anyway.
#[derive(Debug)]
pub struct Ended {
    names: ArcSwap<HashMap<Box<str>, Timestamp>>,
    heard_at: AtomicI64,
    max_silence: Duration,
}

impl Ended {
    /// Nothing has ended, as of `now`; after `max_silence` without news nothing is certain.
    pub fn new(now: Timestamp, max_silence: Duration) -> Self {
        let heard_at = AtomicI64::new(now.millis());
        Self { names: ArcSwap::default(), heard_at, max_silence }
    }

    /// Everything that has ended, in place of what was known.
    pub fn replace(&self, names: impl IntoIterator<Item = (String, Timestamp)>) {
        let names = names.into_iter().map(|(name, until)| (name.into_boxed_str(), until)).collect();
        self.names.store(Arc::new(names));
    }

    /// These ended too; what would have expired before `now` is dropped.
    pub fn add(&self, names: &[(String, Timestamp)], now: Timestamp) {
        self.names.rcu(|known| {
            let mut all: HashMap<Box<str>, Timestamp> = known
                .iter()
                .filter(|(_, until)| now < **until)
                .map(|(name, until)| (name.clone(), *until))
                .collect();
            all.extend(names.iter().map(|(name, until)| (name.as_str().into(), *until)));
            all
        });
    }

    /// Everything that happened before `at` is known now.
    pub fn heard(&self, at: Timestamp) {
        self.heard_at.store(at.millis(), Ordering::Release);
    }

    /// There was no news at `at`. A clock that was set back must not make the silence look shorter than
    /// it is.
    pub fn heard_nothing(&self, at: Timestamp) {
        self.heard_at.fetch_min(at.millis(), Ordering::AcqRel);
    }

    /// Whether there was no news for so long that nothing is certain.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        let heard_at = Timestamp::from_millis(self.heard_at.load(Ordering::Acquire));
        now.since(heard_at) > self.max_silence
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.names.load().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a token of this session, with this `jti` if it has one, is still good.
    pub(super) fn admit(
        &self,
        session: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        if self.is_silent(now) {
            return Err(TokenError::KeysUnavailable);
        }
        let names = self.names.load();
        let has_ended = |name: &str| names.contains_key(name);
        if !names.is_empty() && (has_ended(session) || token.is_some_and(has_ended)) {
            return Err(TokenError::Revoked);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn what_ended_is_refused_by_session_and_by_token() {
        let ended = Ended::new(at(0), SILENCE);
        assert_eq!(ended.admit("s_1", Some("t"), at(1)), Ok(()));
        ended.add(&[("s_1".to_owned(), at(100)), ("t2".to_owned(), at(10))], at(1));
        assert_eq!(ended.admit("s_1", None, at(1)), Err(TokenError::Revoked));
        assert_eq!(ended.admit("s_2", Some("t2"), at(1)), Err(TokenError::Revoked));
        assert_eq!(ended.admit("s_2", Some("t"), at(1)), Ok(()));
        assert_eq!(ended.admit("s_", None, at(1)), Ok(()));
        ended.add(&[], at(10));
        assert_eq!(ended.len(), 1);
        ended.replace([("s_3".to_owned(), at(9))]);
        assert_eq!(ended.admit("s_1", None, at(1)), Ok(()));
        assert_eq!(ended.admit("s_3", None, at(1)), Err(TokenError::Revoked));
    }

    #[test]
    fn after_too_long_a_silence_nothing_is_good() {
        let ended = Ended::new(at(0), SILENCE);
        assert_eq!(ended.admit("s", None, at(30)), Ok(()));
        let late = at(30).plus(Duration::from_millis(1));
        assert_eq!(ended.admit("s", None, late), Err(TokenError::KeysUnavailable));
        ended.heard(at(30));
        assert_eq!(ended.admit("s", None, late), Ok(()));
        // The clock is set back by an hour while the store is silent, and goes on from there.
        let back = at(30 - 3600);
        ended.heard_nothing(back);
        assert_eq!(ended.admit("s", None, back), Ok(()));
        let late = back.plus(SILENCE + Duration::from_millis(1));
        assert_eq!(ended.admit("s", None, late), Err(TokenError::KeysUnavailable));
        ended.heard_nothing(at(60));
        assert!(ended.is_silent(late), "no news brings nothing nearer");
    }
}
