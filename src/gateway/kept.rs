//! What outlives a reload: caches, counters, key sets, the numbers of connection pools.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use rustls::RootCertStore;

use super::transport::Secured;
use crate::certificate::{RootsError, system_roots};
use crate::clock::Clock;
use crate::config::RatePer;
use crate::config::RateSettings;
use crate::config::UpstreamSettings;
use crate::credentials::KnownUsers;
use crate::credentials::StoredKeys;
use crate::credentials::Vouching;
use crate::endpoint::Pool;
use crate::endpoint::Slots;
use crate::fetch::Fetcher;
use crate::jwt::Algorithm;
use crate::jwt::Ended;
use crate::jwt::OwnKeys;
use crate::jwt::RemoteKeys;
use crate::jwt::RemoteSettings;
use crate::jwt::TokenCache;
use crate::limits::Buckets;
use crate::limits::Per;
use crate::limits::Quota;
use crate::limits::Rate;
use crate::telemetry::Metrics;
use crate::telemetry::UpstreamMetrics;

/// Everything that a new configuration takes over from the old one.
#[derive(Debug)]
pub struct Kept {
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) stored: Option<Arc<StoredKeys>>,
    pub(super) fetcher: Arc<Fetcher>,
    /// Differs between processes, so that replicas do not fetch in step.
    pub(super) seed: u64,
    /// Which of our own tokens were revoked.
    pub(super) ended: Arc<Ended>,
    /// What is known about the users of our own.
    pub(super) users: Option<Arc<KnownUsers>>,
    /// Who vouches for them.
    pub(super) vouching: Option<Arc<Vouching>>,
    /// Whether the key sets on disk are ours to write.
    pub(super) writes_key_sets: bool,
    slots: Arc<Slots>,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    pools: Vec<Arc<Pool>>,
    secured: Vec<Weak<Secured>>,
    roots: Option<Arc<RootCertStore>>,
    checks: HashMap<String, usize>,
    remotes: Vec<Arc<RemoteKeys>>,
    tokens: Option<(u64, TokenCache)>,
    own: Vec<Arc<OwnKeys>>,
    rates: HashMap<(String, RateSettings), Arc<Rate>>,
    buckets: Option<(usize, Arc<Buckets>)>,
    rates_made: u64,
}

impl Kept {
    /// Nothing to take over yet.
    pub fn new(clock: Clock, metrics: Metrics, stored: Option<Arc<StoredKeys>>, seed: u64) -> Self {
        let fetcher = Arc::new(Fetcher::new(FETCH_DEADLINE, LARGEST_KEY_SET));
        let ended = Arc::new(Ended::new(clock.now(), MAX_SILENCE));
        Self {
            clock,
            metrics,
            stored,
            fetcher,
            seed,
            ended,
            users: None,
            vouching: None,
            writes_key_sets: true,
            slots: Arc::default(),
            tables: Mutex::default(),
        }
    }

    /// For a gateway that is only asked: key sets on disk are read, and are another's to write.
    #[must_use]
    pub fn reading_only(self) -> Self {
        Self { writes_key_sets: false, ..self }
    }

    /// The same with somebody who knows the users of our own.
    #[must_use]
    pub fn with_users(self, users: Arc<KnownUsers>, vouching: Arc<Vouching>) -> Self {
        Self { users: Some(users), vouching: Some(vouching), ..self }
    }

    /// Which of our own tokens were revoked.
    pub const fn ended(&self) -> &Arc<Ended> {
        &self.ended
    }

    /// The keys of each family of our own tokens that any configuration named.
    pub fn all_own_keys(&self) -> Vec<Arc<OwnKeys>> {
        self.tables().own.clone()
    }

    /// The keys of a family of our own tokens; none when the family has another algorithm.
    pub(super) fn own_keys(&self, family: &str, algorithm: Algorithm) -> Option<Arc<OwnKeys>> {
        let mut tables = self.tables();
        if let Some(known) = tables.own.iter().find(|keys| keys.family() == family) {
            return (known.algorithm() == algorithm).then(|| Arc::clone(known));
        }
        let keys = Arc::new(OwnKeys::new(family, algorithm));
        tables.own.push(Arc::clone(&keys));
        Some(keys)
    }

    /// An upstream: the one in force as long as what is written about it stays, else one that takes
    /// over from it.
    pub(super) fn pool(&self, name: &str, settings: &UpstreamSettings) -> Arc<Pool> {
        let tables = self.tables();
        let old = tables.pools.iter().find(|pool| pool.name() == name);
        if let Some(known) = old.filter(|known| known.settings() == settings) {
            return Arc::clone(known);
        }
        let ground = (&self.slots, &self.metrics);
        Arc::new(Pool::new(name, settings, ground, old.map(|old| &**old)))
    }

