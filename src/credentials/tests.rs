//! Keys of the configuration and of the store, checked as a gateway does it.
//!
//! Nothing runs by itself here: each test drives the steps of the keeper in the order it is about.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tempfile::TempDir;

use super::stored_keys::GoodKey;
use super::*;
use crate::clock::{Clock, Timestamp};
use crate::id::{AppId, Digest};
use crate::principal::App;
use crate::secret::Secret;
use crate::store::{AppName, NewApp, NewSecret, Scope, Store, StoreAddress};
use crate::telemetry::Metrics;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A gateway with a store and, on the same file, the handle of an operator's process.
struct House {
    _folder: TempDir,
    operator: Store,
    clock: Clock,
    metrics: Metrics,
    keys: AppKeys,
    stored: Arc<StoredKeys>,
    keeper: KeyKeeper,
}

impl House {
    async fn new(settings: KeySettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("sqlite:{}/p.db", folder.path().display());
        let address = StoreAddress::parse(&address).unwrap();
        let operator = Store::open(&address).await.unwrap();
        let clock = Clock::manual(NOW);
        let metrics = Metrics::new().unwrap();
        let store = Store::open(&address).await.unwrap();
        let (stored, mut keeper) = StoredKeys::new(store, settings, clock.clone(), &metrics);
        keeper.watcher.step().await;
        let keys = AppKeys::new(vec![configured("fixed", "letmein")], Some(Arc::clone(&stored)));
        let keys = keys.unwrap();
        Self { _folder: folder, operator, clock, metrics, keys, stored, keeper }
    }

    async fn create(&self, n: u8, expires_at: Option<Timestamp>) -> AppKey {
        let key = key(n, n);
        let app = NewApp {
            id: key.id().clone(),
            name: AppName::parse(&format!("app {n}")).unwrap(),
            scopes: vec![Scope::parse("orders").unwrap()],
            secret: NewSecret { digest: key.digest(), expires_at },
        };
        self.operator.create_app(&app, NOW).await.unwrap();
        key
    }

    /// Checks while the keeper is ready for one question.
    async fn ask(&mut self, key: &AppKey) -> Result<Arc<App>, AppKeyError> {
        let presented = whole(key.text().expose());
        let checked = self.keys.check(&presented, self.clock.now());
        tokio::join!(checked, self.keeper.answerer.answer_next()).0.map(|(app, _)| app)
    }

    /// Checks without the keeper, which must not be needed.
    fn recall(&self, presented: &Presented<'_>) -> Result<Arc<App>, AppKeyError> {
        at_once(self.keys.check(presented, self.clock.now())).map(|(app, _)| app)
    }

    fn recall_key(&self, key: &AppKey) -> Result<Arc<App>, AppKeyError> {
        self.recall(&whole(key.text().expose()))
    }
}

/// The default settings, with patience enough for a busy machine.
fn patient() -> KeySettings {
    KeySettings { answer_within: 60 * SECOND, ..KeySettings::default() }
}

fn configured(id: &str, key: &str) -> ConfiguredApp {
    ConfiguredApp {
        id: AppId::new(id),
        digest: Digest::of(key.as_bytes()),
        scopes: vec!["stock".to_owned()],
    }
}

fn key(id: u8, secret: u8) -> AppKey {
    AppKey::new(&AppKey::new_id([id; 8]), &[secret; 32])
}

fn whole(key: &str) -> Presented<'_> {
    Presented::Whole(Secret::new(Cow::Borrowed(key)))
}

fn pair<'a>(id: &'a str, secret: &'a str) -> Presented<'a> {
    Presented::Pair { id: Secret::new(id), secret: Secret::new(secret) }
}

#[track_caller]
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the check waits for something"),
    }
}

#[track_caller]
fn refused<T>(outcome: Result<T, AppKeyError>, expected: AppKeyError) {
    assert_eq!(outcome.err(), Some(expected));
}

#[test]
fn configured_keys_of_any_form_are_checked_without_waiting() {
    let ours = key(1, 1);
    let apps = vec![
        configured("mobile", "letmein"),
        configured("shop", ours.text().expose()),
        configured("legacy", "pc_but_not_of_our_form"),
    ];
    let keys = AppKeys::new(apps, None).unwrap();
    let check = |presented: &Presented<'_>| at_once(keys.check(presented, NOW)).map(|(app, _)| app);

    let app = check(&whole("letmein")).unwrap();
    assert_eq!((app.id.as_str(), &app.scopes[..]), ("mobile", &["stock".to_owned()][..]));
    assert_eq!(check(&pair("mobile", "letmein")).unwrap().id.as_str(), "mobile");
    assert_eq!(check(&whole(ours.text().expose())).unwrap().id.as_str(), "shop");
    assert_eq!(check(&whole("pc_but_not_of_our_form")).unwrap().id.as_str(), "legacy");

    refused(check(&whole("letmeout")), AppKeyError::Unknown);
    refused(check(&whole("letmein ")), AppKeyError::Unknown);
    refused(check(&whole("mobile")), AppKeyError::Unknown);
    refused(check(&pair("mobile", "letmeout")), AppKeyError::Unknown);
    refused(check(&pair("shop", "letmein")), AppKeyError::Unknown);
    refused(check(&pair("", "letmein")), AppKeyError::Unknown);
    refused(check(&whole(key(1, 2).text().expose())), AppKeyError::Unknown);
    refused(check(&whole("pc_mistyped")), AppKeyError::Malformed);
    refused(check(&whole("")), AppKeyError::Malformed);
    refused(check(&whole(&"x".repeat(4096))), AppKeyError::Unknown);
    refused(check(&whole(&"x".repeat(4097))), AppKeyError::Malformed);
}

