//! The application keys of the store, as the workers of a running gateway remember them.
//!
//! Answers come from memory without waiting; what is not remembered is asked of
//! [`KeyKeeper`], the one task that talks to the store. Good keys and refused ones
//! are remembered apart, so that a flood of guesses cannot drive out what is used.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use prometheus::IntCounter;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time;

use super::app_keys::AppKeyError;
use super::key_keeper::KeyKeeper;
use crate::clock::{Clock, Timestamp};
use crate::id::Digest;
use crate::principal::App;
use crate::store::{Store, Use};
use crate::telemetry::Metrics;

/// How much is remembered, and for how long it is worth something.
#[derive(Clone, Copy, Debug)]
pub struct KeySettings {
    /// Good keys remembered.
    pub capacity: u64,
    /// How long the store may be silent before nothing remembered is believed any more.
    pub max_staleness: Duration,
    /// How long a request waits for an answer of the store.
    pub answer_within: Duration,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            capacity: 100_000,
            max_staleness: Duration::from_secs(30),
            answer_within: Duration::from_secs(1),
        }
    }
}

/// The keys of the store; shared by all workers, kept over reloads of the configuration.
pub struct StoredKeys {
    good: Cache<Digest, Arc<GoodKey>>,
    refused: Cache<Digest, AppKeyError>,
    epoch: AtomicU64,
    heard_at: AtomicI64,
    asks: mpsc::Sender<Ask>,
    uses: mpsc::Sender<Use>,
    settings: KeySettings,
    hits: IntCounter,
    misses: IntCounter,
}

/// A key that the store knows and that was not revoked.
pub(super) struct GoodKey {
    pub(super) app: Arc<App>,
    pub(super) number: u32,
    pub(super) expires_at: Option<Timestamp>,
    noted_at: AtomicI64,
}

/// What is known about a digest; whether a good key has expired is asked anew each time.
pub(super) type Known = Result<Arc<GoodKey>, AppKeyError>;

/// What a proof of a stored key rests on.
pub(super) struct Backing {
    key: Arc<GoodKey>,
    /// Up to which change of the store the key is known to be good.
    epoch: u64,
    /// Where the answer to a question will come, while there is one, and the epoch it was asked in.
    asked: Option<(u64, oneshot::Receiver<Known>)>,
}

/// A question to the keeper. Dropping the reply says that there is no answer.
pub(super) struct Ask {
    pub(super) digest: Digest,
    pub(super) reply: oneshot::Sender<Known>,
}

impl StoredKeys {
    /// The workers' side of the keys in `store`, and the task that has to be run beside them.
    pub fn new(
        store: Store,
        settings: KeySettings,
        clock: Clock,
        metrics: &Metrics,
    ) -> (Arc<Self>, KeyKeeper) {
        let (asks, questions) = mpsc::channel(MAX_ASKS);
        let (uses, notes) = mpsc::channel(MAX_USES);
        let keys = Arc::new(Self {
            good: Cache::new(settings.capacity),
            refused: Cache::builder().max_capacity(MAX_REFUSED).time_to_live(REFUSED_FOR).build(),
            epoch: AtomicU64::new(0),
            heard_at: AtomicI64::new(clock.now().millis()),
            asks,
            uses,
            settings,
            hits: metrics.app_key_hits.clone(),
            misses: metrics.app_key_misses.clone(),
        });
        let age = metrics.store_age.clone();
        (Arc::clone(&keys), KeyKeeper::new(keys, store, clock, age, (questions, notes)))
    }

