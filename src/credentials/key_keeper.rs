//! The one task that talks to the store on behalf of the workers: it answers their questions, watches
//! for changes that other processes make, and writes down which keys were used.
//!
//! All of it is one task, so that answering and forgetting never run at the same instant.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Gauge;
use tokio::sync::mpsc;
use tokio::time;
use tokio::time::MissedTickBehavior;

use super::app_keys::AppKeyError;
use super::stored_keys::{Ask, GoodKey, Known, StoredKeys};
use crate::clock::Clock;
use crate::principal::App;
use crate::store::{FoundSecret, Point, Store, StoreError, Touched, Use};

/// Keeps [`StoredKeys`] true to the store for as long as it runs.
#[derive(Debug)]
#[must_use = "without its keeper no key of the store is ever found"]
pub struct KeyKeeper {
    pub(super) answerer: Answerer,
    pub(super) watcher: Watcher,
    pub(super) recorder: Recorder,
}

impl KeyKeeper {
    pub(super) fn new(
        keys: Arc<StoredKeys>,
        store: Store,
        clock: Clock,
        age: Gauge,
        (asks, uses): (mpsc::Receiver<Ask>, mpsc::Receiver<Use>),
    ) -> Self {
        Self {
            answerer: Answerer { keys: Arc::clone(&keys), store: store.clone(), asks },
            watcher: Watcher {
                keys,
                store: store.clone(),
                clock,
                age,
                seen: None,
                is_failing: false,
            },
            recorder: Recorder { store, uses },
        }
    }

    /// Runs until it is dropped, which may happen at any await.
    pub async fn run(self) {
        tokio::join!(self.answerer.run(), self.watcher.run(), self.recorder.run());
    }
}

/// Looks up, one after the other, the keys that workers do not know.
#[derive(Debug)]
pub(super) struct Answerer {
    keys: Arc<StoredKeys>,
    store: Store,
    asks: mpsc::Receiver<Ask>,
}

impl Answerer {
    async fn run(mut self) {
        while let Some(ask) = self.asks.recv().await {
            self.answer(ask).await;
        }
    }

    #[cfg(test)]
    pub(super) async fn answer_next(&mut self) {
        let ask = self.asks.recv().await.unwrap();
        self.answer(ask).await;
    }

    async fn answer(&self, ask: Ask) {
        // The caller ran out of patience: nobody reads the answer.
        if ask.reply.is_closed() {
            return;
        }
        // Questions about one key that arrived together cost one look-up.
        if let Some(known) = self.keys.known(&ask.digest) {
            let _ = ask.reply.send(known);
            return;
        }
        let epoch = self.keys.epoch();
        match within(STORE_DEADLINE, self.store.find_secret(&ask.digest)).await {
            Ok(found) => {
                let known = judge(found);
                self.keys.remember(ask.digest, &known, epoch);
                let _ = ask.reply.send(known);
            }
            // The reply is dropped unsent. The watcher meets the same failure and reports it once.
            Err(error) => tracing::debug!(%error, "application key not looked up"),
        }
    }
}

fn judge(found: Option<FoundSecret>) -> Known {
    match found {
        None => Err(AppKeyError::Unknown),
        Some(secret) if secret.is_revoked => Err(AppKeyError::Revoked),
        Some(secret) => {
            let app = Arc::new(App { id: secret.app, scopes: secret.scopes });
            Ok(Arc::new(GoodKey::new(app, secret.number, secret.expires_at)))
        }
    }
}

/// Learns what other processes changed, and has it forgotten.
#[derive(Debug)]
pub(super) struct Watcher {
    keys: Arc<StoredKeys>,
    store: Store,
    clock: Clock,
    age: Gauge,
    seen: Option<Point>,
    is_failing: bool,
}

impl Watcher {
    async fn run(mut self) {
        let mut ticks = time::interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.step().await;
        }
    }

    #[cfg(test)]
    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// Reads the log of changes once.
    pub(super) async fn step(&mut self) {
        // Taken before the question: what changes while it is asked counts as not heard yet.
        let asked_at = self.clock.now();
        match within(STORE_DEADLINE, self.catch_up()).await {
            Ok(()) => {
                self.keys.heard(asked_at);
                if self.is_failing {
                    tracing::info!("the store answers again");
                }
                self.is_failing = false;
            }
            Err(error) => {
                // A clock that was set back must not make the silence look shorter than it is.
                self.keys.heard(asked_at.min(self.keys.heard_at()));
                if !self.is_failing {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(error, "the store does not tell its changes");
                }
                self.is_failing = true;
            }
        }
        self.age.set(self.clock.now().since(self.keys.heard_at()).as_secs_f64());
    }

    /// Cancel-safe: `seen` moves only once everything up to it is forgotten.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let changes = self.store.changes_since(self.seen).await?;
        match changes.touched {
            Touched::Everything => self.keys.forget_all(),
            Touched::Some { apps, .. } if apps.is_empty() => {}
            Touched::Some { apps, .. } => {
                let mut digests = Vec::new();
                for app in &apps {
                    digests.extend(self.store.digests_of(app).await?);
                }
                self.keys.forget(&digests);
            }
        }
        self.seen = Some(changes.up_to);
        Ok(())
    }
}

/// Writes down when keys were last used. What a stopping process has not written yet is lost.
#[derive(Debug)]
pub(super) struct Recorder {
    store: Store,
    uses: mpsc::Receiver<Use>,
}

impl Recorder {
    async fn run(mut self) {
        let mut ticks = time::interval(RECORD_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.record().await;
        }
    }

    /// Writes what has gathered, the latest use of each key, in one act.
    pub(super) async fn record(&mut self) {
        let mut latest = HashMap::new();
        while let Ok(used) = self.uses.try_recv() {
            latest.insert((used.app.clone(), used.number), used);
            if latest.len() >= RECORDED_AT_ONCE {
                break;
            }
        }
        if latest.is_empty() {
            return;
        }
        let latest: Vec<_> = latest.into_values().collect();
        if let Err(error) = self.store.touch_last_used(&latest).await {
            tracing::debug!(%error, "last use of application keys not recorded");
        }
    }
}

async fn within<T>(
    deadline: Duration,
    act: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    time::timeout(deadline, act).await.unwrap_or(Err(StoreError::Late))
}

/// How often the log of changes is read: a revocation holds everywhere within a second.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// How often uses are written.
const RECORD_EVERY: Duration = Duration::from_secs(5);
/// Uses written in one act.
const RECORDED_AT_ONCE: usize = 512;
/// How long the store may take for one answer.
const STORE_DEADLINE: Duration = Duration::from_secs(1);