#[test]
fn a_configured_application_may_have_two_keys_and_none_of_another_one() {
    let two_keys = vec![configured("a", "1"), configured("b", "2"), configured("a", "3")];
    let keys = AppKeys::new(two_keys, None).unwrap();
    let check = |presented: &Presented<'_>| at_once(keys.check(presented, NOW)).map(|(app, _)| app);
    for (key, id) in [("1", "a"), ("2", "b"), ("3", "a")] {
        assert_eq!(check(&whole(key)).unwrap().id.as_str(), id);
        assert_eq!(check(&pair(id, key)).unwrap().id.as_str(), id);
    }
    refused(check(&pair("a", "2")), AppKeyError::Unknown);
    refused(check(&pair("b", "3")), AppKeyError::Unknown);
    let same_key = vec![configured("a", "1"), configured("b", "1")];
    let error = AppKeys::new(same_key, None).unwrap_err();
    assert_eq!(error, SharedKey { first: 0, second: 1 });
}

#[tokio::test]
async fn a_key_of_the_store_is_asked_for_once_and_then_remembered() {
    let mut house = House::new(patient()).await;
    let key = house.create(1, None).await;
    let app = house.ask(&key).await.unwrap();
    assert_eq!((&app.id, &app.scopes[..]), (key.id(), &["orders".to_owned()][..]));
    let again = house.recall_key(&key).unwrap();
    assert!(Arc::ptr_eq(&app, &again));
    let text = key.text();
    assert!(house.recall(&pair(key.id().as_str(), text.expose())).is_ok());
    assert_eq!((house.metrics.app_key_misses.get(), house.metrics.app_key_hits.get()), (1, 2));

    refused(house.recall(&pair("fixed", text.expose())), AppKeyError::Unknown);
    let (_, tail) = text.expose().rsplit_once('_').unwrap();
    refused(house.recall(&pair(key.id().as_str(), tail)), AppKeyError::Unknown);
    assert!(house.recall(&whole("letmein")).is_ok(), "configured keys stay good beside a store");
}

#[tokio::test]
async fn what_cannot_be_a_key_of_the_store_is_not_asked_for() {
    let house = House::new(patient()).await;
    refused(house.recall(&whole("no-such-key")), AppKeyError::Unknown);
    let key = key(1, 1);
    let cut = key.text().expose().split_at(70).0;
    refused(house.recall(&whole(cut)), AppKeyError::Malformed);
    assert_eq!(house.metrics.app_key_misses.get(), 0);
}

#[tokio::test]
async fn an_unknown_key_is_remembered_until_it_is_created() {
    let mut house = House::new(patient()).await;
    let early = key(1, 1);
    refused(house.ask(&early).await, AppKeyError::Unknown);
    refused(house.recall_key(&early), AppKeyError::Unknown);
    house.create(1, None).await;
    house.keeper.watcher.step().await;
    assert!(house.ask(&early).await.is_ok());
}

#[tokio::test]
async fn another_process_revokes_and_the_next_look_at_the_log_forgets() {
    let mut house = House::new(patient()).await;
    let (first, second) = (house.create(1, None).await, house.create(2, None).await);
    house.keeper.watcher.step().await;
    house.ask(&first).await.unwrap();
    house.ask(&second).await.unwrap();
    let epoch = house.keys.epoch();
    house.keeper.watcher.step().await;
    assert_eq!(house.keys.epoch(), epoch, "nothing happened");

    house.operator.revoke_app(first.id(), NOW).await.unwrap();
    house.keeper.watcher.step().await;
    assert_ne!(house.keys.epoch(), epoch);
    assert!(house.recall_key(&second).is_ok(), "the other application is still remembered");
    refused(house.ask(&first).await, AppKeyError::Revoked);
    refused(house.recall_key(&first), AppKeyError::Revoked);
}

