//! Tokens already verified, bounded in bytes, shared by all workers.
//!
//! Kept is never the token, only a digest of it. What is found here is judged again by the verifier:
//! its times, and whether the key that vouched for it is still in force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use prometheus::IntCounter;
use serde_json::{Map, Value};

use super::claims::Window;
use crate::clock::Timestamp;
use crate::id::Digest;
use crate::principal::{Permissions, Subject};
use crate::telemetry::Metrics;

/// What one entry costs beside subject and claims: digest, node, queues, timer and hash table of the
/// cache (measured with half a million entries; the largest of many runs, since what the allocator keeps
/// beside differs by a tenth from one to the next).
const ENTRY_BYTES: usize = 736;

/// The memory of verified tokens; cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenCache {
    entries: Option<Cache<Digest, Remembered>>,
    hits: IntCounter,
    misses: IntCounter,
}

/// A verified token, as far as it must be judged again.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) subject: Arc<Subject>,
    pub(super) window: Window,
    /// Which key vouched for it: with that key, the entry dies.
    pub(super) key: Digest,
    pub(super) entry: usize,
    /// For how long it is worth keeping.
    pub(super) lifetime: Duration,
}

impl TokenCache {
    /// A cache that holds about `bytes` of memory; with 0 it remembers nothing.
    pub fn new(bytes: u64, metrics: &Metrics) -> Self {
        let entries = (bytes > 0).then(|| entries(bytes, metrics.token_evictions.clone()));
        Self { entries, hits: metrics.token_hits.clone(), misses: metrics.token_misses.clone() }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        if let Some(entries) = &self.entries {
            entries.invalidate_all();
        }
    }

    /// How many tokens are remembered, as of the last housekeeping.
    pub fn len(&self) -> u64 {
        self.entries.as_ref().map_or(0, Cache::entry_count)
    }

    /// Whether nothing is remembered, as of the last housekeeping.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are thought to be in use, as of the last housekeeping.
    pub fn size_bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, Cache::weighted_size)
    }

    /// Does the housekeeping that is due: evicts, expires, counts.
    pub fn run_pending_tasks(&self) {
        if let Some(entries) = &self.entries {
            entries.run_pending_tasks();
        }
    }

    /// Under which key `token` is remembered for the verifier named `verifier`; nothing when off.
    pub(super) fn key(&self, verifier: &Digest, token: &str) -> Option<Digest> {
        self.entries.as_ref()?;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(verifier.as_bytes());
        context.update(token.as_bytes());
        context.finish().as_ref().try_into().ok().map(Digest::from_bytes)
    }

    pub(super) fn find(&self, key: &Digest) -> Option<Remembered> {
        self.entries.as_ref()?.get(key)
    }

    pub(super) fn remember(&self, key: Digest, remembered: Remembered) {
        if let Some(entries) = &self.entries {
            entries.insert(key, remembered);
        }
    }

    pub(super) fn forget(&self, key: &Digest) {
        if let Some(entries) = &self.entries {
            entries.invalidate(key);
        }
    }

    pub(super) fn count_hit(&self) {
        self.hits.inc();
    }

    pub(super) fn count_miss(&self) {
        self.misses.inc();
    }
}

fn entries(bytes: u64, evictions: IntCounter) -> Cache<Digest, Remembered> {
    let evicted = move |_: Arc<Digest>, _: Remembered, cause| {
        if cause == RemovalCause::Size {
            evictions.inc();
        }
    };
    Cache::builder()
        .max_capacity(bytes)
        .weigher(|_, remembered: &Remembered| remembered.weight())
        .expire_after(UntilExpired)
        .eviction_listener(evicted)
        .build()
}

impl Remembered {
    pub(super) fn new(
        subject: Arc<Subject>,
        window: Window,
        key: Digest,
        entry: usize,
        now: Timestamp,
    ) -> Self {
        Self { subject, window, key, entry, lifetime: window.until.since(now) }
    }

    fn weight(&self) -> u32 {
        let subject = &self.subject;
        let bytes = ENTRY_BYTES
            + size_of::<Self>()
            + size_of::<Subject>()
            + text(&subject.identity)
            + text(&subject.issuer)
            + members(&subject.claims)
            + permissions(&subject.permissions)
            + subject
                .own
                .as_ref()
                .map_or(0, |own| text(own.session.as_str()) + text(own.user.as_str()));
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// Lets an entry go when its token expires, by the monotonic clock: room for others. That it is not
/// used beyond its expiry is the verifier's doing, by the wall clock.
struct UntilExpired;

impl Expiry<Digest, Remembered> for UntilExpired {
    fn expire_after_create(
        &self,
        _: &Digest,
        remembered: &Remembered,
        _: Instant,
    ) -> Option<Duration> {
        Some(remembered.lifetime)
    }

    fn expire_after_update(
        &self,
        _: &Digest,
        remembered: &Remembered,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(remembered.lifetime)
    }
}

/// What an allocator hands out for `bytes`: in steps of 16, later of up to a quarter.
fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes.next_multiple_of(16) + bytes / 8 }
}

