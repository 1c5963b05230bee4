//! The tokens that one worker saw last: a small table in front of the shared memory.
//!
//! A token is found here by its own text, so that the usual request pays for one comparison instead of
//! a digest of the whole token and a look into a structure that all workers share. What is found is
//! judged again exactly as what the shared memory remembers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cache::Remembered;
use crate::id::Digest;
use crate::secret;
use crate::secret::Secret;

/// Tokens that one worker saw last.
#[derive(Debug)]
pub struct Recent {
    /// One place for each value of [`place_of`]. Never contended (one worker) and never held across
    /// an await.
    slots: Mutex<Box<[Option<Box<Slot>>]>>,
}

#[derive(Debug)]
struct Slot {
    rules: Digest,
    token: Secret<Box<str>>,
    remembered: Remembered,
}

impl Recent {
    /// An empty table.
    pub fn new() -> Self {
        let slots = (0..SLOTS).map(|_| None).collect();
        Self { slots: Mutex::new(slots) }
    }

    pub(super) fn find(&self, rules: &Digest, token: &str) -> Option<Remembered> {
        let slots = self.lock();
        let slot = slots.get(place_of(token))?.as_ref()?;
        let is_same =
            slot.rules == *rules && secret::equal(slot.token.expose().as_bytes(), token.as_bytes());
        is_same.then(|| slot.remembered.clone())
    }

    /// Remembers a token in place of another one.
    pub(super) fn remember(&self, rules: &Digest, token: &str, remembered: &Remembered) {
        if token.len() > LONGEST {
            return;
        }
        let slot = Slot {
            rules: *rules,
            token: Secret::new(token.into()),
            remembered: remembered.clone(),
        };
        if let Some(place) = self.lock().get_mut(place_of(token)) {
            *place = Some(Box::new(slot));
        }
    }

    pub(super) fn forget(&self, token: &str) {
        if let Some(place) = self.lock().get_mut(place_of(token)) {
            *place = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<[Option<Box<Slot>>]>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

/// The end of a token is the end of its signature: as good as random among tokens that were verified,
/// and only those are ever remembered.
fn place_of(token: &str) -> usize {
    let end = token.as_bytes().last_chunk::<16>().copied().unwrap_or_default();
    let mixed = u128::from_le_bytes(end).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    usize::try_from(mixed >> (128 - SLOT_BITS)).unwrap_or_default()
}

const SLOT_BITS: u32 = 10;
/// Tokens remembered per worker.
const SLOTS: usize = 1 << SLOT_BITS;
/// Longer tokens are left to the shared memory, so that this table stays small.
const LONGEST: usize = 2048;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::TokenError;
    use super::super::algorithm::Algorithm;
    use super::super::claims::Audience;
    use super::super::testing::{NOW, claims, entry, key_set, plain, signer, verifier, with};
    use super::super::verifier::TokenVerifier;
    use super::*;
    use crate::clock::Timestamp;

    const ES256: [Algorithm; 1] = [Algorithm::Es256];
    const MEBIBYTE: u64 = 1 << 20;

    async fn judge(
        check: &TokenVerifier,
        token: &str,
        recent: &Recent,
        millis: i64,
    ) -> Option<TokenError> {
        let now = Timestamp::from_millis(NOW * 1000 + millis);
        check.verify(Secret::new(token), now, recent).await.err()
    }

    fn is_known(recent: &Recent) -> bool {
        recent.lock().iter().any(Option::is_some)
    }

    #[tokio::test]
    async fn a_token_seen_before_expires_to_the_millisecond() {
        let signer = signer(Algorithm::Es256, None);
        let mut entry = entry("https://id", &ES256, key_set(&[&signer], &ES256));
        entry.leeway = Duration::from_secs(2);
        let (check, recent) = (verifier(vec![entry], MEBIBYTE), Recent::new());
        let token = signer.sign(&plain(), &with("exp", json!(NOW + 1))).unwrap();
        for (millis, verdict) in
            [(0, None), (2999, None), (3000, Some(TokenError::Expired)), (2999, None)]
        {
            assert_eq!(judge(&check, &token, &recent, millis).await, verdict, "{millis}");
            assert!(is_known(&recent));
        }
    }

    #[tokio::test]
    async fn a_token_seen_before_dies_with_its_key_and_its_rules() {
        let (old, new) = (signer(Algorithm::Es256, None), signer(Algorithm::Es256, None));
        let recent = Recent::new();
        let check = |signer, audience: &str| {
            let mut entry = entry("https://id", &ES256, key_set(&[signer], &ES256));
            entry.audience = Audience::OneOf(vec![audience.to_owned()]);
            verifier(vec![entry], MEBIBYTE)
        };
        let token = old.sign(&plain(), &claims()).unwrap();
        assert_eq!(judge(&check(&old, "api"), &token, &recent, 0).await, None);
        assert!(is_known(&recent));
        let replaced = judge(&check(&new, "api"), &token, &recent, 0).await;
        assert_eq!(replaced, Some(TokenError::BadSignature));
        assert!(!is_known(&recent));
        assert_eq!(judge(&check(&old, "api"), &token, &recent, 0).await, None);
        let elsewhere = judge(&check(&old, "other"), &token, &recent, 0).await;
        assert_eq!(elsewhere, Some(TokenError::WrongAudience));
    }

    #[tokio::test]
    async fn only_whole_valid_tokens_are_seen_and_none_without_a_cache() {
        let signer = signer(Algorithm::Es256, None);
        let of =
            |bytes| verifier(vec![entry("https://id", &ES256, key_set(&[&signer], &ES256))], bytes);
        let (check, recent) = (of(MEBIBYTE), Recent::new());
        let token = signer.sign(&plain(), &claims()).unwrap();
        let (body, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{}x.{signature}", body.strip_suffix(|_| true).unwrap());
        assert!(judge(&check, &forged, &recent, 0).await.is_some());
        assert!(!is_known(&recent));
        assert_eq!(judge(&of(0), &token, &recent, 0).await, None);
        assert!(!is_known(&recent));
        assert_eq!(judge(&check, &token, &recent, 0).await, None);
        // The same end, and so the same place, but another text.
        assert!(judge(&check, &forged, &recent, 0).await.is_some());
    }

    #[test]
    fn every_place_is_within_the_table_and_places_are_spread() {
        let mut used = [false; SLOTS];
        for number in 0..100_000_u32 {
            let text = format!("{:016x}", u64::from(number).wrapping_mul(0x9E37_79B9));
            used[place_of(&text)] = true;
        }
        assert!(used.iter().filter(|used| **used).count() > SLOTS * 9 / 10);
        assert_eq!(place_of("short"), 0);
    }
}