#[tokio::test]
async fn during_a_rotation_both_keys_are_good_until_the_old_one_is_revoked() {
    let mut house = House::new(patient()).await;
    let old = house.create(1, None).await;
    house.ask(&old).await.unwrap();
    let fresh = key(1, 9);
    let secret = NewSecret { digest: fresh.digest(), expires_at: None };
    let end = NOW.plus(60 * SECOND);
    house.operator.rotate_app(old.id(), &secret, Some(end), NOW).await.unwrap();
    house.keeper.watcher.step().await;
    assert!(house.ask(&old).await.is_ok() && house.ask(&fresh).await.is_ok());

    house.operator.revoke_secret(old.id(), 1, NOW).await.unwrap();
    house.keeper.watcher.step().await;
    refused(house.ask(&old).await, AppKeyError::Revoked);
    assert!(house.ask(&fresh).await.is_ok());
}

#[tokio::test]
async fn a_remembered_key_expires_at_its_instant() {
    let settings = KeySettings { max_staleness: 60 * SECOND, ..patient() };
    let mut house = House::new(settings).await;
    let key = house.create(1, Some(NOW.plus(10 * SECOND))).await;
    house.ask(&key).await.unwrap();
    house.clock.advance(Duration::from_millis(9_999));
    assert!(house.recall_key(&key).is_ok());
    house.clock.advance(Duration::from_millis(1));
    refused(house.recall_key(&key), AppKeyError::Expired);
}

#[tokio::test]
async fn what_is_remembered_is_not_believed_when_the_store_has_been_silent_too_long() {
    let mut house = House::new(patient()).await;
    let key = house.create(1, None).await;
    house.keeper.watcher.step().await;
    house.ask(&key).await.unwrap();
    house.clock.advance(30 * SECOND);
    assert!(house.recall_key(&key).is_ok());
    house.clock.advance(Duration::from_millis(1));
    refused(house.recall_key(&key), AppKeyError::Unavailable);
    refused(house.recall(&whole("pc_mistyped")), AppKeyError::Malformed);
    refused(house.recall(&whole("no-such-key")), AppKeyError::Unknown);
    assert!(house.recall(&whole("letmein")).is_ok(), "configured keys need no store");

    house.keeper.watcher.step().await;
    assert!(house.recall_key(&key).is_ok(), "the store was heard again");
}