fn text(text: &str) -> usize {
    allocated(text.len())
}

/// A map is a vector of members and a table of indices, both with room to grow: to seven eighths of
/// a power of two.
fn members(map: &Map<String, Value>) -> usize {
    if map.is_empty() {
        return 0;
    }
    let buckets = match map.len() {
        0..=3 => 4,
        4..=7 => 8,
        more => (more * 8 / 7).next_power_of_two(),
    };
    let member = size_of::<u64>() + size_of::<String>() + size_of::<Value>();
    let table = allocated(buckets * (size_of::<usize>() + 1) + 16);
    let held: usize = map.iter().map(|(name, value)| text(name) + heap(value)).sum();
    allocated(buckets * 7 / 8 * member) + table + held
}

/// What a value holds beyond its own size.
fn heap(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(string) => text(string),
        Value::Array(list) => {
            let items: usize = list.iter().map(heap).sum();
            items + allocated(list.capacity() * size_of::<Value>())
        }
        Value::Object(map) => members(map),
    }
}

fn permissions(permissions: &Permissions) -> usize {
    let names = |names: &Vec<String>| -> usize {
        let held: usize = names.iter().map(|name| text(name)).sum();
        allocated(names.capacity() * size_of::<String>()) + held
    };
    match permissions {
        Permissions::None => 0,
        Permissions::Names(list) => names(list),
        Permissions::Verbs(map) => {
            let held = |(resource, verbs): &(String, Vec<String>)| text(resource) + names(verbs);
            let pairs = map.capacity() * 2 * size_of::<String>();
            allocated(pairs) + map.iter().map(held).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::TokenError;
    use super::super::algorithm::Algorithm;
    use super::super::claims::Audience;
    use super::super::recent::Recent;
    use super::super::signer::TokenSigner;
    use super::super::testing::{
        NOW, claims, entry, key_set, keys_of, now, plain, signer, verifier, verify, with,
    };
    use super::super::verifier::TokenVerifier;
    use super::*;
    use crate::id::CheckName;
    use crate::secret::Secret;

    const ISSUER: &str = "https://id";
    const MEBIBYTE: u64 = 1 << 20;

    fn remembered(n: usize, claims: Value) -> Remembered {
        let Value::Object(claims) = claims else { panic!("an object") };
        let expires_at = Timestamp::from_seconds(NOW + 3600);
        let subject = Subject {
            identity: format!("user-{n}"),
            issuer: ISSUER.to_owned(),
            claims,
            permissions: Permissions::None,
            expires_at,
            bound_to: None,
            own: None,
        };
        let window = Window { from: Timestamp::from_millis(i64::MIN), until: expires_at };
        Remembered::new(Arc::new(subject), window, Digest::of(b"key"), 0, now())
    }

    #[tokio::test]
    async fn a_remembered_token_expires_to_the_millisecond() {
        let signer = signer(Algorithm::Hs256, None);
        let mut entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
        entry.leeway = Duration::from_secs(2);
        let check = verifier(vec![entry], MEBIBYTE);
        let token = signer.sign(&plain(), &with("exp", json!(NOW + 1))).unwrap();
        let at = async |ms: i64| {
            let now = Timestamp::from_millis(NOW * 1000 + ms);
            check.verify(Secret::new(&token), now, &Recent::new()).await.err()
        };
        assert_eq!(at(0).await, None);
        assert_eq!(at(2999).await, None);
        assert_eq!(at(3000).await, Some(TokenError::Expired));
        assert_eq!(at(3001).await, Some(TokenError::Expired));
    }

    #[tokio::test]
    async fn what_is_remembered_belongs_to_one_check_and_its_rules() {
        let signer = signer(Algorithm::Hs256, None);
        let metrics = Metrics::new().unwrap();
        let cache = TokenCache::new(MEBIBYTE, &metrics);
        let build = |name: &str, audience: &str| {
            let mut entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
            entry.audience = Audience::OneOf(vec![audience.to_owned()]);
            let name = CheckName::new(name);
            TokenVerifier::new(name, vec![entry], cache.clone(), 8192).unwrap()
        };
        let token = signer.sign(&plain(), &claims()).unwrap();
        let hits = || metrics.token_hits.get();
        assert!(verify(&build("user", "api"), &token).await.is_ok());
        assert!(verify(&build("user", "api"), &token).await.is_ok());
        assert_eq!(hits(), 1, "the same rules find it again, also after a reload");
        let judged = verify(&build("user", "other"), &token).await.err();
        assert_eq!(judged, Some(TokenError::WrongAudience));
        assert!(verify(&build("second", "api"), &token).await.is_ok());
        assert_eq!(hits(), 1);
    }

    #[tokio::test]
    async fn what_is_remembered_dies_with_its_key_and_with_no_other() {
        let (old, new) =
            (signer(Algorithm::Es256, Some("old")), signer(Algorithm::Es256, Some("new")));
        let metrics = Metrics::new().unwrap();
        let cache = TokenCache::new(MEBIBYTE, &metrics);
        let build = |signers: &[&TokenSigner]| {
            let listed = [Algorithm::Es256];
            let entry = entry(ISSUER, &listed, key_set(signers, &listed));
            TokenVerifier::new(CheckName::new("user"), vec![entry], cache.clone(), 8192).unwrap()
        };
        let token = old.sign(&plain(), &claims()).unwrap();
        assert!(verify(&build(&[&old]), &token).await.is_ok());
        assert!(verify(&build(&[&new, &old]), &token).await.is_ok());
        assert_eq!(metrics.token_hits.get(), 1);
        let judged = verify(&build(&[&new]), &token).await.err();
        assert_eq!(judged, Some(TokenError::UnknownKey));
        let impostor = signer(Algorithm::Es256, Some("old"));
        let judged = verify(&build(&[&impostor]), &token).await.err();
        assert_eq!(judged, Some(TokenError::BadSignature));
    }

    #[tokio::test]
    async fn only_valid_tokens_are_remembered() {
        let signer = signer(Algorithm::Hs256, None);
        let metrics = Metrics::new().unwrap();
        let cache = TokenCache::new(MEBIBYTE, &metrics);
        let entry = entry(ISSUER, &[Algorithm::Hs256], keys_of(&signer));
        let name = CheckName::new("user");
        let check = TokenVerifier::new(name, vec![entry], cache.clone(), 8192).unwrap();
        let good = signer.sign(&plain(), &claims()).unwrap();
        for n in 0..1000 {
            let token = signer.sign(&plain(), &with("exp", json!(n))).unwrap();
            assert!(verify(&check, &token).await.is_err());
            assert!(verify(&check, &format!("{good}{n}")).await.is_err());
        }
        cache.run_pending_tasks();
        assert_eq!(cache.len(), 0);
        assert!(verify(&check, &good).await.is_ok());
        cache.run_pending_tasks();
        assert_eq!(cache.len(), 1);
        cache.clear();
        cache.run_pending_tasks();
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn never_holds_more_than_its_bound_and_counts_what_it_drops() {
        let metrics = Metrics::new().unwrap();
        let cache = TokenCache::new(MEBIBYTE, &metrics);
        let mut fullest = 0;
        for n in 0..20_000 {
            let key = cache.key(&Digest::of(b"rules"), &n.to_string()).unwrap();
            cache.remember(key, remembered(n, with("jti", json!(n))));
            fullest = fullest.max(cache.size_bytes());
        }
        cache.run_pending_tasks();
        assert!(fullest <= MEBIBYTE && cache.size_bytes() <= MEBIBYTE, "{fullest}");
        let (kept, dropped) = (cache.len(), metrics.token_evictions.get());
        assert!(kept > 100, "{kept}");
        assert_eq!(kept + dropped, 20_000);
    }

    #[test]
    fn an_entry_weighs_what_it_holds() {
        let small = remembered(1, claims()).weight();
        let text = remembered(1, with("x", json!("y".repeat(4000)))).weight();
        assert!((4000..4600).contains(&(text - small)), "{text} {small}");
        let list = remembered(1, with("x", json!(vec![0; 1000]))).weight();
        assert!(usize::try_from(list - small).unwrap() > 1000 * size_of::<Value>());
        let nested = remembered(1, with("x", json!(vec![json!({"a": "b"}); 100]))).weight();
        assert!(usize::try_from(nested - small).unwrap() > 200 * size_of::<Value>());
    }

    #[test]
    fn a_cache_of_no_bytes_remembers_nothing() {
        let cache = TokenCache::new(0, &Metrics::new().unwrap());
        assert_eq!(cache.key(&Digest::of(b"rules"), "token"), None);
        cache.remember(Digest::of(b"x"), remembered(1, claims()));
        assert!(cache.find(&Digest::of(b"x")).is_none() && cache.is_empty());
    }
}