    /// These upstreams are in force from now on.
    pub fn keep_pools(&self, pools: &[Arc<Pool>]) {
        let old = std::mem::replace(&mut self.tables().pools, pools.to_vec());
        let is_counted =
            |name: &str| pools.iter().any(|pool| pool.name() == name && pool.sole().is_none());
        for gone in old.iter().filter(|old| !is_counted(old.name())) {
            UpstreamMetrics::forget(&self.metrics, gone.name());
        }
    }

    /// The same object for the same material as long as anybody holds it: its sessions can be resumed,
    /// and connections opened under it be used.
    pub(super) fn secured(&self, made: Secured) -> Arc<Secured> {
        let mut tables = self.tables();
        tables.secured.retain(|known| known.strong_count() > 0);
        let mut known = tables.secured.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.made_from == made.made_from) {
            return known;
        }
        let made = Arc::new(made);
        tables.secured.push(Arc::downgrade(&made));
        made
    }

    /// The roots of trust that the system keeps, read once: they are large, and change with the system.
    pub(super) fn system_roots(&self) -> Result<Arc<RootCertStore>, RootsError> {
        if let Some(known) = &self.tables().roots {
            return Ok(Arc::clone(known));
        }
        let roots = Arc::new(system_roots()?);
        self.tables().roots = Some(Arc::clone(&roots));
        Ok(roots)
    }

    /// The number by which streams remember the check of this name.
    pub(super) fn check_number(&self, name: &str) -> usize {
        let mut tables = self.tables();
        let next = tables.checks.len();
        *tables.checks.entry(name.to_owned()).or_insert(next)
    }

    /// The keys had under these settings, the same object as long as the settings stay.
    pub(super) fn remote(&self, settings: RemoteSettings) -> Arc<RemoteKeys> {
        let mut tables = self.tables();
        if let Some(known) = tables.remotes.iter().find(|known| *known.settings() == settings) {
            return Arc::clone(known);
        }
        let fetcher = Arc::clone(&self.fetcher);
        let keys = RemoteKeys::new(settings, fetcher, self.clock.clone(), &self.metrics);
        let keys = Arc::new(keys);
        tables.remotes.push(Arc::clone(&keys));
        keys
    }

    /// Forgets key sets that the configuration in force no longer names.
    pub fn retain_remotes(&self, named: &[Arc<RemoteKeys>]) {
        self.tables().remotes.retain(|known| named.iter().any(|keys| Arc::ptr_eq(keys, known)));
    }

    /// The memory of verified tokens; emptied only when its size changes.
    pub(super) fn tokens(&self, bytes: u64) -> TokenCache {
        let mut tables = self.tables();
        match &tables.tokens {
            Some((size, cache)) if *size == bytes => cache.clone(),
            _ => {
                let cache = TokenCache::new(bytes, &self.metrics);
                tables.tokens = Some((bytes, cache.clone()));
                cache
            }
        }
    }

    /// The rate of this name, with what was taken of it, as long as its settings stay.
    pub(super) fn rate(&self, name: &str, settings: &RateSettings, capacity: usize) -> Arc<Rate> {
        let mut tables = self.tables();
        let buckets = match &tables.buckets {
            Some((size, buckets)) if *size == capacity => Arc::clone(buckets),
            _ => {
                let buckets = Arc::new(Buckets::new(capacity));
                tables.buckets = Some((capacity, Arc::clone(&buckets)));
                tables.rates.clear();
                buckets
            }
        };
        let key = (name.to_owned(), settings.clone());
        if let Some(known) = tables.rates.get(&key) {
            return Arc::clone(known);
        }
        // Those of configurations that are not in force any more.
        tables.rates.retain(|_, rate| Arc::strong_count(rate) > 1);
        tables.rates_made += 1;
        let (requests, burst) = (to_u64(settings.requests), to_u64(settings.burst));
        let quota = Quota::new(requests, settings.every, burst);
        let per = match settings.per {
            RatePer::Address => Per::Address,
            RatePer::App => Per::App,
            RatePer::User => Per::User,
            RatePer::Route => Per::Route,
            RatePer::All => Per::All,
        };
        let rate = Arc::new(Rate::new(name, per, quota, (tables.rates_made, buckets)));
        tables.rates.insert(key, Arc::clone(&rate));
        rate
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// How long the store may be silent before none of our own tokens is believed.
const MAX_SILENCE: Duration = Duration::from_secs(30);
/// For one fetch of a key set, from connecting to the last byte.
const FETCH_DEADLINE: Duration = Duration::from_secs(10);
/// A key set or discovery document beyond this is refused.
const LARGEST_KEY_SET: usize = 512 * 1024;
