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

/// What one entry costs beside its claims: digest, node, queues and timer of the cache, allocator.
const ENTRY_BYTES: usize = 720;
/// What one small allocation costs beyond its length.
const ALLOCATION_BYTES: usize = 16;
/// What one member of a map costs beside name and value: its hash and its place in the index.
const MEMBER_BYTES: usize = 32;

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
        let evictions = metrics.token_evictions.clone();
        let entries = (bytes > 0).then(|| {
            Cache::builder()
                .max_capacity(bytes)
                .weigher(|_, remembered: &Remembered| remembered.weight())
                .expire_after(UntilExpired)
                .eviction_listener(move |_, _, cause| {
                    if cause == RemovalCause::Size {
                        evictions.inc();
                    }
                })
                .build()
        });
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
            + permissions(&subject.permissions);
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

fn text(text: &str) -> usize {
    text.len() + ALLOCATION_BYTES
}

fn members(map: &Map<String, Value>) -> usize {
    let member = |(name, value): (&String, &Value)| {
        size_of::<String>() + text(name) + size_of::<Value>() + MEMBER_BYTES + heap(value)
    };
    // A map's vector grows by doubling: up to as much again may stand empty.
    map.iter().map(member).sum::<usize>() + map.len() * size_of::<Value>() / 2
}

/// What a value holds beyond its own size.
fn heap(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(string) => text(string),
        Value::Array(list) => {
            let items: usize = list.iter().map(|item| size_of::<Value>() + heap(item)).sum();
            items + list.len() * size_of::<Value>() / 2 + ALLOCATION_BYTES
        }
        Value::Object(map) => members(map) + ALLOCATION_BYTES,
    }
}

fn permissions(permissions: &Permissions) -> usize {
    let names = |names: &[String]| -> usize {
        names.iter().map(|name| size_of::<String>() + text(name)).sum()
    };
    match permissions {
        Permissions::None => 0,
        Permissions::Names(list) => names(list),
        Permissions::Verbs(map) => map
            .iter()
            .map(|(resource, verbs)| 2 * size_of::<Vec<u8>>() + text(resource) + names(verbs))
            .sum(),
    }
}
