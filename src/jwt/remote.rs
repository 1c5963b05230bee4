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
use tokio::sync::{mpsc, oneshot};

use super::TokenError;
use super::algorithm::Algorithm;
use super::key::VerifyingKey;
use super::key_set::{KeySet, KeySetError};
use super::schedule::{Schedule, Spread};
use super::shelf::{Kept, Shelf};
use super::source::{RefreshError, RemoteSource};
use crate::clock::{Clock, Timestamp};
use crate::fetch::Fetcher;
use crate::id::Digest;
use crate::telemetry::Metrics;

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
    /// Whether that file is ours to write; else it is only read.
    pub writes_file: bool,
    /// How long a request may wait for a fetch; 2s by default.
    pub patience: Duration,
    /// How long no unknown key id causes another fetch; 10s by default.
    pub cool_down: Duration,
    /// Differs between processes, so that replicas do not fetch in step.
    pub seed: u64,
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
    /// How long until the next planned fetch; zero before the first one has ended.
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

impl RemoteSettings {
    /// Settings with the usual waits.
    pub fn new(label: String, source: RemoteSource, algorithms: Vec<Algorithm>) -> Self {
        Self {
            label,
            source,
            algorithms,
            max_stale: USUAL_MAX_STALE,
            file: None,
            writes_file: true,
            patience: USUAL_PATIENCE,
            cool_down: USUAL_COOL_DOWN,
            seed: 0,
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
                    error = chain(&error),
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
        let fetched = self.settings.source.fetch(&self.fetcher).await?;
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
        let Some(disk) = self.shelf.as_ref().filter(|_| self.settings.writes_file) else { return };
        let kept = Kept {
            source: self.settings.source.to_string(),
            fetched_at_ms: fetched_at.millis(),
            jwks: String::from_utf8_lossy(body).into_owned(),
        };
        if let Err(error) = disk.write(&kept).await {
            tracing::warn!(issuer = self.settings.label, %error, "the key set was not kept on disk");
        }
    }

    /// Takes what an earlier process kept, unless it is too old or of another source.
    async fn recall(&self) {
        let Some(disk) = &self.shelf else { return };
        if self.current.load().is_some() {
            return;
        }
        let issuer = &self.settings.label;
        match disk.read().await {
            Ok(None) => {}
            Ok(Some(kept)) => {
                let now = self.clock.now();
                // A set from the future would never grow old.
                if kept.source == self.settings.source.to_string() && kept.fetched_at() <= now {
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

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// How old a set may grow, unless the operator says otherwise.
const USUAL_MAX_STALE: Duration = Duration::from_hours(24);
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::task::JoinSet;

    use super::super::signer::TokenSigner;
    use super::super::testing::{Answer, FakeIssuer, jwks, now, signer};
    use super::*;
    use crate::fetch::Plain;

    const LISTED: [Algorithm; 1] = [Algorithm::Es256];
    const KEY: Algorithm = Algorithm::Es256;

    /// Keys whose loop runs until this is dropped, on a clock that stands still unless moved.
    struct World {
        keys: Arc<RemoteKeys>,
        clock: Clock,
        metrics: Metrics,
        tasks: JoinSet<()>,
    }

    fn settings(source: RemoteSource) -> RemoteSettings {
        let mut settings = RemoteSettings::new("issuer".to_owned(), source, LISTED.to_vec());
        settings.patience = Duration::from_secs(20);
        settings
    }

    fn world(settings: RemoteSettings) -> World {
        let (clock, metrics) = (Clock::manual(now()), Metrics::new().unwrap());
        let fetcher = Arc::new(Fetcher::new(Duration::from_secs(10), 1 << 20));
        let keys = Arc::new(RemoteKeys::new(settings, fetcher, clock.clone(), &metrics));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&keys).run());
        World { keys, clock, metrics, tasks }
    }

    async fn ask(keys: Arc<RemoteKeys>, kid: String, now: Timestamp) -> (bool, String) {
        (keys.key(Some(&kid), KEY, now).await.is_ok(), kid)
    }

    fn published(signers: &[&TokenSigner]) -> Answer {
        Answer::Body(jwks(signers), "")
    }

    impl World {
        async fn key(&self, kid: &str) -> Result<(), TokenError> {
            self.keys.key(Some(kid), KEY, self.clock.now()).await.map(|_| ())
        }

        fn refreshes(&self, result: &str) -> u64 {
            self.metrics.jwks_refresh.with_label_values(&["issuer", result]).get()
        }
    }

    #[tokio::test]
    async fn the_first_request_waits_for_the_keys() {
        let a = signer(KEY, Some("a"));
        let issuer = FakeIssuer::start(published(&[&a])).await;
        let world = world(settings(RemoteSource::Jwks(issuer.address())));
        assert!(!world.keys.status().is_usable);
        assert_eq!(world.key("a").await, Ok(()));
        let status = world.keys.status();
        assert!(status.is_usable && status.last_error.is_none());
        assert_eq!(status.kids, ["a"]);
        assert_eq!(status.age, Some(Duration::ZERO));
        assert!(status.next_fetch <= Duration::from_mins(5));
        assert_eq!(issuer.asked(), 1);
    }

    #[tokio::test]
    async fn without_keys_the_answer_is_that_they_are_unavailable() {
        let issuer = FakeIssuer::start(Answer::Status(500)).await;
        let world = world(settings(RemoteSource::Jwks(issuer.address())));
        assert_eq!(world.key("a").await, Err(TokenError::KeysUnavailable));
        let status = world.keys.status();
        assert!(!status.is_usable && status.last_error.is_some());
        // Recovery is found at the next request, once a second has passed.
        let a = signer(KEY, Some("a"));
        issuer.now_answers(published(&[&a]));
        assert_eq!(world.key("a").await, Err(TokenError::KeysUnavailable));
        world.clock.advance(Duration::from_millis(1001));
        assert_eq!(world.key("a").await, Ok(()));
    }

    #[tokio::test]
    async fn a_request_waits_no_longer_than_its_patience() {
        let issuer = FakeIssuer::start(Answer::Silence).await;
        let mut settings = settings(RemoteSource::Jwks(issuer.address()));
        settings.patience = Duration::from_millis(20);
        let world = world(settings);
        assert_eq!(world.key("a").await, Err(TokenError::KeysUnavailable));
    }

    #[tokio::test]
    async fn keys_nobody_fetches_are_unavailable_too() {
        let issuer = FakeIssuer::start(Answer::Silence).await;
        let mut settings = settings(RemoteSource::Jwks(issuer.address()));
        settings.patience = Duration::from_millis(20);
        let mut idle = world(settings);
        idle.tasks.shutdown().await;
        assert_eq!(idle.key("a").await, Err(TokenError::KeysUnavailable));
        assert_eq!(issuer.asked(), 0);
    }

    #[tokio::test]
    async fn an_unknown_key_causes_one_fetch_per_cool_down() {
        let (a, b) = (signer(KEY, Some("a")), signer(KEY, Some("b")));
        let issuer = FakeIssuer::start(published(&[&a])).await;
        let world = world(settings(RemoteSource::Jwks(issuer.address())));
        assert_eq!(world.key("a").await, Ok(()));
        issuer.now_answers(published(&[&b]));
        for n in 0..100 {
            let judged = world.key(&format!("unknown-{n}")).await;
            assert_eq!(judged, Err(TokenError::UnknownKey));
        }
        assert_eq!(issuer.asked(), 1, "it was asked just now");
        world.clock.advance(Duration::from_secs(10));
        let wanted: Vec<_> = (0..50).map(|n| format!("new-{n}")).collect();
        let mut all = JoinSet::new();
        for kid in wanted.into_iter().chain(["b".to_owned()]) {
            let (keys, now) = (Arc::clone(&world.keys), world.clock.now());
            all.spawn(ask(keys, kid, now));
        }
        for (found, kid) in all.join_all().await {
            assert_eq!(found, kid == "b", "{kid}");
        }
        assert_eq!(issuer.asked(), 2, "one fetch for all of them");
        assert_eq!(world.key("a").await, Err(TokenError::UnknownKey), "withdrawn");
        // What was looked for in vain is not looked for again at once.
        world.clock.advance(Duration::from_secs(10));
        assert_eq!(world.key("new-1").await, Err(TokenError::UnknownKey));
        assert_eq!(issuer.asked(), 2);
        assert_eq!(world.key("another").await, Err(TokenError::UnknownKey));
        assert_eq!(issuer.asked(), 3);
    }

    #[tokio::test]
    async fn the_last_good_set_serves_until_it_is_too_old() {
        let a = signer(KEY, Some("a"));
        let issuer = FakeIssuer::start(published(&[&a])).await;
        let mut settings = settings(RemoteSource::Jwks(issuer.address()));
        settings.max_stale = Duration::from_hours(1);
        let world = world(settings);
        assert_eq!(world.key("a").await, Ok(()));
        let mixed = json!({"keys": [a.public_jwk(), {"kty": "oct", "k": "AAAA"}]}).to_string();
        let twice = jwks(&[&a, &a]);
        for (n, bad) in [
            Answer::Status(500),
            Answer::Status(302),
            Answer::Body(String::new(), ""),
            Answer::Body("<html></html>".to_owned(), ""),
            Answer::Body(json!({"keys": []}).to_string(), ""),
            Answer::Body(mixed, ""),
            Answer::Body(twice, ""),
            Answer::Body(" ".repeat((1 << 20) + 1), ""),
        ]
        .into_iter()
        .enumerate()
        {
            issuer.now_answers(bad);
            world.clock.advance(Duration::from_secs(10));
            // The wish for an unknown key makes it fetch now.
            let wish = world.key(&format!("wish-{n}")).await;
            assert_eq!(wish, Err(TokenError::UnknownKey));
            assert_eq!(world.refreshes("failed"), u64::try_from(n).unwrap() + 1);
            assert_eq!(world.key("a").await, Ok(()));
            assert!(world.keys.status().last_error.is_some());
        }
        world.clock.advance(Duration::from_secs(3600 - 81));
        let fingerprint =
            *world.keys.look_up(Some("a"), KEY, world.clock.now()).unwrap().fingerprint();
        assert_eq!(world.keys.holds(&fingerprint, world.clock.now()), Ok(true));
        issuer.now_answers(Answer::Status(500));
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.key("a").await, Err(TokenError::KeysUnavailable));
        let held = world.keys.holds(&fingerprint, world.clock.now());
        assert_eq!(held, Err(TokenError::KeysUnavailable));
        issuer.now_answers(published(&[&a]));
        world.clock.advance(Duration::from_secs(10));
        assert_eq!(world.key("a").await, Ok(()));
    }

    #[tokio::test]
    async fn the_last_good_set_survives_a_restart() {
        let a = signer(KEY, Some("a"));
        let folder = tempfile::tempdir().unwrap();
        let issuer = FakeIssuer::start(published(&[&a])).await;
        let with_file = |source: RemoteSource| {
            let mut settings = settings(source);
            settings.file = Some(folder.path().join("issuer.json"));
            settings.patience = Duration::from_secs(5);
            settings
        };
        let first = world(with_file(RemoteSource::Jwks(issuer.address())));
        assert_eq!(first.key("a").await, Ok(()));
        // The file is written after the set is in force; the next answer comes after that.
        first.clock.advance(Duration::from_secs(10));
        assert_eq!(first.key("b").await, Err(TokenError::UnknownKey));
        drop(first);

        issuer.now_answers(Answer::Status(500));
        let second = world(with_file(RemoteSource::Jwks(issuer.address())));
        second.clock.advance(Duration::from_hours(1));
        assert_eq!(second.key("a").await, Ok(()));
        assert!(second.keys.status().age.unwrap() > Duration::from_mins(50));
        drop(second);

        // Too old, of another source, or from the future: not taken.
        let late = world(with_file(RemoteSource::Jwks(issuer.address())));
        late.clock.advance(Duration::from_hours(25));
        assert_eq!(late.key("a").await, Err(TokenError::KeysUnavailable));
        drop(late);
        let other = FakeIssuer::start(Answer::Status(500)).await;
        let elsewhere = world(with_file(RemoteSource::Jwks(other.address())));
        elsewhere.clock.advance(Duration::from_hours(1));
        assert_eq!(elsewhere.key("a").await, Err(TokenError::KeysUnavailable));
    }

    #[tokio::test]
    async fn discovery_is_believed_only_from_the_issuer_itself() {
        let a = signer(KEY, Some("a"));
        let published = FakeIssuer::start(published(&[&a])).await;
        let issuer = FakeIssuer::start(Answer::Status(404)).await;
        let configured = |issuer: &str, jwks_uri: &str| {
            Answer::Body(json!({"issuer": issuer, "jwks_uri": jwks_uri}).to_string(), "")
        };
        let keys = format!("{}/keys", published.origin);
        let source = RemoteSource::discover(&issuer.origin, Plain::Loopback).unwrap();
        let world = world(settings(source));
        for wrong in [
            Answer::Status(404),
            Answer::Body("{}".to_owned(), ""),
            configured("https://evil.example", &keys),
            configured(&format!("{}/", issuer.origin), &keys),
            configured(&issuer.origin, "http://keys.example.com/"),
            configured(&issuer.origin, "file:///etc/passwd"),
            configured(&issuer.origin, "keys"),
        ] {
            issuer.now_answers(wrong);
            world.clock.advance(Duration::from_secs(2));
            assert_eq!(world.key("a").await, Err(TokenError::KeysUnavailable));
        }
        assert_eq!(published.asked(), 0);
        issuer.now_answers(configured(&issuer.origin, &keys));
        world.clock.advance(Duration::from_secs(2));
        assert_eq!(world.key("a").await, Ok(()));
        assert_eq!(published.asked(), 1);
    }

    #[tokio::test]
    async fn metrics_tell_keys_in_force_and_forget_those_that_are_gone() {
        let (a, b) = (signer(KEY, Some("a")), signer(KEY, Some("b")));
        let issuer = FakeIssuer::start(published(&[&a])).await;
        let world = world(settings(RemoteSource::Jwks(issuer.address())));
        assert_eq!(world.key("a").await, Ok(()));
        let shown = || {
            world.keys.observe();
            let text =
                prometheus::TextEncoder::new().encode_to_string(&world.metrics.registry.gather());
            let text = text.unwrap();
            ["a", "b"].map(|kid| text.contains(&format!("kid=\"{kid}\"")))
        };
        assert_eq!(shown(), [true, false]);
        issuer.now_answers(published(&[&b]));
        world.clock.advance(Duration::from_secs(10));
        assert_eq!(world.key("b").await, Ok(()));
        assert_eq!(shown(), [false, true]);
        assert_eq!(world.refreshes("ok"), 2);
    }
}