#[tokio::test]
async fn a_store_that_fails_is_not_heard() {
    let mut house = House::new(patient()).await;
    let (known, other) = (house.create(1, None).await, house.create(2, None).await);
    house.keeper.watcher.step().await;
    house.ask(&known).await.unwrap();
    house.keeper.watcher.store().close().await;
    house.clock.advance(SECOND);
    house.keeper.watcher.step().await;
    assert!(house.recall_key(&known).is_ok());
    refused(house.ask(&other).await, AppKeyError::Unavailable);
    house.clock.advance(30 * SECOND);
    house.keeper.watcher.step().await;
    refused(house.recall_key(&known), AppKeyError::Unavailable);
    assert!(house.metrics.store_age.get() >= 31.0);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_lengthen_the_patience() {
    let mut house = House::new(patient()).await;
    let key = house.create(1, None).await;
    house.ask(&key).await.unwrap();
    house.keeper.watcher.store().close().await;
    house.stored.heard(NOW.plus(3600 * SECOND));
    house.keeper.watcher.step().await;
    house.clock.advance(31 * SECOND);
    refused(house.recall_key(&key), AppKeyError::Unavailable);
}

#[tokio::test]
async fn a_late_a_full_and_a_missing_keeper_are_unavailable() {
    let settings = KeySettings { answer_within: Duration::from_millis(1), ..patient() };
    let house = House::new(settings).await;
    let (first, second) = (house.create(1, None).await, house.create(2, None).await);
    let text = first.text().expose().to_string();
    refused(house.keys.check(&whole(&text), NOW).await, AppKeyError::Unavailable);

    let waker = &mut Context::from_waker(Waker::noop());
    let mut waiting = Vec::new();
    for _ in 0..1023 {
        let presented = whole(&text);
        let keys = &house.keys;
        let mut check = Box::pin(async move { keys.check(&presented, NOW).await });
        assert!(check.as_mut().poll(waker).is_pending());
        waiting.push(check);
    }
    refused(house.recall_key(&second), AppKeyError::Unavailable);
    drop(waiting);

    let mut house = House::new(patient()).await;
    let (known, other) = (house.create(1, None).await, house.create(2, None).await);
    house.ask(&known).await.unwrap();
    let House { keys, keeper, _folder, .. } = house;
    drop(keeper);
    assert!(at_once(keys.check(&whole(known.text().expose()), NOW)).is_ok());
    refused(at_once(keys.check(&whole(other.text().expose()), NOW)), AppKeyError::Unavailable);
}

#[tokio::test]
async fn questions_of_callers_that_went_away_are_skipped() {
    let mut house = House::new(patient()).await;
    let (first, second) = (house.create(1, None).await, house.create(2, None).await);
    {
        let text = first.text();
        let presented = whole(text.expose());
        let mut gone = Box::pin(house.keys.check(&presented, NOW));
        assert!(gone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    house.keeper.answerer.answer_next().await;
    assert!(house.stored.known(&first.digest()).is_none());
    assert!(house.ask(&second).await.is_ok());
}

#[tokio::test]
async fn an_answer_given_before_a_change_is_not_remembered_after_it() {
    let house = House::new(patient()).await;
    let digest = Digest::of(b"x");
    let app = Arc::new(App { id: AppId::new("x"), scopes: Vec::new() });
    let known = Ok(Arc::new(GoodKey::new(app, 1, None)));
    let epoch = house.stored.epoch();
    house.stored.forget(&[digest]);
    house.stored.remember(digest, &known, epoch);
    assert!(house.stored.known(&digest).is_none());
    house.stored.remember(digest, &known, house.stored.epoch());
    assert!(house.stored.known(&digest).is_some());
    house.stored.forget_all();
    assert!(house.stored.known(&digest).is_none());
}

#[tokio::test]
async fn a_flood_of_unknown_keys_stays_within_bounds_and_drives_nobody_out() {
    let mut house = House::new(patient()).await;
    let key = house.create(1, None).await;
    house.ask(&key).await.unwrap();
    let epoch = house.stored.epoch();
    for n in 0..200_000_u32 {
        let digest = Digest::of(&n.to_be_bytes());
        house.stored.remember(digest, &Err(AppKeyError::Unknown), epoch);
    }
    let (good, refused) = house.stored.remembered();
    assert!(good == 1 && refused <= 10_000, "{good} {refused}");
    assert!(house.recall_key(&key).is_ok());
}

#[tokio::test]
async fn the_last_use_of_a_key_is_noted_at_most_once_a_minute() {
    let mut house = House::new(KeySettings { max_staleness: 600 * SECOND, ..patient() }).await;
    let key = house.create(1, None).await;
    let used = async |house: &mut House| {
        house.keeper.recorder.record().await;
        house.operator.show_app(key.id()).await.unwrap().secrets[0].last_used_at
    };
    assert_eq!(used(&mut house).await, None);
    house.ask(&key).await.unwrap();
    assert_eq!(used(&mut house).await, Some(NOW));
    house.clock.advance(59 * SECOND);
    house.recall_key(&key).unwrap();
    assert_eq!(used(&mut house).await, Some(NOW));
    house.clock.advance(SECOND);
    house.recall_key(&key).unwrap();
    assert_eq!(used(&mut house).await, Some(NOW.plus(60 * SECOND)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_workers_share_what_one_of_them_asked() {
    let mut house = House::new(patient()).await;
    let mut texts = Vec::new();
    for n in 0..8 {
        texts.push(house.create(n, None).await.text().expose().to_string());
    }
    house.keeper.watcher.step().await;
    let House { keys, keeper, _folder, metrics, .. } = house;
    let (keys, texts) = (Arc::new(keys), Arc::new(texts));
    let mut tasks = tokio::task::JoinSet::new();
    let running = tasks.spawn(async {
        keeper.run().await;
        0
    });
    for _ in 0..8 {
        let (keys, texts) = (Arc::clone(&keys), Arc::clone(&texts));
        tasks.spawn(count_good(keys, texts));
    }
    let mut good = 0;
    for _ in 0..8 {
        good += tasks.join_next().await.unwrap().unwrap();
    }
    running.abort();
    assert_eq!(good, 8 * 400);
    assert!(metrics.app_key_misses.get() <= 64, "{}", metrics.app_key_misses.get());
}

async fn count_good(keys: Arc<AppKeys>, texts: Arc<Vec<String>>) -> u64 {
    let mut good = 0;
    for turn in 0..400 {
        let presented = whole(&texts[turn % texts.len()]);
        good += u64::from(keys.check(&presented, NOW).await.is_ok());
        tokio::task::yield_now().await;
    }
    good
}

#[tokio::test]
async fn no_secret_and_no_digest_is_shown_by_debug() {
    let mut house = House::new(patient()).await;
    let key = house.create(1, None).await;
    house.ask(&key).await.unwrap();
    let (_, tail) = key.text().expose().rsplit_once('_').map(|(a, b)| (a, b.to_owned())).unwrap();
    let text = key.text();
    let presented = [whole(text.expose()), pair("public", text.expose())];
    let shown = format!("{:?} {:?} {:?} {presented:?}", house.keys, house.stored, house.keeper);
    for canary in [&tail, &key.digest().to_string(), "public"] {
        assert!(!shown.contains(canary), "{shown}");
    }
}
