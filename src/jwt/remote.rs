//! The keys of an issuer that publishes them: fetched in the background, kept while they are good.
//!
//! Requests never fetch. One loop per issuer does, on the control runtime: so there is at most one
//! fetch in flight, and it survives a caller that goes away. A request whose key is missing hands its
//! wish over through a bounded queue, and waits for a bounded time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::TokenError;
use super::algorithm::Algorithm;
use super::key::VerifyingKey;
use super::key_set::{KeySet, KeySetError};
use super::schedule::{Schedule, Spread};
use super::shelf::{Kept, Shelf};
use crate::clock::{Clock, Timestamp};
use crate::fetch::{Address, AddressError, FetchError, Fetcher, Plain};
use crate::id::Digest;
use crate::telemetry::Metrics;

/// Where the set is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// At this address.
    Jwks(Address),
    /// Where the issuer's OpenID Connect configuration says.
    Discover(Discovery),
}

/// An issuer that is asked where its keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    issuer: String,
    configuration: Address,
    plain: Plain,
}

/// How the keys of one issuer are had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    /// The issuer's name in metrics and logs.
    pub label: String,
    /// Where the set is published.
    pub source: RemoteSource,
    /// For which algorithms keys are taken.
    pub algorithms: Vec<Algorithm>,
    /// How old a set may grow while the issuer cannot be reached.
    pub max_stale: Duration,
    /// The file in which the last good set survives a restart.
    pub file: Option<PathBuf>,
    /// How long a request may wait for a fetch; 2s by default.
    pub patience: Duration,
    /// How long no unknown key id causes another fetch; 10s by default.
    pub cool_down: Duration,
    /// Differs between processes, so that replicas do not fetch in step.
    pub seed: u64,
}