    /// Changes whenever something was forgotten because of a change in the store.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether the store has been silent for so long that nothing remembered is believed.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.heard_at()) > self.settings.max_staleness
    }

    /// What memory says at once; `None` when the store has to be asked.
    pub(super) fn recall(&self, digest: &Digest, now: Timestamp) -> Option<Known> {
        if self.is_stale(now) {
            return Some(Err(AppKeyError::Unavailable));
        }
        let known = self.known(digest)?;
        self.hits.inc();
        Some(self.judge(known, now))
    }

    /// Asks the store, within the bounds of the queue and of patience.
    pub(super) async fn ask(&self, digest: Digest, now: Timestamp) -> Known {
        self.misses.inc();
        let answer = self.question(digest)?;
        match time::timeout(self.settings.answer_within, answer).await {
            Ok(Ok(known)) => self.judge(known, now),
            Ok(Err(_)) | Err(_) => Err(AppKeyError::Unavailable),
        }
    }

    fn question(&self, digest: Digest) -> Result<oneshot::Receiver<Known>, AppKeyError> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(Ask { digest, reply }).map_err(|_| AppKeyError::Unavailable)?;
        Ok(answer)
    }

    fn judge(&self, known: Known, now: Timestamp) -> Known {
        let key = known?;
        key.admit(now)?;
        self.note_use(&key, now);
        Ok(key)
    }

    /// Judges a key again that was good. Nothing is looked up while nothing changed.
    pub(super) fn recheck(
        &self,
        digest: &Digest,
        backing: &mut Backing,
        now: Timestamp,
    ) -> Result<(), AppKeyError> {
        if self.is_stale(now) {
            return Err(AppKeyError::Unavailable);
        }
        let epoch = self.epoch();
        if backing.epoch != epoch {
            let (known, epoch) = match self.known(digest) {
                Some(known) => (known, epoch),
                None => self.answer_to(digest, backing)?,
            };
            *backing = Backing::new(known?, epoch);
        }
        backing.key.admit(now)
    }

    /// What the store said to a question that was asked before, or is asked now.
    fn answer_to(
        &self,
        digest: &Digest,
        backing: &mut Backing,
    ) -> Result<(Known, u64), AppKeyError> {
        let (epoch, mut asked) = match backing.asked.take() {
            Some(asked) => asked,
            None => (self.epoch(), self.question(*digest)?),
        };
        match asked.try_recv() {
            Ok(known) => Ok((known, epoch)),
            Err(oneshot::error::TryRecvError::Empty) => {
                backing.asked = Some((epoch, asked));
                Err(AppKeyError::Unavailable)
            }
            Err(oneshot::error::TryRecvError::Closed) => Err(AppKeyError::Unavailable),
        }
    }

    /// Tells the store of a use at most once a minute and key; a full queue loses the note, not the request.
    fn note_use(&self, key: &GoodKey, now: Timestamp) {
        let noted_at = key.noted_at.load(Ordering::Relaxed);
        if now.millis().saturating_sub(noted_at) >= NOTE_EVERY_MS {
            key.noted_at.store(now.millis(), Ordering::Relaxed);
            let app = key.app.id.clone();
            drop(self.uses.try_send(Use { app, number: key.number, at: now }));
        }
    }

    pub(super) fn known(&self, digest: &Digest) -> Option<Known> {
        match self.good.get(digest) {
            Some(key) => Some(Ok(key)),
            None => self.refused.get(digest).map(Err),
        }
    }

    /// Remembers what the store said, unless something was forgotten since `epoch`, when the store was
    /// asked: then it may have said so before the change.
    pub(super) fn remember(&self, digest: Digest, known: &Known, epoch: u64) {
        if self.epoch() != epoch {
            return;
        }
        match known {
            Ok(key) => self.good.insert(digest, Arc::clone(key)),
            Err(refusal) => self.refused.insert(digest, *refusal),
        }
    }

    /// Forgets `digests`. The epoch moves last: a table in front of this one that sees the new epoch
    /// can no longer be filled from what was just forgotten.
    pub(super) fn forget(&self, digests: &[Digest]) {
        for digest in digests {
            self.good.invalidate(digest);
            self.refused.invalidate(digest);
        }
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        self.good.invalidate_all();
        self.refused.invalidate_all();
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// How many good and how many refused keys are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (u64, u64) {
        self.good.run_pending_tasks();
        self.refused.run_pending_tasks();
        (self.good.entry_count(), self.refused.entry_count())
    }

    pub(super) fn heard_at(&self) -> Timestamp {
        Timestamp::from_millis(self.heard_at.load(Ordering::Acquire))
    }

    /// Everything that happened in the store before `at` is now known.
    pub(super) fn heard(&self, at: Timestamp) {
        self.heard_at.store(at.millis(), Ordering::Release);
    }
}

impl GoodKey {
    pub(super) const fn new(app: Arc<App>, number: u32, expires_at: Option<Timestamp>) -> Self {
        Self { app, number, expires_at, noted_at: AtomicI64::new(i64::MIN) }
    }

    fn admit(&self, now: Timestamp) -> Result<(), AppKeyError> {
        let has_expired = self.expires_at.is_some_and(|end| now >= end);
        if has_expired { Err(AppKeyError::Expired) } else { Ok(()) }
    }
}

impl Backing {
    pub(super) const fn new(key: Arc<GoodKey>, epoch: u64) -> Self {
        Self { key, epoch, asked: None }
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backing").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKeys")
            .field("epoch", &self.epoch())
            .field("heard_at", &self.heard_at())
            .finish_non_exhaustive()
    }
}

/// Questions waiting for the store; beyond them a request gets no answer at once.
const MAX_ASKS: usize = 1024;
/// Notes of use waiting to be written.
const MAX_USES: usize = 1024;
/// Refused keys remembered.
const MAX_REFUSED: u64 = 10_000;
/// How long a refusal is remembered.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// How exact the time of last use is.
const NOTE_EVERY_MS: i64 = 60_000;