/// Why a set was not refreshed.
#[derive(Debug, Error)]
pub enum RefreshError {
    /// It could not be fetched.
    #[error("the key set cannot be fetched")]
    Fetch(#[from] FetchError),
    /// What was fetched is refused.
    #[error("the key set is refused")]
    KeySet(#[from] KeySetError),
    /// The issuer's configuration is not one, or of somebody else.
    #[error("the issuer's configuration is refused: {0}")]
    Discovery(&'static str),
    /// The issuer's configuration points to an address that must not be used.
    #[error("the address of the key set is refused")]
    Address(#[from] AddressError),
}

/// How the keys of an issuer stand.
#[derive(Clone, Debug)]
pub struct KeysStatus {
    /// The issuer's name.
    pub issuer: String,
    /// Whether tokens can be verified now.
    pub is_usable: bool,
    /// The ids of the keys in force.
    pub kids: Vec<String>,
    /// How long ago the set was fetched.
    pub age: Option<Duration>,
    /// How long until the next planned fetch.
    pub next_fetch: Duration,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<Arc<RefreshError>>,
}

/// The keys of one issuer.
#[derive(Debug)]
pub struct RemoteKeys {
    settings: RemoteSettings,
    fetcher: Arc<Fetcher>,
    clock: Clock,
    metrics: Metrics,
    shelf: Option<Shelf>,
    current: ArcSwapOption<Loaded>,
    state: Mutex<State>,
    /// Until this instant (milliseconds) nobody's wish causes a fetch.
    quiet_until: AtomicI64,
    /// Key ids that the issuer was asked for and does not have, as digests.
    absent: Cache<Digest, ()>,
    wishes: mpsc::Sender<Wish>,
    /// Held by the loop for its whole life: the loop is one.
    inbox: tokio::sync::Mutex<mpsc::Receiver<Wish>>,
}

#[derive(Debug)]
struct Loaded {
    keys: KeySet,
    fetched_at: Timestamp,
    usable_until: Timestamp,
}

#[derive(Debug)]
struct State {
    plan: Schedule,
    last_error: Option<Arc<RefreshError>>,
}

/// What a request waits for.
#[derive(Debug)]
struct Wish {
    kid: Option<String>,
    done: oneshot::Sender<()>,
}

impl RemoteSource {
    /// Asks `issuer` by OpenID Connect discovery.
    pub fn discover(issuer: &str, plain: Plain) -> Result<Self, AddressError> {
        if issuer.contains('?') {
            return Err(AddressError::Form);
        }
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        let address = format!("{base}/.well-known/openid-configuration");
        let configuration = Address::parse(&address, plain)?;
        Ok(Self::Discover(Discovery { issuer: issuer.to_owned(), configuration, plain }))
    }
}

impl RemoteSettings {
    /// Settings with the usual waits.
    pub fn new(label: String, source: RemoteSource, algorithms: Vec<Algorithm>) -> Self {
        Self {
            label,
            source,
            algorithms,
            max_stale: USUAL_MAX_STALE,
            file: None,
            patience: USUAL_PATIENCE,
            cool_down: USUAL_COOL_DOWN,
            seed: 0,
        }
    }

    fn source_text(&self) -> String {
        match &self.source {
            RemoteSource::Jwks(address) => address.to_string(),
            RemoteSource::Discover(discovery) => discovery.configuration.to_string(),
        }
    }
}

impl RemoteKeys {
    /// Keys that are not there yet: [`RemoteKeys::run`] gets them.
    pub fn new(
        settings: RemoteSettings,
        fetcher: Arc<Fetcher>,
        clock: Clock,
        metrics: &Metrics,
    ) -> Self {
        let (wishes, inbox) = mpsc::channel(MAX_WAITING);
        let plan = Schedule::due_at(clock.now());
        Self {
            shelf: settings.file.clone().map(Shelf::new),
            settings,
            fetcher,
            clock,
            metrics: metrics.clone(),
            current: ArcSwapOption::empty(),
            state: Mutex::new(State { plan, last_error: None }),
            quiet_until: AtomicI64::new(i64::MIN),
            absent: Cache::builder().max_capacity(MAX_ABSENT).time_to_live(ABSENT_FOR).build(),
            wishes,
            inbox: tokio::sync::Mutex::new(inbox),
        }
    }

    /// The settings it was made with.
    pub const fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    /// How the keys stand.
    pub fn status(&self) -> KeysStatus {
        let now = self.clock.now();
        let loaded = self.current.load();
        let loaded = loaded.as_ref();
        let state = self.state();
        KeysStatus {
            issuer: self.settings.label.clone(),
            is_usable: loaded.is_some_and(|loaded| now < loaded.usable_until),
            kids: loaded.map_or_else(Vec::new, |l| l.keys.kids().map(str::to_owned).collect()),
            age: loaded.map(|loaded| now.since(loaded.fetched_at)),
            next_fetch: state.plan.next.since(now),
            last_error: state.last_error.clone(),
        }
    }

    /// Writes ages and keys into the metrics.
    pub fn observe(&self) {
        let status = self.status();
        let label = &[self.settings.label.as_str()];
        if let Some(age) = status.age {
            self.metrics.jwks_age.with_label_values(label).set(age.as_secs_f64());
        }
        let next = status.next_fetch.as_secs_f64();
        self.metrics.jwks_next_fetch.with_label_values(label).set(next);
        for kid in &status.kids {
            self.metrics.jwks_keys.with_label_values(&[&self.settings.label, kid]).set(1);
        }
    }

    /// Fetches whenever it is due or wished for; never ends. A second call waits for the first to end.
    pub async fn run(self: Arc<Self>) {
        let mut inbox = self.inbox.lock().await;
        self.recall().await;
        loop {
            if self.clock.now() >= self.state().plan.next {
                self.refresh().await;
                self.answer(None, &mut inbox);
            }
            self.observe();
            let wait = self.state().plan.next.since(self.clock.now()).min(OBSERVE_EVERY);
            // Both may be dropped half-way: a wish stays in the queue, and a sleep holds nothing.
            tokio::select! {
                wish = inbox.recv() => {
                    let Some(wish) = wish else { return };
                    if !self.is_quiet(self.clock.now()) {
                        self.refresh().await;
                    }
                    self.answer(Some(wish), &mut inbox);
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The key that a token means; waits when it could be about to arrive.
    pub(super) async fn key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Arc<VerifyingKey>, TokenError> {
        let found = self.look_up(kid, algorithm, now);
        let is_worth_waiting = match found {
            Err(TokenError::KeysUnavailable) => true,
            Err(TokenError::UnknownKey) => kid.is_some_and(|kid| {
                !self.is_quiet(now) && !self.absent.contains_key(&Digest::of(kid.as_bytes()))
            }),
            _ => false,
        };
        if is_worth_waiting {
            let (done, fetched) = oneshot::channel();
            let wish = Wish { kid: kid.map(str::to_owned), done };
            // Full, late or gone: what is loaded now is the answer.
            if self.wishes.try_send(wish).is_ok() {
                drop(tokio::time::timeout(self.settings.patience, fetched).await);
            }
        }
        // Again in any case: the set may have been replaced since the first look.
        found.or_else(|_| self.look_up(kid, algorithm, now))
    }

    /// Whether the key with this fingerprint is in force.
    pub(super) fn holds(&self, fingerprint: &Digest, now: Timestamp) -> Result<bool, TokenError> {
        match self.current.load().as_ref() {
            Some(loaded) if now < loaded.usable_until => Ok(loaded.keys.holds(fingerprint)),
            _ => Err(TokenError::KeysUnavailable),
        }
    }

    fn look_up(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Arc<VerifyingKey>, TokenError> {
        match self.current.load().as_ref() {
            Some(loaded) if now < loaded.usable_until => loaded.keys.find(kid, algorithm).cloned(),
            _ => Err(TokenError::KeysUnavailable),
        }
    }

    /// Answers the wish that caused a fetch and those that came meanwhile.
    fn answer(&self, first: Option<Wish>, inbox: &mut mpsc::Receiver<Wish>) {
        let is_fresh = self.state().last_error.is_none();
        let loaded = self.current.load();
        let queued = std::iter::from_fn(|| inbox.try_recv().ok());
        for Wish { kid, done } in first.into_iter().chain(queued) {
            if let (true, Some(kid), Some(loaded)) = (is_fresh, kid, loaded.as_ref())
                && !loaded.keys.kids().any(|known| known == kid)
            {
                self.absent.insert(Digest::of(kid.as_bytes()), ());
            }
            // Whoever waited may have gone.
            let _gone = done.send(());
        }
    }

    async fn refresh(&self) {
        let fetched = self.fetch().await;
        let now = self.clock.now();
        let spread = Spread::of(&self.settings.label, self.settings.seed, now);
        let result = if fetched.is_ok() { "ok" } else { "failed" };
        self.metrics.jwks_refresh.with_label_values(&[&self.settings.label, result]).inc();
        match fetched {
            Ok((keys, body, max_age)) => {
                self.install(keys, now, now);
                let longest = self.settings.max_stale;
                let plan = Schedule::succeeded(now, max_age, longest, spread);
                *self.state() = State { plan, last_error: None };
                self.keep(&body, now).await;
            }
            Err(error) => {
                tracing::warn!(
                    issuer = self.settings.label,
                    error = &error as &(dyn std::error::Error + 'static),
                    "the key set was not refreshed"
                );
                let mut state = self.state();
                state.plan = state.plan.failed(now, spread);
                state.last_error = Some(Arc::new(error));
            }
        }
        let is_usable = self.current.load().as_ref().is_some_and(|l| now < l.usable_until);
        let quiet = if is_usable { self.settings.cool_down } else { RETRY_WITHOUT_KEYS };
        self.quiet_until.store(now.plus(quiet).millis(), Ordering::Release);
    }

    async fn fetch(&self) -> Result<(KeySet, bytes::Bytes, Option<Duration>), RefreshError> {
        let fetched = match &self.settings.source {
            RemoteSource::Jwks(address) => self.fetcher.get(address).await?,
            RemoteSource::Discover(discovery) => {
                let address = discovery.ask(&self.fetcher).await?;
                self.fetcher.get(&address).await?
            }
        };
        let keys = self.read(&fetched.body)?;
        Ok((keys, fetched.body, fetched.max_age))
    }

    fn read(&self, body: &[u8]) -> Result<KeySet, KeySetError> {
        let (keys, skipped) = KeySet::from_fetched(body, &self.settings.algorithms)?;
        for key in skipped {
            tracing::debug!(
                issuer = self.settings.label,
                kid = key.label,
                why = %key.why,
                "a key of the set is not used"
            );
        }
        Ok(keys)
    }

    fn install(&self, keys: KeySet, fetched_at: Timestamp, now: Timestamp) {
        let usable_until = fetched_at.plus(self.settings.max_stale);
        if now >= usable_until {
            return;
        }
        let kids: BTreeSet<String> = keys.kids().map(str::to_owned).collect();
        let loaded = Arc::new(Loaded { keys, fetched_at, usable_until });
        if let Some(old) = self.current.swap(Some(loaded)) {
            self.forget(old.keys.kids().filter(|kid| !kids.contains(*kid)));
        }
    }

    /// Takes keys that are gone out of the metrics.
    fn forget<'k>(&self, kids: impl Iterator<Item = &'k str>) {
        for kid in kids {
            // Absent already when never observed.
            let _absent = self.metrics.jwks_keys.remove_label_values(&[&self.settings.label, kid]);
        }
    }

    async fn keep(&self, body: &[u8], fetched_at: Timestamp) {
        let Some(shelf) = &self.shelf else { return };
        let kept = Kept {
            source: self.settings.source_text(),
            fetched_at_ms: fetched_at.millis(),
            jwks: String::from_utf8_lossy(body).into_owned(),
        };
        if let Err(error) = shelf.write(&kept).await {
            let issuer = &self.settings.label;
            tracing::warn!(issuer, %error, "the key set was not kept on disk");
        }
    }

    /// Takes what an earlier process kept, unless it is too old or of another source.
    async fn recall(&self) {
        let Some(shelf) = &self.shelf else { return };
        if self.current.load().is_some() {
            return;
        }
        let issuer = &self.settings.label;
        match shelf.read().await {
            Ok(None) => {}
            Ok(Some(kept)) => {
                let now = self.clock.now();
                // A set from the future would never grow old.
                if kept.source == self.settings.source_text() && kept.fetched_at() <= now {
                    match self.read(kept.jwks.as_bytes()) {
                        Ok(keys) => self.install(keys, kept.fetched_at(), now),
                        Err(error) => tracing::warn!(issuer, %error, "the kept key set is refused"),
                    }
                }
            }
            Err(error) => tracing::warn!(issuer, %error, "the kept key set cannot be read"),
        }
    }

    fn is_quiet(&self, now: Timestamp) -> bool {
        now.millis() < self.quiet_until.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        if let Some(loaded) = self.current.swap(None) {
            self.forget(loaded.keys.kids());
        }
        let label = &[self.settings.label.as_str()];
        let _absent = self.metrics.jwks_age.remove_label_values(label);
        let _absent = self.metrics.jwks_next_fetch.remove_label_values(label);
    }
}

/// What is read of an issuer's configuration (OpenID Connect Discovery 1.0 §3).
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl Discovery {
    async fn ask(&self, fetcher: &Fetcher) -> Result<Address, RefreshError> {
        let fetched = fetcher.get(&self.configuration).await?;
        let configuration: Configuration = serde_json::from_slice(&fetched.body)
            .map_err(|_| RefreshError::Discovery("no `issuer` and `jwks_uri`"))?;
        // Exactly, or one issuer's configuration could serve for another (§4.3).
        if configuration.issuer != self.issuer {
            return Err(RefreshError::Discovery("it names another issuer"));
        }
        Ok(Address::parse(&configuration.jwks_uri, self.plain)?)
    }
}

/// How old a set may grow, unless the operator says otherwise.
const USUAL_MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// How long a request waits for a fetch.
const USUAL_PATIENCE: Duration = Duration::from_secs(2);
/// How long no unknown key id causes another fetch.
const USUAL_COOL_DOWN: Duration = Duration::from_secs(10);
/// Likewise while there are no keys at all: recovery is urgent then.
const RETRY_WITHOUT_KEYS: Duration = Duration::from_secs(1);
/// Requests that may wait for one issuer at once.
const MAX_WAITING: usize = 1024;
/// Key ids remembered as absent.
const MAX_ABSENT: u64 = 1024;
/// How long a key id counts as absent.
const ABSENT_FOR: Duration = Duration::from_secs(30);
/// How often ages are written into the metrics.
const OBSERVE_EVERY: Duration = Duration::from_secs(15);
